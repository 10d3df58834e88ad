// SPDX-License-Identifier: Apache-2.0
#include "ops/gemm/gemm_plan.hpp"

#include <algorithm>

#include "nvfp4j/gemm.h"
#include "ops/gemm/prepared_layout.hpp"

namespace nvfp4j {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

std::int64_t batch_of(const GemmArgs& args) {
  return args.op == NVFP4J_OP_BATCHED_GEMM ? args.groups : 1;
}

// What the kernels of Hopper ask of W, and of A.
bool hopper(const CudaDeviceProperties& device) { return device.major == 9 && device.minor == 0; }
bool whole_tiles(const GemmArgs& args) {
  return prepared::is_tiled(args.n, args.k) && (!args.swiglu || args.n % 32 == 0);
}
bool tiled_weights(const CudaDeviceProperties& device, const GemmArgs& args) {
  return hopper(device) && args.w.layout == NVFP4J_SCALE_LAYOUT_PREPARED && whole_tiles(args);
}
// Linear ones in whole tiles, which tensor loads can read: at multiples of 16 bytes.
bool linear_tiles(const CudaDeviceProperties& device, const GemmArgs& args) {
  return hopper(device) && args.w.layout == NVFP4J_SCALE_LAYOUT_LINEAR && whole_tiles(args) &&
         reinterpret_cast<std::uintptr_t>(args.w.codes) % 16 == 0 &&
         reinterpret_cast<std::uintptr_t>(args.w.scales) % 16 == 0;
}
bool aligned_tokens(const GemmArgs& args) {
  return args.a.kind == NVFP4J_GEMM_A_NVFP4 ||
         (reinterpret_cast<std::uintptr_t>(args.a.data) % 16 == 0 && args.a.stride % 8 == 0);
}

// Tiles of tokens are counted in 32 bits, times those of W too, and those of groups listed in shared memory.
bool tiles_fit(const GemmArgs& args, std::int64_t rows) {
  const std::int64_t tiles = ceil_div(args.m, rows);
  if (args.op == NVFP4J_OP_GROUPED_GEMM)
    return args.groups + tiles <= kListedTiles && args.n / 16 <= INT32_MAX / kListedTiles;
  return tiles <= INT32_MAX / (args.n / 16) / batch_of(args);
}

// Rows of A that meet the same weights. What the offsets say the host does not know.
std::int64_t rows_of_group(const GemmArgs& args) {
  return args.op == NVFP4J_OP_GROUPED_GEMM ? ceil_div(args.m, args.groups) : args.m;
}

// Every warp has enough of K, and gate and up come in pairs.
bool decode_fits(const DecodeShape& s, const GemmArgs& args) {
  const std::int64_t slots = args.k / kDecodeColumns / s.ck;
  return slots >= s.wk * s.stages && (!args.swiglu || s.wn % 2 == 0) &&
         (args.op != NVFP4J_OP_GROUPED_GEMM || takes_groups(s));
}

// About how many microseconds a configuration takes on an H100 80GB HBM3: each SM reads its share of W at the rate at which all share the memory, and the tokens on top, which every thread block reads.
double decode_cost(const DecodeShape& s, const GemmArgs& args, int sm_count) {
  const std::int64_t tokens = std::min<std::int64_t>(args.m, 8 * s.nt);
  const std::int64_t places = ceil_div(args.m, 8 * s.nt) * batch_of(args);
  const std::int64_t jobs =
      ceil_div(args.n / 16, s.wn) * places * s.ck;  // of thread blocks; pairs count as two tiles
  const int blocks = args.w.layout == NVFP4J_SCALE_LAYOUT_LINEAR ? 1 : s.blocks;
  const std::int64_t turns = ceil_div(jobs, static_cast<std::int64_t>(sm_count) * blocks);
  const std::int64_t of_sm = turns > 1 ? turns * blocks : ceil_div(jobs, sm_count);
  const std::int64_t columns = args.k / s.ck;
  const bool resident = places == 1 && columns <= s.pieces * kDecodePieceColumns;
  const double weights = static_cast<double>(of_sm * s.wn * columns * 9);
  const double activations = static_cast<double>((resident ? 1 : of_sm) * tokens * columns * 2);
  return weights / 22800 + activations / 90000 + (s.ck > 1 ? 2.0 : 0.4) * (turns - 1) +
         (s.ck > 1 ? 0.15 : 0.0);
}

// The configuration for 8 or 16 tokens at a time; -1: none, K is too short.
int decode_config(const GemmArgs& args, int sm_count, int eights) {
  int best = -1;
  double least = 0;
  for (int i = 0; i < kDecodeConfigs; ++i) {
    const DecodeShape& s = kDecodeShapes[i];
    if (s.nt != eights || !decode_fits(s, args)) continue;
    // How many tiles the groups' rows make only the device knows: the smallest jobs, which end at about the same time.
    if (args.op == NVFP4J_OP_GROUPED_GEMM) {
      if (best < 0 || s.wn < kDecodeShapes[best].wn) best = i;
      continue;
    }
    const double cost = decode_cost(s, args, sm_count);
    if (best < 0 || cost < least) {
      least = cost;
      best = i;
    }
  }
  return best;
}

// Few tokens: as many thread blocks as W has rows for, cutting K where those are few.
int wgmma_config_of_few(const GemmArgs& args) {
  const std::int64_t sixties = args.n / 64 * batch_of(args);
  const bool wide = args.m > 32;
  if (args.m > 64) return 10;
  if (sixties <= 66) return wide ? 8 : 5;
  if (wide) return args.k >= 6144 ? 9 : 7;
  return args.k >= 8192 ? 6 : 4;
}

// Many tokens: the configuration whose waves of thread blocks cost least. Microseconds that a unit of 64 columns takes, measured on an H100 80GB HBM3.
int wgmma_config_of_many(const GemmArgs& args, int sm_count) {
  struct Candidate {
    int config;
    double unit;
  };
  constexpr Candidate kCandidates[] = {{11, 0.46}, {12, 0.28}, {3, 0.80}, {13, 0.79}};
  int best = 3;
  double least = 0;
  for (const Candidate& c : kCandidates) {
    const WgmmaShape& s = kWgmmaShapes[c.config];
    const std::int64_t jobs =
        ceil_div(args.n, 64 * s.wgn * s.cn) * ceil_div(args.m, s.bm) * batch_of(args);
    const double cost = static_cast<double>(ceil_div(jobs, sm_count / s.cn)) * c.unit;
    if (least == 0 || cost < least) {
      least = cost;
      best = c.config;
    }
  }
  return best;
}

// One order of the sum for every M, and whatever the tokens are. Groups of many rows in all take larger tiles than theirs call for, so that a thread block can list them.
int wgmma_basic_config(const GemmArgs& args) {
  const std::int64_t rows = rows_of_group(args);
  int config = rows <= 32 ? 0 : rows <= 64 ? 1 : rows <= 128 ? 2 : 3;
  while (config + 1 < kWgmmaBasicConfigs && !tiles_fit(args, kWgmmaShapes[config].bm)) ++config;
  return config;
}

int wgmma_config(const CudaDeviceProperties& device, const GemmArgs& args) {
  // (K that cannot be cut, too.)
  if (args.batch_invariant || args.a.kind == NVFP4J_GEMM_A_NVFP4 ||
      args.op == NVFP4J_OP_GROUPED_GEMM || args.k < 2 * prepared::kTiledColumns)
    return wgmma_basic_config(args);
  return args.m <= 128 ? wgmma_config_of_few(args) : wgmma_config_of_many(args, device.sm_count);
}

GemmPlan generic_plan(const GemmArgs& args, const char* reason) {
  return {GemmKernel::kGeneric, 0, rows_of_group(args) <= 8 ? 8 : 32, reason, nullptr};
}
GemmPlan decode_plan(const CudaDeviceProperties& device, const GemmArgs& args, const char* reason) {
  const int config = decode_config(args, device.sm_count, rows_of_group(args) > 8 ? 2 : 1);
  return {GemmKernel::kDecode, config, 8 * kDecodeShapes[config].nt, reason, nullptr};
}
GemmPlan wgmma_plan(const CudaDeviceProperties& device, const GemmArgs& args, const char* reason) {
  const int config = wgmma_config(device, args);
  return {GemmKernel::kWgmma, config, kWgmmaShapes[config].bm, reason, nullptr};
}

GemmPlan refused(const char* refusal) { return {GemmKernel::kGeneric, 0, 0, nullptr, refusal}; }

// What options.path asks for.
GemmPlan forced_plan(const CudaDeviceProperties& device, const GemmArgs& args, bool decodes,
                     bool wgmmas) {
  if (args.path == NVFP4J_GEMM_PATH_GENERIC)
    return generic_plan(args, "generic: gemm_generic, as options.path asks");
  if (args.path == NVFP4J_GEMM_PATH_DECODE) {
    if (!decodes) {
      return refused(
          "path is DECODE, which takes compute capability 9.0, n a multiple of 16 (with swiglu of "
          "32) and k of 256 from 512 on, linear weights and rows of a at multiples of 16 bytes and "
          "up to 1024 tiles of rows in groups");
    }
    if (args.batch_invariant)
      return refused("path is DECODE, whose bits depend on m, and batch_invariant is 1");
    return decode_plan(device, args, "decode: gemm_decode_sm90, as options.path asks");
  }
  if (!wgmmas) {
    return refused(
        "path is WGMMA, which takes compute capability 9.0, prepared weights with n a multiple of "
        "16 (with swiglu of 32) and k of 256, rows of a at multiples of 16 bytes and up to 1024 "
        "tiles of rows in groups");
  }
  return wgmma_plan(device, args, "wgmma: gemm_wgmma_sm90, as options.path asks");
}

}  // namespace

