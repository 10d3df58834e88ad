// SPDX-License-Identifier: Apache-2.0
// swizzle and unswizzle of block scales on any device from compute capability 8.0 on.
//
// Bound by memory. A thread owns 16 bytes of the swizzled side: 4 scales of each of the rows r, r+32, r+64, r+96 of a tile. A warp is a tile (512 contiguous bytes), a thread
// block 8 tiles side by side, so that the linear side's 32-byte sectors are used whole within it.
#include "device/launch.cuh"
#include "device/ptx.cuh"
#include "ops/swizzle/swizzle_cuda.hpp"

namespace nvfp4j {
namespace {

using namespace device;

constexpr int kThreads = 256;

struct SwizzleTarget {
  std::uint8_t* linear;
  std::uint8_t* swizzled;
  std::int64_t rows;
  std::int64_t stride;   // bytes
  std::uint64_t units;   // of 16 bytes
  std::uint32_t blocks;  // scales in a row
  std::uint32_t tiles;   // in a row
  bool words;            // rows of the linear side are 4-byte aligned
};

// TO_SWIZZLED: linear to swizzled, padding zeroed; else back, padding dropped.
template <bool TO_SWIZZLED>
__global__ void __launch_bounds__(kThreads) swizzle(SwizzleTarget t) {
  await_predecessor();
  for (std::uint64_t i = static_cast<std::uint64_t>(blockIdx.x) * kThreads + threadIdx.x;
       i < t.units; i += static_cast<std::uint64_t>(gridDim.x) * kThreads) {
    const std::uint64_t tile = i >> 5;
    const std::uint64_t tile_row =
        tile >> 32 == 0 ? static_cast<std::uint32_t>(tile) / t.tiles : tile / t.tiles;
    const auto column = static_cast<std::uint32_t>(tile - tile_row * t.tiles) * 4u;
    const std::int64_t first_row = static_cast<std::int64_t>(tile_row) * 128 + (i & 31u);
    std::uint32_t w[4];
    if constexpr (!TO_SWIZZLED) {
      const uint4 v = *(reinterpret_cast<const uint4*>(t.swizzled) + i);
      w[0] = v.x;
      w[1] = v.y;
      w[2] = v.z;
      w[3] = v.w;
    }
    const std::uint32_t valid = t.blocks - column;  // scales of this tile, if fewer than 4
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const std::int64_t row = first_row + 32 * j;
      if constexpr (TO_SWIZZLED) w[j] = 0u;
      if (row >= t.rows) continue;
      std::uint8_t* p = t.linear + row * t.stride + column;
      if (t.words && valid >= 4u) {
        if constexpr (TO_SWIZZLED) {
          w[j] = *reinterpret_cast<const std::uint32_t*>(p);
        } else {
          *reinterpret_cast<std::uint32_t*>(p) = w[j];
        }
      } else {
#pragma unroll
        for (std::uint32_t k = 0; k < 4u; ++k) {
          if (k < valid) {
            if constexpr (TO_SWIZZLED) {
              w[j] |= static_cast<std::uint32_t>(p[k]) << (8u * k);
            } else {
              p[k] = static_cast<std::uint8_t>(w[j] >> (8u * k));
            }
          }
        }
      }
    }
    if constexpr (TO_SWIZZLED)
      *(reinterpret_cast<uint4*>(t.swizzled) + i) = make_uint4(w[0], w[1], w[2], w[3]);
  }
}

template <bool TO_SWIZZLED>
cudaError_t launch(const CudaLaunch& l, const SwizzleArgs& args) {
  if (args.rows == 0 || args.blocks == 0) return cudaSuccess;
  const std::int64_t tiles = (args.blocks + 3) / 4;
  const std::int64_t units = (args.rows + 127) / 128 * tiles * 32;
  SwizzleTarget t = {
      args.linear,
      args.swizzled,
      args.rows,
      args.linear_stride,
      static_cast<std::uint64_t>(units),
      static_cast<std::uint32_t>(args.blocks),
      static_cast<std::uint32_t>(tiles),
      reinterpret_cast<std::uintptr_t>(args.linear) % 4 == 0 && args.linear_stride % 4 == 0};
  void* arguments[] = {&t};
  const std::int64_t grid = std::min<std::int64_t>((units + kThreads - 1) / kThreads, 0x7fffffff);
  return launch_kernel(reinterpret_cast<const void*>(&swizzle<TO_SWIZZLED>), l, grid, kThreads,
                       arguments);
}

const char* refusal(const CudaDeviceProperties& device) {
  return device.major < 8 ? "the CUDA kernels need compute capability 8.0 or newer" : nullptr;
}
const char* path(const CudaDeviceProperties& device) {
  return device.major < 8 ? nullptr : "generic: swizzle_generic, compute capability 8.0 or newer";
}

}  // namespace

int swizzle_cuda(const CudaLaunch& l, const SwizzleArgs& args) { return launch<true>(l, args); }
int unswizzle_cuda(const CudaLaunch& l, const SwizzleArgs& args) { return launch<false>(l, args); }
const char* swizzle_cuda_path(const CudaDeviceProperties& device) { return path(device); }
const char* swizzle_cuda_refusal(const CudaDeviceProperties& device) { return refusal(device); }
const char* unswizzle_cuda_path(const CudaDeviceProperties& device) { return path(device); }
const char* unswizzle_cuda_refusal(const CudaDeviceProperties& device) { return refusal(device); }
int swizzle_cuda_warm_up(const CudaDeviceProperties&) {
  return load_kernel(reinterpret_cast<const void*>(&swizzle<true>));
}
int unswizzle_cuda_warm_up(const CudaDeviceProperties&) {
  return load_kernel(reinterpret_cast<const void*>(&swizzle<false>));
}
std::int64_t swizzle_cuda_workspace_bytes(const CudaDeviceProperties&, std::int64_t, std::int64_t) {
  return 0;
}
std::int64_t unswizzle_cuda_workspace_bytes(const CudaDeviceProperties&, std::int64_t,
                                            std::int64_t) {
  return 0;
}

}  // namespace nvfp4j
