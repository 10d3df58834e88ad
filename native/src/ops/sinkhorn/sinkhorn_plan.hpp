// SPDX-License-Identifier: Apache-2.0
// Kernel and grid of sinkhorn.
#pragma once
#include <cstdint>

namespace nvfp4j {

inline constexpr int kSinkhornThreads = 64;

enum class SinkhornKernel {
  kThreads,  // a token a thread: n up to 4
  kPairs,    // a token in two lanes: n = 4
  kRows,     // a row in each of 8 or 16 lanes
};

struct SinkhornPlan {
  SinkhornKernel kernel;
  int padded;   // 2, 4, 8 or 16: n padded
  int threads;  // of a thread block
  std::int64_t grid;
};

inline SinkhornPlan plan_sinkhorn(std::int64_t tokens, int n) {
  SinkhornPlan plan;
  plan.padded = n <= 2 ? 2 : n <= 4 ? 4 : n <= 8 ? 8 : 16;
  // Two lanes make the shortest chain, one thread the least work: tokens beyond that wait for instructions.
  constexpr std::int64_t kPairTokens = 16384;
  plan.kernel = plan.padded >= 8                  ? SinkhornKernel::kRows
                : n == 4 && tokens <= kPairTokens ? SinkhornKernel::kPairs
                                                  : SinkhornKernel::kThreads;
  // A token takes one chain of dependent operations: thread blocks are small so that few tokens spread over many multiprocessors.
  plan.threads = kSinkhornThreads;
  const std::int64_t threads = tokens * (plan.kernel == SinkhornKernel::kRows    ? plan.padded
                                         : plan.kernel == SinkhornKernel::kPairs ? 2
                                                                                 : 1);
  const std::int64_t wanted = (threads + plan.threads - 1) / plan.threads;
  plan.grid = wanted < 0x7fffffff ? wanted : 0x7fffffff;  // the kernel strides over what is left
  return plan;
}

}  // namespace nvfp4j
