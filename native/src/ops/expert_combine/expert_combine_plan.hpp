// SPDX-License-Identifier: Apache-2.0
// Grid of expert_combine.
#pragma once
#include <cstdint>

namespace nvfp4j {

inline constexpr int kCombineThreads = 128;
/// Lanes that a token has at least.
inline constexpr int kCombineLanesLog2 = 3;
/// Tokens of a thread block, and slots of a token, at most.
inline constexpr int kCombineTokens = kCombineThreads >> kCombineLanesLog2;
inline constexpr int kCombineSlots = 16;

struct ExpertCombinePlan {
  std::uint32_t pieces;  // of a row: packets of 16 bytes, or columns
  int threads;           // of a thread block
  int lanes_log2;        // threads that a token has in a thread block
  std::uint32_t chunks;  // thread blocks along a row
  std::int64_t
      grid;  // thread blocks: `chunks` times as many as there are groups of tokens, or fewer
};

/// `packets`: a thread takes 16 bytes of y's rows, else a column.
inline ExpertCombinePlan plan_expert_combine(int sm_count, std::int64_t tokens,
                                             std::int64_t columns, int element_bytes,
                                             bool packets) {
  ExpertCombinePlan plan{};
  plan.pieces = static_cast<std::uint32_t>(packets ? columns * element_bytes / 16 : columns);
  // Few results take one way to memory and back: small thread blocks spread over more multiprocessors.
  plan.threads = kCombineThreads;
  while (plan.threads > 32 && tokens <= std::int64_t{sm_count} * plan.threads / plan.pieces)
    plan.threads /= 2;
  plan.lanes_log2 = kCombineLanesLog2;
  while ((1 << plan.lanes_log2) < plan.threads && std::uint32_t{1} << plan.lanes_log2 < plan.pieces)
    ++plan.lanes_log2;
  const std::int64_t lanes = std::int64_t{1} << plan.lanes_log2;
  plan.chunks = static_cast<std::uint32_t>((plan.pieces + lanes - 1) / lanes);
  const std::int64_t in_block = plan.threads / lanes;
  const std::int64_t groups = (tokens + in_block - 1) / in_block;
  const std::int64_t most = 0x7fffffff / plan.chunks;
  plan.grid = (groups <= most ? groups : most) * plan.chunks;
  return plan;
}

}  // namespace nvfp4j
