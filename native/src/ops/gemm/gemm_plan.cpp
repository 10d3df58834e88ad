// SPDX-License-Identifier: Apache-2.0
#include "ops/gemm/gemm_plan.hpp"

#include <algorithm>
#include <cmath>

#include "nvfp4j/gemm.h"
#include "ops/gemm/prepared_layout.hpp"

namespace nvfp4j {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

std::int64_t batch_of(const GemmShape& shape) {
  return shape.op == NVFP4J_OP_BATCHED_GEMM ? shape.groups : 1;
}

// What the kernels of Hopper make of W: nothing that depends on the rows of A. (Codes and block scales start at multiples of 16 bytes: tensor.h.)
enum class HopperWeights { kNone, kPrepared, kLinear };
HopperWeights hopper_weights(const CudaDeviceProperties& device, const GemmShape& shape) {
  if (!runs_sm90a(device)) return HopperWeights::kNone;
  if (!prepared::is_tiled(shape.n, shape.k) || (shape.swiglu && shape.n % 32 != 0))
    return HopperWeights::kNone;
  if (shape.w_layout == NVFP4J_SCALE_LAYOUT_PREPARED) return HopperWeights::kPrepared;
  // A tensor map's strides are below 2^40.
  return shape.n < (std::int64_t{1} << 40) / (shape.k / 2) ? HopperWeights::kLinear
                                                           : HopperWeights::kNone;
}

// Tiles of tokens are counted in 32 bits, times those of W too, and those of groups listed in shared memory.
bool tiles_fit(const GemmShape& shape, std::int64_t rows) {
  const std::int64_t tiles = ceil_div(shape.m, rows);
  if (shape.op == NVFP4J_OP_GROUPED_GEMM)
    return shape.groups + tiles <= kListedTiles && shape.n / 16 <= INT32_MAX / kListedTiles;
  return tiles <= INT32_MAX / (shape.n / 16) / batch_of(shape);
}

// Rows of NVFP4 tokens that the workspace takes at a time.
std::int64_t packed_rows_of(const GemmShape& shape) {
  return packed_rows(shape.m, a_columns(shape));
}

// Rows of A that meet the same weights. What the offsets say the host does not know.
std::int64_t rows_of_group(const GemmShape& shape) {
  return shape.op == NVFP4J_OP_GROUPED_GEMM ? ceil_div(shape.m, shape.groups) : shape.m;
}

// Every warp has enough of K, gate and up come in pairs, and clusters are for one tile of tokens.
bool decode_fits(const DecodeShape& s, const GemmShape& shape) {
  const std::int64_t slots = shape.k / kDecodeColumns / s.ck;
  return slots >= s.wk * s.stages && (!shape.swiglu || s.wn % 2 == 0) &&
         (s.ck == 1 || shape.m <= 8 * s.nt) &&
         (shape.op != NVFP4J_OP_GROUPED_GEMM || takes_groups(s));
}

// About how many microseconds a configuration takes on an H100 80GB HBM3: each SM reads its share of W at the rate at which all share the memory, and the tokens on top, which every thread block reads.
double decode_cost(const DecodeShape& s, const GemmShape& shape, int sm_count) {
  const std::int64_t tokens = std::min<std::int64_t>(shape.m, 8 * s.nt);
  const std::int64_t places = ceil_div(shape.m, 8 * s.nt) * batch_of(shape);
  const std::int64_t jobs =
      ceil_div(shape.n / 16, s.wn) * places * s.ck;  // of thread blocks; pairs count as two tiles
  const int blocks = shape.w_layout == NVFP4J_SCALE_LAYOUT_LINEAR ? 1 : s.blocks;
  const std::int64_t turns = ceil_div(jobs, static_cast<std::int64_t>(sm_count) * blocks);
  const std::int64_t of_sm = turns > 1 ? turns * blocks : ceil_div(jobs, sm_count);
  const std::int64_t columns = shape.k / s.ck;
  const bool resident = places == 1 && columns <= s.pieces * kDecodePieceColumns;
  const double weights = static_cast<double>(of_sm * s.wn * columns * 9);
  const double activations = static_cast<double>((resident ? 1 : of_sm) * tokens * columns * 2);
  return weights / 22800 + activations / 90000 + (s.ck > 1 ? 2.0 : 0.4) * (turns - 1) +
         (s.ck > 1 ? 0.15 : 0.0);
}

// The same of groups, in tiles of W that an SM multiplies. How many groups have rows only the device knows: about as many as if each row had fallen on any of them.
double grouped_decode_cost(const DecodeShape& s, const GemmShape& shape, int sm_count) {
  const auto groups = static_cast<double>(shape.groups), m = static_cast<double>(shape.m);
  const double active = groups * (1.0 - std::pow(1.0 - 1.0 / groups, m));
  const double places = std::max(active, m / (8.0 * s.nt));
  const double jobs = places * static_cast<double>(ceil_div(shape.n / 16, s.wn));
  const int blocks = shape.w_layout == NVFP4J_SCALE_LAYOUT_LINEAR ? 1 : s.blocks;
  const double resident = static_cast<double>(sm_count) * blocks;
  const double turns = std::floor(jobs / resident);
  const double rest = jobs - turns * resident;
  const double last = rest < 0.5 ? 0.0 : rest <= sm_count ? 1.0 : blocks;
  // Warps that have a tile to themselves wait for no other's sums between jobs. Chosen for the order that experts of three shapes had on an H200, with 6 and 48 of 64 active.
  const double speed = s.wk > 1 ? 1.0 : s.wn * blocks >= 16 ? 1.15 : 0.85;
  return (turns * blocks + last) * s.wn / speed;
}

// The configuration for 8 or 16 tokens at a time; -1: none, K is too short.
int decode_config(const GemmShape& shape, int sm_count, int eights) {
  int best = -1;
  double least = 0;
  for (int i = 0; i < kDecodeConfigs; ++i) {
    const DecodeShape& s = kDecodeShapes[i];
    if (s.nt != eights || !decode_fits(s, shape)) continue;
    const double cost = shape.op == NVFP4J_OP_GROUPED_GEMM ? grouped_decode_cost(s, shape, sm_count)
                                                           : decode_cost(s, shape, sm_count);
    if (best < 0 || cost < least) {
      least = cost;
      best = i;
    }
  }
  return best;
}

// What a configuration of wgmma takes, in microseconds of a thread block: for a job, and for each unit of 64 columns in it. Fitted to products of 32 to 1024 tokens on an H100 80GB HBM3.
// A unit of 32 tokens costs more than half of what one of 128 does (gemm_wgmma.cuh); a job, its epilogue and, where sums are exchanged, the wait for all of them. (Since the fit that exchange has become some tenths of a microsecond
// cheaper, for all of them alike.)
struct WgmmaCost {
  double job, unit;
};
constexpr double kWgmmaStart = 2.5;  // until a thread block has its first tokens and weights
constexpr WgmmaCost kWgmmaCosts[kWgmmaConfigs] = {
    {1.6, 0.199},  // 0: 32 tokens, 128 rows
    {2.0, 0.230},  // 1: 64 tokens, 128 rows
    {2.4, 0.322},  // 2: 128 tokens, 128 rows
    {4.3, 0.604},  // 3: 256 tokens, 128 rows
    {2.8, 0.505},  // 4: 128 tokens, 192 rows
    {1.4, 0.148},  // 5: 64 tokens, 64 rows
    {2.9, 0.130},  // 6: the same, K in 2 parts
    {3.0, 0.130},  // 7: and in 4
    {3.9, 0.227},  // 8: 64 tokens, 128 rows, K in 2 parts
    {3.0, 0.187},  // 9: 128 tokens, 64 rows
    {5.1, 0.160},  // 10: the same, K in 2 parts
    {4.9, 0.160},  // 11: and in 4
    {6.0, 0.322},  // 12: 128 tokens, 128 rows, K in 2 parts
    {5.9, 0.490},  // 13: 128 tokens, 192 rows, K in 2 parts
    {3.3, 0.199},  // 14: 32 tokens, 128 rows, K in 2 parts
    {1.0, 0.131},  // 15: 32 tokens, 64 rows
    {2.7, 0.115},  // 16: the same, K in 2 parts
    {2.4, 0.115},  // 17: and in 4
};

// How many clusters work at a time. Of four thread blocks not every fourth of the SMs has one: a GPC's SMs are no multiple of four.
std::int64_t resident_clusters(int sm_count, int size) {
  const int fours = sm_count / 4;
  return size == 4 ? std::max(1, fours - fours / 11) : std::max(1, sm_count / size);
}

// The configuration whose waves of thread blocks take the least time, among those that know the operands and, where M may not decide on it, have one order of the sum.
int wgmma_cheapest_config(const GemmShape& shape, int sm_count) {
  int best = kWgmmaBasicConfigs - 1;  // whose jobs can be counted, see tiles_fit()
  double least = 0;
  const std::int64_t rows = shape.a_kind == NVFP4J_GEMM_A_NVFP4 ? packed_rows_of(shape) : shape.m;
  for (int config = 0; config < kWgmmaConfigs; ++config) {
    const WgmmaShape& s = kWgmmaShapes[config];
    if (shape.w_layout == NVFP4J_SCALE_LAYOUT_LINEAR && !wgmma_takes_linear(config)) continue;
    if (shape.batch_invariant && (s.wgk > 1 || s.ck > 1)) continue;
    const std::int64_t chunks = shape.k / prepared::kTiledColumns;
    const std::int64_t jobs =
        ceil_div(shape.n, 64 * s.wgn) * ceil_div(rows, s.bm) * batch_of(shape);
    if (s.ck > chunks || jobs > (INT32_MAX - sm_count) / s.ck) continue;
    const double units = static_cast<double>(4 * ceil_div(chunks, s.ck));
    const WgmmaCost& cost = kWgmmaCosts[config];
    const auto waves = static_cast<double>(ceil_div(jobs, resident_clusters(sm_count, s.ck)));
    // Thread blocks that cut K have one job each; the others go on to the next.
    const double starts = s.ck > 1 ? waves : 1;
    const double time = starts * kWgmmaStart + waves * (cost.job + units * cost.unit);
    if (least == 0 || time < least) {
      least = time;
      best = config;
    }
  }
  return best;
}

// Groups differ in their rows: a tile has room for more than the average where that costs the tensor cores little, and is no larger than it need be where it costs much. Groups of many rows in all take larger tiles than theirs
// call for, so that a thread block can list them.
int wgmma_config_of_groups(const GemmShape& shape) {
  const std::int64_t rows = rows_of_group(shape);
  int config = rows <= 24 ? 0 : rows <= 64 ? 1 : rows <= 512 ? 2 : 3;
  while (config + 1 < kWgmmaBasicConfigs && !tiles_fit(shape, kWgmmaShapes[config].bm)) ++config;
  return config;
}

int wgmma_config(const CudaDeviceProperties& device, const GemmShape& shape) {
  return shape.op == NVFP4J_OP_GROUPED_GEMM ? wgmma_config_of_groups(shape)
                                            : wgmma_cheapest_config(shape, device.sm_count);
}

GemmPlan generic_plan(const GemmShape& shape, const char* reason) {
  return {GemmKernel::kGeneric, 0, rows_of_group(shape) <= 8 ? 8 : 32, reason, nullptr};
}
GemmPlan decode_plan(const CudaDeviceProperties& device, const GemmShape& shape,
                     const char* reason) {
  const int config = decode_config(shape, device.sm_count, rows_of_group(shape) > 8 ? 2 : 1);
  return {GemmKernel::kDecode, config, 8 * kDecodeShapes[config].nt, reason, nullptr};
}
// Why, without and with a kernel before it that decodes NVFP4 tokens.
struct WgmmaReason {
  const char* alone;
  const char* packing;
};
#define NVFP4J_WGMMA_REASON(why)                                                          \
  WgmmaReason {                                                                           \
    "wgmma: gemm_wgmma_sm90, " why, "wgmma: gemm_wgmma_sm90 after gemm_pack_tokens, " why \
  }
GemmPlan wgmma_plan(const CudaDeviceProperties& device, const GemmShape& shape,
                    WgmmaReason reason) {
  const int config = wgmma_config(device, shape);
  const int tokens = kWgmmaShapes[config].bm;
  if (shape.a_kind != NVFP4J_GEMM_A_NVFP4)
    return {GemmKernel::kWgmma, config, tokens, reason.alone, nullptr};
  return {GemmKernel::kWgmma, config, tokens, reason.packing, nullptr, packed_rows_of(shape)};
}

GemmPlan refused(const char* refusal) { return {GemmKernel::kGeneric, 0, 0, nullptr, refusal}; }

// What options.path asks for.
GemmPlan forced_plan(const CudaDeviceProperties& device, const GemmShape& shape, bool decodes,
                     bool wgmmas) {
  if (shape.path == NVFP4J_GEMM_PATH_GENERIC)
    return generic_plan(shape, "generic: gemm_generic, as options.path asks");
  if (shape.path == NVFP4J_GEMM_PATH_DECODE) {
    if (!decodes) {
      return refused(
          "path is DECODE, which takes compute capability 9.0, n a multiple of 16 (with swiglu of "
          "32) and k of 256 from 512 on, linear weights below 2^40 bytes, rows of a at multiples "
          "of 16 bytes and up to 1024 groups and tiles of 8 rows together, or without groups 2^31 "
          "of those tiles times n / 16");
    }
    if (shape.batch_invariant)
      return refused("path is DECODE, whose bits depend on m, and batch_invariant is 1");
    return decode_plan(device, shape, "decode: gemm_decode_sm90, as options.path asks");
  }
  if (!wgmmas) {
    return refused(
        "path is WGMMA, which takes compute capability 9.0, weights with n a multiple of 16 (with "
        "swiglu of 32) and k of 256, linear weights below 2^40 bytes, rows of a at multiples of 16 "
        "bytes (NVFP4: of up to 2^24 columns) and up to 1024 groups and tiles of 256 rows "
        "together, or without groups 2^31 of those tiles times n / 16");
  }
  return wgmma_plan(device, shape, NVFP4J_WGMMA_REASON("as options.path asks"));
}

}  // namespace

