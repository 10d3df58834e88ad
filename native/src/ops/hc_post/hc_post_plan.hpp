// SPDX-License-Identifier: Apache-2.0
// Grid of hc_post.
#pragma once
#include <cstdint>

namespace nvfp4j {

inline constexpr int kHcPostThreads = 128;

struct HcPostPlan {
  int padded;             // 2, 4, 8 or 16: n padded; 4 only for n = 4
  std::uint32_t packets;  // of 16 bytes in a row
  std::uint32_t chunks;   // thread blocks along a row
  std::int64_t grid;      // thread blocks: tokens times chunks, or fewer
};

inline HcPostPlan plan_hc_post(std::int64_t tokens, int n, std::int64_t columns,
                               int element_bytes) {
  HcPostPlan plan;
  plan.padded = n <= 2 ? 2 : n == 4 ? 4 : n <= 8 ? 8 : 16;
  plan.packets = static_cast<std::uint32_t>(columns * element_bytes / 16);
  plan.chunks = (plan.packets + kHcPostThreads - 1) / kHcPostThreads;
  const std::int64_t most = 0x7fffffff;
  plan.grid =
      tokens <= most / plan.chunks ? tokens * plan.chunks : most / plan.chunks * plan.chunks;
  return plan;
}

}  // namespace nvfp4j
