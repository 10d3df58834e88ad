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

// What the kernels of Hopper make of W: nothing that depends on the rows of A. (Codes and block scales start at multiples of 16 bytes: tensor.h.)
enum class HopperWeights { kNone, kPrepared, kLinear };
HopperWeights hopper_weights(const CudaDeviceProperties& device, const GemmArgs& args) {
  if (device.major != 9 || device.minor != 0) return HopperWeights::kNone;
  if (!prepared::is_tiled(args.n, args.k) || (args.swiglu && args.n % 32 != 0))
    return HopperWeights::kNone;
  if (args.w.layout == NVFP4J_SCALE_LAYOUT_PREPARED) return HopperWeights::kPrepared;
  // A tensor map's strides are below 2^40.
  return args.n < (std::int64_t{1} << 40) / (args.k / 2) ? HopperWeights::kLinear
                                                         : HopperWeights::kNone;
}
// And of A.
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

// A row of few tokens is read by the thread block of its tile alone: enough thread blocks, and enough warps in each.
int decode_config(const GemmArgs& args, bool two_eights) {
  const std::int64_t chunks = args.k / prepared::kTiledColumns;
  const std::int64_t tiles = args.n / 16 * batch_of(args);
  if (chunks < 4 || (chunks <= 8 && tiles >= 1024)) return two_eights ? 6 : 3;
  if (two_eights) return tiles <= 264 ? 4 : 5;
  if (tiles <= 132 && chunks >= 8 && !args.swiglu && args.op != NVFP4J_OP_GROUPED_GEMM) return 0;
  if (args.op == NVFP4J_OP_GROUPED_GEMM) return 2;
  return args.m <= 4 || tiles <= 264 ? 1 : 2;
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

// NVFP4 tokens and linear weights have fewer configurations: many tokens the basic ones, which take as long as their like above.
int wgmma_config_of_all_kinds(const GemmArgs& args, int sm_count) {
  if (args.m <= 32) return kWgmmaOf32;
  if (args.m <= 64) return kWgmmaOf64;
  const auto waves = [&](std::int64_t bm) {
    return static_cast<double>(
        ceil_div(ceil_div(args.n, 128) * ceil_div(args.m, bm) * batch_of(args), sm_count));
  };
  return args.m <= 128 || 0.46 * waves(128) < 0.80 * waves(256) ? 2 : 3;
}

int wgmma_config(const CudaDeviceProperties& device, const GemmArgs& args) {
  // (K that cannot be cut, too.)
  if (args.batch_invariant || args.op == NVFP4J_OP_GROUPED_GEMM ||
      args.k < 2 * prepared::kTiledColumns)
    return wgmma_basic_config(args);
  if (args.a.kind == NVFP4J_GEMM_A_NVFP4 || args.w.layout == NVFP4J_SCALE_LAYOUT_LINEAR)
    return wgmma_config_of_all_kinds(args, device.sm_count);
  return args.m <= 128 ? wgmma_config_of_few(args) : wgmma_config_of_many(args, device.sm_count);
}

GemmPlan generic_plan(const GemmArgs& args, const char* reason) {
  return {GemmKernel::kGeneric, 0, rows_of_group(args) <= 8 ? 8 : 32, reason, nullptr};
}
GemmPlan decode_plan(const GemmArgs& args, const char* reason) {
  const int config = decode_config(args, rows_of_group(args) > 8);
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
          "path is DECODE, which takes compute capability 9.0, prepared weights with n a multiple "
          "of 16 (with swiglu of 32) and k of 256 from 512 on, rows of a at multiples of 16 bytes "
          "and up to 1024 tiles of rows in groups");
    }
    if (args.batch_invariant)
      return refused("path is DECODE, whose bits depend on m, and batch_invariant is 1");
    return decode_plan(args, "decode: gemm_decode_sm90, as options.path asks");
  }
  if (!wgmmas) {
    return refused(
        "path is WGMMA, which takes compute capability 9.0, weights with n a multiple of 16 (with "
        "swiglu of 32) and k of 256, rows of a at multiples of 16 bytes and up to 1024 tiles of "
        "rows in groups");
  }
  return wgmma_plan(device, args, "wgmma: gemm_wgmma_sm90, as options.path asks");
}

}  // namespace

GemmPlan plan_gemm(const CudaDeviceProperties& device, const GemmArgs& args) {
  const HopperWeights weights = hopper_weights(device, args);
  const bool aligned = aligned_tokens(args);
  const bool decodes = weights == HopperWeights::kPrepared && aligned &&
                       args.k >= 2 * prepared::kTiledColumns && tiles_fit(args, 8);
  const bool wgmmas = weights != HopperWeights::kNone && aligned &&
                      tiles_fit(args, kWgmmaShapes[kWgmmaBasicConfigs - 1].bm);
  if (args.path != NVFP4J_GEMM_PATH_AUTO) return forced_plan(device, args, decodes, wgmmas);
  if (device.major != 9 || device.minor != 0)
    return generic_plan(args, "generic: gemm_generic, not compute capability 9.0");
  if (weights == HopperWeights::kNone) {
    return generic_plan(args,
                        "generic: gemm_generic, n is no multiple of 16 (with swiglu: of 32) or k "
                        "none of 256");
  }
  if (args.batch_invariant) {
    // The generic kernel adds up in another order: what does not depend on M decides so far, so nothing that does may choose it.
    if (!aligned) {
      return refused(
          "batch_invariant is 1, which with these n and k takes rows of a at multiples of 16 "
          "bytes");
    }
    if (!wgmmas) {
      return refused(
          "batch_invariant is 1, which with these n and k takes up to 1024 groups and tiles of 256 "
          "rows of a together, and without groups 2^31 of those tiles times n / 16");
    }
    return wgmma_plan(device, args, "wgmma: gemm_wgmma_sm90, batch_invariant");
  }
  if (!aligned)
    return generic_plan(args,
                        "generic: gemm_generic, rows of a do not start at multiples of 16 bytes");
  if (decodes && rows_of_group(args) <= 16)
    return decode_plan(args, "decode: gemm_decode_sm90, at most 16 rows of a to a row of w");
  if (wgmmas && weights == HopperWeights::kLinear && rows_of_group(args) <= 16) {
    return wgmma_plan(device, args,
                      "wgmma: gemm_wgmma_sm90, at most 16 rows of a to a row of w, which is not "
                      "prepared for decode");
  }
  if (wgmmas) {
    return wgmma_plan(device, args,
                      "wgmma: gemm_wgmma_sm90, more than 16 rows of a to a row of w, or k below "
                      "512, or too many groups for decode");
  }
  return generic_plan(args,
                      "generic: gemm_generic, more tiles of rows than the kernels of Hopper list");
}

}  // namespace nvfp4j