std::int64_t packed_rows(std::int64_t m, std::int64_t columns) {
  constexpr std::int64_t kWhole = 256;  // rows of the largest tile
  const std::int64_t most = most_packed_rows(columns);
  if (m <= most) return m;
  if (most < kWhole) return most;
  const std::int64_t parts = ceil_div(m, most / kWhole * kWhole);
  return ceil_div(ceil_div(m, parts), kWhole) * kWhole;
}

GemmShape gemm_shape(const GemmArgs& args) {
  const bool aligned = args.a.kind == NVFP4J_GEMM_A_NVFP4 ||
                       (reinterpret_cast<std::uintptr_t>(args.a.data) % 16 == 0 &&
                        (args.m <= 1 || args.a.stride % 8 == 0));
  return {args.groups,         args.m,        args.n,    args.k,  args.op,
          args.a.kind,         args.w.layout, args.path, aligned, args.swiglu,
          args.batch_invariant};
}

GemmPlan plan_gemm(const CudaDeviceProperties& device, const GemmShape& shape) {
  const HopperWeights weights = hopper_weights(device, shape);
  const bool aligned = shape.aligned;
  const bool decodes = weights != HopperWeights::kNone && aligned &&
                       shape.k >= 2 * prepared::kTiledColumns && tiles_fit(shape, 8);
  const bool wgmmas =
      weights != HopperWeights::kNone && aligned &&
      tiles_fit(shape, kWgmmaShapes[kWgmmaBasicConfigs - 1].bm) &&
      (shape.a_kind != NVFP4J_GEMM_A_NVFP4 || most_packed_rows(a_columns(shape)) > 0);
  if (shape.path != NVFP4J_GEMM_PATH_AUTO) return forced_plan(device, shape, decodes, wgmmas);
  if (!runs_sm90a(device))
    return generic_plan(shape, "generic: gemm_generic, not compute capability 9.0");
  if (weights == HopperWeights::kNone) {
    return generic_plan(shape,
                        "generic: gemm_generic, n is no multiple of 16 (with swiglu: of 32) or k "
                        "none of 256, or linear weights are 2^40 bytes or more");
  }
  if (shape.batch_invariant) {
    // The generic kernel adds up in another order: what does not depend on M decides so far, so nothing that does may choose it.
    if (!aligned) {
      return refused(
          "batch_invariant is 1, which with these n and k takes rows of a at multiples of 16 "
          "bytes");
    }
    if (!wgmmas) {
      return refused(
          "batch_invariant is 1, which with these n and k takes NVFP4 rows of a of up to 2^24 "
          "columns, up to 1024 groups and tiles of 256 rows of a together, and without groups "
          "2^31 of those tiles times n / 16");
    }
    return wgmma_plan(device, shape, NVFP4J_WGMMA_REASON("batch_invariant"));
  }
  if (!aligned)
    return generic_plan(shape,
                        "generic: gemm_generic, rows of a do not start at multiples of 16 bytes");
  if (decodes && rows_of_group(shape) <= 16)
    return decode_plan(device, shape,
                       "decode: gemm_decode_sm90, at most 16 rows of a to a row of w");
  if (wgmmas) {
    return wgmma_plan(device, shape,
                      NVFP4J_WGMMA_REASON("more than 16 rows of a to a row of w, or k below 512, "
                                          "or too many groups for decode"));
  }
  return generic_plan(
      shape,
      "generic: gemm_generic, more tiles of rows than the kernels of Hopper list, or "
      "NVFP4 rows of a of more than 2^24 columns");
}

}  // namespace nvfp4j
