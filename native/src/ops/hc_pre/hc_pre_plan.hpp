// SPDX-License-Identifier: Apache-2.0
// Which kernel and grid hc_pre, hc_head and hc_post_pre get: pure functions of device and call.
#pragma once
#include <cstdint>

#include "common/cuda_launch.hpp"
#include "ops/hc_pre/hc_args.hpp"
#include "ops/hc_pre/hc_pre_layout.hpp"

namespace nvfp4j {

enum class HcPreKernel {
  kGeneric,  // a thread block some tokens
  kSplit,  // thread blocks share tokens: each has a slice of the columns, and keeps fn's part of it (sm_90, n = 4, BF16)
};

struct HcPrePlan {
  HcPreKernel kernel;
  std::int64_t grid;
  int threads;
  int shared_bytes;
  // kGeneric
  int tokens;    // of a thread block: 1 or kHcGenericTokens
  bool aligned;  // rows are read and written 16 bytes at a time
  // kSplit
  int slice;   // columns of a thread block, a multiple of 16
  int slices;  // thread blocks that share a tile of tokens: a group
  int groups;
  int workers;    // warps that multiply and mix, 16 columns each
  int gatherers;  // warps that add up the slices' sums
  HcKind kind;
  HcSplitLayout layout;
};

inline constexpr int kHcGenericThreads = 256;
inline constexpr int kHcGenericTokens = 4;
// Threads of kSplit at most: four warps a scheduler, with 128 registers each.
inline constexpr int kHcSplitThreads = 512;

// Warps that normalise and quantise.
constexpr int hc_tailers(HcKind kind) { return kind == HcKind::kPostPreTail ? 2 : 0; }

inline bool hc_aligned(const HcStreams& s, int element_bytes) {
  return aligned16(s.data, s.token_stride * element_bytes) &&
         s.stream_stride * element_bytes % 16 == 0;
}

bool hc_has_split(const CudaDeviceProperties& device);
HcPrePlan plan_hc_pre(const CudaDeviceProperties& device, const HcPreArgs& args);

}  // namespace nvfp4j
