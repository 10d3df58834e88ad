// SPDX-License-Identifier: Apache-2.0
// How a launch of router_hash is shaped.
#pragma once
#include <algorithm>
#include <cstdint>

#include "ops/router_dense/router_dense_plan.hpp"
#include "ops/router_hash/router_hash_args.hpp"

namespace nvfp4j {

// 7168 columns in a packet of 8 a thread.
inline constexpr int kRouterHashThreads = 896;
// Rows of W that a thread has under way at a time.
inline constexpr int kRouterHashRows = 8;

// Of router_hash_tiles: columns that a thread block has of W at a time, eight of each 64 to a lane.
inline constexpr int kRouterHashSlice = 256;
inline constexpr int kRouterHashTileThreads = 512;
inline constexpr int kRouterHashTileWarps = kRouterHashTileThreads / 32;
// Tokens that a warp has under way.
inline constexpr int kRouterHashBatch = 4;
// What bringing a slice to shared memory takes, in batches of tokens, nearly (24 or 60 made no difference).
inline constexpr int kRouterHashFill = 36;

enum class RouterHashKernel {
  kRows,   // a thread block a token
  kTiles,  // many tokens: a slice of the columns of all of W in a thread block's shared memory, and a part of the tokens; of very many tokens parts of two slices, one after the other
};

struct RouterHashPlan {
  RouterHashKernel kernel;
  RouterOperands operands;
  std::int64_t grid;  // thread blocks. kRows: a token each, or more than one in turn
  bool early;         // kRows: rows are on their way to L2 before the kernel before has ended
  // kTiles
  int slices;  // of the columns
  int fill;    // kRouterHashFill, or 0 where no thread block has parts of two
  int pairs;   // of experts of a token: 3, 4 or 8
  std::int64_t
      round_tokens;  // whose sums the workspace has room for, twice: all of them but for very many
  int shared_bytes;
};

// Of router_hash_tiles for up to 2 PAIRS experts a token.
template <int PAIRS>
struct RouterHashPairs {
  static constexpr int kSlots = 2 * PAIRS;
  static constexpr int kSums = PAIRS <= 4 ? 8 : 16;  // room of a token and slice in the workspace
  // A batch's slots, four at a time: as many of these side by side as registers hold. (Of more than 8 slots, two words that say where rows are take some.)
  static constexpr int kPasses = PAIRS <= 4 ? 1 : 4;
  static constexpr int kQuads = kRouterHashBatch * kSlots / 4 / kPasses;
};

// To bring W to shared memory, and to wait for each other, takes as long as some hundred tokens row by row.
inline bool router_hash_has_tiles(const CudaDeviceProperties& device, std::int64_t tokens) {
  return tokens > 3 * std::int64_t{device.sm_count} && device.cooperative_launch != 0;
}

// What a call with so many rows may take of the workspace. Where there may be more than one round, both halves of the scratch.
inline std::int64_t router_hash_workspace_bytes(const CudaDeviceProperties& device,
                                                std::int64_t rows, std::int64_t columns) {
  if (!router_hash_has_tiles(device, rows)) return 0;
  const std::int64_t slices = (columns + kRouterHashSlice - 1) / kRouterHashSlice;
  constexpr std::int64_t kToken = 4 * RouterHashPairs<8>::kSums;  // of a slice, at most
  const std::int64_t sums = rows > kRouterScratchBytes / 2 / kToken / slices
                                ? kRouterScratchBytes
                                : rows * slices * kToken;
  return kWorkspaceExchangeBytes + sums;
}

inline RouterHashPlan plan_router_hash(const CudaDeviceProperties& device,
                                       const RouterHashArgs& args) {
  const std::int64_t tokens = args.x.tokens;
  RouterHashPlan plan{};
  plan.operands = router_operands(args.x, args.gate);
  plan.pairs = args.choice.topk <= 6 ? 3 : args.choice.topk <= 8 ? 4 : 8;
  plan.shared_bytes = args.gate.experts * kRouterHashSlice * 2;
  const std::int64_t slices = (args.x.columns + kRouterHashSlice - 1) / kRouterHashSlice;
  if (router_hash_has_tiles(device, tokens) && plan.operands != RouterOperands::kAny &&
      slices <= device.sm_count && plan.shared_bytes <= device.shared_memory_per_block_optin) {
    plan.kernel = RouterHashKernel::kTiles;
    plan.slices = static_cast<int>(slices);
    plan.grid = slices * std::min<std::int64_t>(device.sm_count / slices, (tokens + 79) / 80);
    // Many tokens to all multiprocessors: some thread blocks then have parts of two slices, and filling twice is little beside the products.
    if (tokens / kRouterHashBatch * slices > 4 * kRouterHashFill * std::int64_t{device.sm_count}) {
      plan.grid = device.sm_count;
      plan.fill = kRouterHashFill;
    }
    plan.round_tokens =
        std::min(tokens, kRouterScratchBytes / 2 / ((plan.pairs == 8 ? 64 : 32) * slices));
    return plan;
  }
  plan.kernel = RouterHashKernel::kRows;
  plan.grid = std::min<std::int64_t>(tokens, 0x7fffffff);
  // Thread blocks that are not resident when the kernel before ends have nothing to gain.
  plan.early = tokens <= 2 * std::int64_t{device.sm_count};
  return plan;
}

}  // namespace nvfp4j
