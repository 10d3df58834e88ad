// SPDX-License-Identifier: Apache-2.0
// Kernel and grid of sample, and what its thread blocks tell each other.
#pragma once
#include <cstdint>

#include "common/cuda_launch.hpp"

namespace nvfp4j {

inline constexpr int kSampleThreads = 256;
// Thread blocks of that size on a multiprocessor: kernels are built for as many.
inline constexpr int kSampleBlocksPerSm = 4;
// Rows that several thread blocks may share, and thread blocks that do: what SampleExchange has words for.
inline constexpr int kSampleSplitRows = 256;
inline constexpr int kSampleSplitBlocks = 832;
// Groups of 4 columns up to which a warp has a row.
inline constexpr int kSampleWarpQuads = 64;

// Where thread blocks that share a row meet, in the workspace; zeros between launches.
struct SampleExchange {
  unsigned int arrived[kSampleSplitRows];   // of a row
  std::uint64_t found[kSampleSplitBlocks];  // by a thread block, never 0
};

enum class SampleKernel {
  kWarps,   // a row a warp
  kBlocks,  // a row in `splits` thread blocks
};

struct SamplePlan {
  SampleKernel kernel;
  int splits;
  int threads;  // of a thread block
  int grid_x;   // kBlocks: splits
  int grid_y;   // rows; kernels stride over what is left
};

inline SamplePlan plan_sample(const CudaDeviceProperties& device, std::int64_t tokens,
                              std::int64_t columns) {
  const std::int64_t quads = (columns + 3) / 4;
  if (quads <= kSampleWarpQuads) {
    constexpr std::int64_t kMaxGrid = 1 << 16;
    const std::int64_t warps = tokens < kSampleThreads / 32 ? tokens : kSampleThreads / 32;
    const std::int64_t blocks = (tokens + warps - 1) / warps;
    return {SampleKernel::kWarps, 1, static_cast<int>(32 * warps),
            static_cast<int>(blocks < kMaxGrid ? blocks : kMaxGrid), 1};
  }
  std::int64_t splits = 1;
  if (tokens <= kSampleSplitRows) {
    // All at once, each with a group of columns a thread at least.
    const std::int64_t all = std::int64_t{kSampleBlocksPerSm} * device.sm_count;
    splits = (all < kSampleSplitBlocks ? all : kSampleSplitBlocks) / tokens;
    const std::int64_t most = (quads + kSampleThreads - 1) / kSampleThreads;
    if (splits > most) splits = most;
    if (splits < 1) splits = 1;
    // None without columns.
    const std::int64_t part = (quads + splits - 1) / splits;
    splits = (quads + part - 1) / part;
  }
  constexpr std::int64_t kMaxGridY = 65535;
  return {SampleKernel::kBlocks, static_cast<int>(splits), kSampleThreads, static_cast<int>(splits),
          static_cast<int>(tokens < kMaxGridY ? tokens : kMaxGridY)};
}

}  // namespace nvfp4j
