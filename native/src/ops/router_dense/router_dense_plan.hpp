// SPDX-License-Identifier: Apache-2.0
// How a launch of router_dense is shaped.
#pragma once
#include <algorithm>
#include <cstdint>

#include "common/cuda_launch.hpp"
#include "device/tagged_words_layout.hpp"
#include "nvfp4j/tensor.h"
#include "ops/router_dense/router_dense_args.hpp"
#include "ops/router_dense/router_layout.hpp"

namespace nvfp4j {

inline constexpr int kRouterThreads = 256;
inline constexpr int kRouterWarps = kRouterThreads / 32;
// Columns of which a warp takes as many at a time: 8 for each of four lanes.
inline constexpr int kRouterUnit = 32;

// Of the columns, at most (kSplit).
inline constexpr int kRouterSlices = 8;

/// What the products are made of.
enum class RouterOperands {
  kBf16,   // x and W: tensor cores
  kNvfp4,  // x BF16, W codes: tensor cores
  kAny,  // F32 on either side, or rows that do not begin at multiples of 16 bytes: one product after the other
};

enum class RouterKernel {
  kSplit,  // few tokens: thread blocks share out experts and columns, and send each other sums
  kTiles,  // many: a tile of tokens and some experts to each; the last of a tile's chooses
  kWgmma,  // many, on Hopper: a tile of tokens to a cluster of thread blocks
};

// Experts of a cluster at most (kWgmma).
inline constexpr int kRouterClusterExperts = 512;

struct RouterPlan {
  RouterKernel kernel;
  RouterOperands operands;
  int tokens;   // of a tile
  int experts;  // of a thread block: a multiple of 8
  int groups;   // of so many experts; kWgmma: thread blocks of a cluster
  int slices;   // of the columns (kSplit)
  std::int64_t units_of_slice;
  std::int64_t launch_tokens;  // of one launch: all of them but for very many (kTiles)
};

inline RouterOperands router_operands(const RouterActivations& x, const RouterGate& gate) {
  if (x.dtype != NVFP4J_DTYPE_BF16 || x.columns % 8 != 0 || !aligned16(x.data, x.stride * 2))
    return RouterOperands::kAny;
  if (gate.scales != nullptr) {
    // Codes and scales begin at multiples of 16 bytes, and so a row of codes at a multiple of 8.
    return RouterOperands::kNvfp4;
  }
  return gate.dtype == NVFP4J_DTYPE_BF16 && aligned16(gate.data, gate.stride * 2)
             ? RouterOperands::kBf16
             : RouterOperands::kAny;
}

/// Whether a launch can be router_wgmma's: what its tensor maps can say (of an NVFP4 gate there is none), and the experts that its registers hold.
inline bool router_has_wgmma(const CudaDeviceProperties& device, const RouterDenseArgs& args) {
  constexpr std::int64_t kMapStride = std::int64_t{1} << 39;  // elements
  return runs_sm90a(device) && router_operands(args.x, args.gate) != RouterOperands::kAny &&
         args.gate.experts <= kRouterClusterExperts && args.x.stride < kMapStride &&
         args.gate.stride < kMapStride && args.x.tokens < 0x7fffffff - 256;
}

inline RouterPlan plan_router_dense(const CudaDeviceProperties& device,
                                    const RouterDenseArgs& args) {
  const auto divide_up = [](std::int64_t a, std::int64_t b) { return (a + b - 1) / b; };
  const std::int64_t tokens = args.x.tokens;
  const int experts = args.gate.experts;
  const std::int64_t units = divide_up(args.x.columns, kRouterUnit);
  RouterPlan plan{};
  plan.operands = router_operands(args.x, args.gate);
  const bool any = plan.operands == RouterOperands::kAny;
  constexpr std::int64_t kSplitTokens = 64;
  if (tokens <= kSplitTokens && device.cooperative_launch != 0) {
    plan.kernel = RouterKernel::kSplit;
    plan.tokens = any || tokens <= 8 ? 8 : 16;
    plan.experts = any ? 8 : tokens <= 16 ? 16 : 24;
    plan.groups = static_cast<int>(divide_up(experts, plan.experts));
    // A thread block a multiprocessor: it leaves room for one of the kernel behind, which brings its rows to L2 meanwhile. More slices would only be more words.
    const std::int64_t room = TaggedWords::kMaxWords / (tokens * experts);
    const std::int64_t slices = std::min<std::int64_t>(
        {device.sm_count / plan.groups, kRouterSlices, room, divide_up(units, 8)});
    plan.units_of_slice = divide_up(units, std::max<std::int64_t>(1, slices));
    plan.slices = static_cast<int>(divide_up(units, plan.units_of_slice));
    plan.launch_tokens = tokens;
    if (plan.groups <= device.sm_count) return plan;
  }
  if (router_has_wgmma(device, args)) {
    plan.kernel = RouterKernel::kWgmma;
    // Narrow tiles and many thread blocks to each spread few tokens over the multiprocessors; wide ones read W less often. Not all multiprocessors make clusters of four: some are left over in each of their groups.
    const std::int64_t clusters = device.sm_count * 7 / 8 / 4;
    const bool pairs = divide_up(tokens, 128) > clusters && experts <= 384;
    plan.tokens = divide_up(tokens, 64) <= (pairs ? device.sm_count / 2 : clusters) ? 64 : 128;
    plan.groups = pairs ? 2 : 4;
    const int share = (experts + plan.groups - 1) / plan.groups;
    plan.experts = pairs ? (share <= 128 ? 128 : 192) : share <= 64 ? 64 : share <= 96 ? 96 : 128;
    plan.slices = 1;
    plan.units_of_slice = units;
    plan.launch_tokens = tokens;
    return plan;
  }
  plan.kernel = RouterKernel::kTiles;
  plan.experts = any ? 8 : 24;
  plan.groups = static_cast<int>(divide_up(experts, plan.experts));
  // The wider the tile, the fewer times W is read; but each multiprocessor wants some.
  plan.tokens = any ? 8 : divide_up(tokens, 64) * plan.groups >= device.sm_count ? 64 : 16;
  plan.slices = 1;
  plan.units_of_slice = units;
  const std::int64_t scratch =
      args.logits != nullptr ? tokens
                             : kRouterScratchBytes / (4 * experts) / plan.tokens * plan.tokens;
  plan.launch_tokens = std::min(std::min(tokens, scratch), RouterExchange::kMaxTiles * plan.tokens);
  return plan;
}

/// What E at most makes of experts a thread.
inline constexpr int kRouterKeysOfThread = NVFP4J_MAX_EXPERTS / kRouterThreads;

}  // namespace nvfp4j
