// SPDX-License-Identifier: Apache-2.0
// Which kernel and grid hc_pre, hc_head and hc_post_pre get: pure functions of device and call.
#pragma once
#include <cstdint>

#include "common/cuda_launch.hpp"
#include "ops/hc_pre/hc_args.hpp"
#include "ops/hc_pre/hc_pre_layout.hpp"
#include "ops/hc_pre/hc_pre_wgmma_layout.hpp"

namespace nvfp4j {

enum class HcPreKernel {
  kGeneric,  // a thread block some tokens
  kSplit,  // thread blocks share tokens: each has a slice of the columns, and keeps fn's part of it (sm_90, n = 4, BF16)
  kWgmma,  // the same, for many tokens; not the head
};

struct HcPrePlan {
  HcPreKernel kernel;
  std::int64_t grid;
  int threads;
  int shared_bytes;
  // kGeneric
  int tokens;    // of a thread block: 1 or kHcGenericTokens
  bool aligned;  // rows are read and written 16 bytes at a time
  // kSplit and kWgmma
  int slice;   // columns of a thread block, a multiple of 16; of kWgmma one of kHcGranule
  int slices;  // thread blocks that share a tile of tokens: a group
  int groups;
  HcKind kind;
  // kSplit
  int workers;    // warps that multiply and mix, 16 columns each
  int gatherers;  // warps that add up the slices' sums
  HcSplitLayout layout;
  // kWgmma
  HcWgmmaLayout wgmma;
};

inline constexpr int kHcGenericThreads = 256;
inline constexpr int kHcGenericTokens = 4;
// Threads of kSplit at most: four warps a scheduler, with 128 registers each.
inline constexpr int kHcSplitThreads = 512;

// From here on kWgmma is faster: so many tokens, and tokens times columns for each multiprocessor. With the four mixes of the head kSplit always is.
inline constexpr std::int64_t kHcWgmmaTokens = 64;
inline constexpr std::int64_t kHcWgmmaElements = 1984;

// Of kSplit: warps that normalise and quantise, and all that are neither workers nor gatherers.
constexpr int hc_tailers(HcKind kind) { return kind == HcKind::kPostPreTail ? 2 : 0; }
constexpr int hc_split_others(HcKind kind) {
  return (kind == HcKind::kHead ? 1 : 2) + hc_tailers(kind);
}

inline bool hc_aligned(const HcStreams& s, int element_bytes) {
  return aligned16(s.data, s.token_stride * element_bytes) &&
         s.stream_stride * element_bytes % 16 == 0;
}

bool hc_has_sm90(const CudaDeviceProperties& device);
HcPrePlan plan_hc_pre(const CudaDeviceProperties& device, const HcPreArgs& args);

}  // namespace nvfp4j
