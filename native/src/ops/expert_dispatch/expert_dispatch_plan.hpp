// SPDX-License-Identifier: Apache-2.0
// Kernel and grid of expert_dispatch.
#pragma once
#include <algorithm>
#include <cstdint>

#include "common/cuda_launch.hpp"

namespace nvfp4j {

/// Choices that the lanes of a warp hold.
inline constexpr int kDispatchFew = 32;

struct ExpertDispatchPlan {
  bool few;             // every warp holds all choices
  int threads;          // of a thread block
  int grid;             // thread blocks
  std::uint32_t chunk;  // choices that a thread block places
  int parts;            // warps of a thread block that place
  std::uint32_t part;   // choices that such a warp places, a multiple of 32
  int shared_bytes;     // [parts][experts] counts, [2][experts] counts, [32] sums
};

inline ExpertDispatchPlan plan_expert_dispatch(const CudaDeviceProperties& device,
                                               std::int64_t choices, int experts) {
  constexpr int kMaxThreads = 1024;
  constexpr std::int64_t kChunk = 1024;
  constexpr int kSharedWords = 12288;  // what a kernel may have without being allowed more
  const auto warps_of = [](std::int64_t threads) { return (threads + 31) / 32; };
  ExpertDispatchPlan plan{};
  plan.grid = 1;
  if (choices <= kDispatchFew) {
    plan.few = true;
    plan.threads = static_cast<int>(std::min<std::int64_t>(512, 32 * warps_of(experts + 1)));
    return plan;
  }
  // Each thread block reads all choices: more blocks than multiprocessors would take turns.
  const std::int64_t blocks =
      std::clamp<std::int64_t>((choices + kChunk - 1) / kChunk, 1, device.sm_count);
  const std::int64_t chunk = 32 * warps_of((choices + blocks - 1) / blocks);
  plan.chunk = static_cast<std::uint32_t>(chunk);
  plan.grid = static_cast<int>((choices + chunk - 1) / chunk);
  const int most = std::min(32, (kSharedWords - 32) / experts - 2);
  const std::int64_t wanted = std::min<std::int64_t>(most, warps_of(chunk));
  const std::int64_t part = 32 * warps_of((chunk + wanted - 1) / wanted);
  plan.part = static_cast<std::uint32_t>(part);
  plan.parts = static_cast<int>((chunk + part - 1) / part);
  // A thread adds up the counts of an expert; many choices are counted by as many threads as there can be.
  plan.threads = plan.grid > 1
                     ? kMaxThreads
                     : static_cast<int>(32 * std::max<std::int64_t>(warps_of(experts), plan.parts));
  plan.shared_bytes = 4 * ((plan.parts + 2) * experts + 32);
  return plan;
}

}  // namespace nvfp4j