GemmPlan plan_gemm(const CudaDeviceProperties& device, const GemmArgs& args) {
  const bool tiled = tiled_weights(device, args);
  const bool aligned = aligned_tokens(args);
  const bool linear = linear_tiles(device, args);
  const bool decodes =
      (tiled || linear) && aligned && args.k >= 2 * prepared::kTiledColumns && tiles_fit(args, 8);
  const bool wgmmas = tiled && aligned && tiles_fit(args, kWgmmaShapes[kWgmmaBasicConfigs - 1].bm);
  if (args.path != NVFP4J_GEMM_PATH_AUTO) return forced_plan(device, args, decodes, wgmmas);
  if (device.major != 9 || device.minor != 0)
    return generic_plan(args, "generic: gemm_generic, not compute capability 9.0");
  if (linear && decodes && !args.batch_invariant && rows_of_group(args) <= 16) {
    return decode_plan(device, args,
                       "decode: gemm_decode_sm90, at most 16 rows of a to a row of w");
  }
  if (args.w.layout != NVFP4J_SCALE_LAYOUT_PREPARED)
    return generic_plan(args, "generic: gemm_generic, w is not prepared");
  if (!tiled) {
    return generic_plan(args,
                        "generic: gemm_generic, n is no multiple of 16 (with swiglu: of 32) or k "
                        "none of 256");
  }
  if (args.batch_invariant) {
    // The generic kernel adds up in another order: what does not depend on M decides so far, so nothing that does may choose it.
    if (!aligned) {
      return refused(
          "batch_invariant is 1, which with prepared weights takes rows of a at multiples of 16 "
          "bytes");
    }
    if (!wgmmas) {
      return refused(
          "batch_invariant is 1, which with prepared weights takes up to 1024 groups and tiles of "
          "256 rows of a together, and without groups 2^31 of those tiles times n / 16");
    }
    return wgmma_plan(device, args, "wgmma: gemm_wgmma_sm90, batch_invariant");
  }
  if (!aligned)
    return generic_plan(args,
                        "generic: gemm_generic, rows of a do not start at multiples of 16 bytes");
  if (decodes && rows_of_group(args) <= 16)
    return decode_plan(device, args,
                       "decode: gemm_decode_sm90, at most 16 rows of a to a row of w");
  if (wgmmas) {
    return wgmma_plan(device, args,
                      "wgmma: gemm_wgmma_sm90, more than 16 rows of a to a row of w, or k below "
                      "512, or too many groups for decode");
  }
  return generic_plan(args,
                      "generic: gemm_generic, more tiles of rows than the kernels of Hopper list");
}

}  // namespace nvfp4j
