// SPDX-License-Identifier: Apache-2.0
// swizzle and unswizzle of block scales on any device from compute capability 8.0 on.
//
// Bound by memory: every scale is read once and written once. A tile's 16 swizzled bytes are 4 scales of each of the rows r, r+32, r+64, r+96, so that 4 tiles side by side at one r are a 4x4 matrix of words
// whose transpose is 16 linear bytes of each of those rows. A thread moves such a matrix: four 16-byte loads, then four 16-byte stores, and the transpose is only a choice of registers.
// A warp has 16 tiles and 8 values of r: 64 contiguous bytes of a row on the linear side, 128 of a tile on the swizzled side, so that whole sectors go either way. (Four bytes of each of 32 rows, as a
// warp that owns one tile has them, would make every sector that unswizzle writes of 8 partial writes.)
// Linear rows that are not 16-byte aligned, or end within 16 bytes, go by words and then by bytes: a thread has one tile at 4 values of r, and the 16 tiles of a row are neighbouring lanes: the same contiguous bytes.
// Rows of fewer than 16 tiles get warps of fewer tiles and more values of r.
// Measured on an H100 80GB HBM3, 8192x448 (DeviceTime, commit bff670fb8c1a): swizzle 4.26 us, unswizzle 3.82 us, 98 % and 109 % of a kernel that reads and writes as many bytes.
#include <algorithm>

#include "device/launch.cuh"
#include "device/ptx.cuh"
#include "ops/swizzle/swizzle_cuda.hpp"

namespace nvfp4j {
namespace {

using namespace device;

constexpr int kMaxWarps = 2;      // in a thread block: small, so that small inputs reach many SMs
constexpr int kMaxTileShift = 4;  // log2 of a warp's tiles

struct SwizzleTarget {
  std::uint8_t* linear;
  std::uint8_t* swizzled;
  std::int64_t rows;
  std::int64_t stride;       // bytes
  std::int64_t blocks;       // scales in a row
  std::int64_t tiles;        // in a row
  std::uint32_t tile_shift;  // log2 of a warp's tiles
  std::uint32_t part_shift;  // log2 of the thread blocks that share these tiles' 32 values of r
  bool vectors;              // rows of the linear side are 16-byte aligned
  bool words;                // 4-byte aligned
};

// Word j of a vector in a register; j is a constant where the loop is unrolled.
__device__ __forceinline__ std::uint32_t& word(uint4& v, int j) {
  return j == 0 ? v.x : j == 1 ? v.y : j == 2 ? v.z : v.w;
}

// 4 tiles at one r. linear: the 16 bytes in the row of r, of which `rows` are left; swizzled: those of the first tile.
template <bool TO_SWIZZLED>
__device__ __forceinline__ void move_vectors(std::uint8_t* linear, std::int64_t stride,
                                             std::int64_t rows, uint4* swizzled) {
  uint4 from[4];
  uint4 to[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if constexpr (TO_SWIZZLED) {
      from[j] = make_uint4(0u, 0u, 0u, 0u);
      if (32 * j < rows) from[j] = *reinterpret_cast<const uint4*>(linear + 32 * j * stride);
    } else {
      from[j] = swizzled[32 * j];
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) word(to[i], j) = word(from[j], i);
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if constexpr (TO_SWIZZLED) {
      swizzled[32 * j] = to[j];
    } else if (32 * j < rows) {
      *reinterpret_cast<uint4*>(linear + 32 * j * stride) = to[j];
    }
  }
}

// One tile at r, r+step, r+2*step, r+3*step, as far as these are less than 32.
template <bool TO_SWIZZLED>
__device__ __forceinline__ void move_words(std::uint8_t* linear, std::int64_t stride,
                                           std::int64_t rows, uint4* swizzled, std::uint32_t r,
                                           std::uint32_t step) {
  uint4 v[4];
#pragma unroll
  for (std::uint32_t i = 0; i < 4u; ++i) {
    v[i] = make_uint4(0u, 0u, 0u, 0u);
    if (r + i * step >= 32u) continue;
    if constexpr (TO_SWIZZLED) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const std::int64_t down = i * step + 32 * j;
        if (down < rows)
          word(v[i], j) = *reinterpret_cast<const std::uint32_t*>(linear + down * stride);
      }
    } else {
      v[i] = swizzled[i * step];
    }
  }
#pragma unroll
  for (std::uint32_t i = 0; i < 4u; ++i) {
    if (r + i * step >= 32u) continue;
    if constexpr (TO_SWIZZLED) {
      swizzled[i * step] = v[i];
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const std::int64_t down = i * step + 32 * j;
        if (down < rows) *reinterpret_cast<std::uint32_t*>(linear + down * stride) = word(v[i], j);
      }
    }
  }
}

// The same with any alignment and the tile's first `scales` columns (4 or more: all).
template <bool TO_SWIZZLED>
__device__ __forceinline__ void move_bytes(std::uint8_t* linear, std::int64_t stride,
                                           std::int64_t rows, uint4* swizzled, std::uint32_t r,
                                           std::uint32_t step, std::uint32_t scales) {
#pragma unroll 1
  for (std::uint32_t i = 0; i < 4u && r + i * step < 32u; ++i) {
    uint4 v = make_uint4(0u, 0u, 0u, 0u);
    if constexpr (!TO_SWIZZLED) v = swizzled[i * step];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const std::int64_t down = i * step + 32 * j;
      std::uint8_t* p = linear + down * stride;
#pragma unroll
      for (std::uint32_t k = 0; k < 4u; ++k) {
        if (down < rows && k < scales) {
          if constexpr (TO_SWIZZLED) {
            word(v, j) |= static_cast<std::uint32_t>(p[k]) << (8u * k);
          } else {
            p[k] = static_cast<std::uint8_t>(word(v, j) >> (8u * k));
          }
        }
      }
    }
    if constexpr (TO_SWIZZLED) swizzled[i * step] = v;
  }
}

// TO_SWIZZLED: linear to swizzled, padding zeroed; else back, padding dropped.
template <bool TO_SWIZZLED>
__global__ void __launch_bounds__(32 * kMaxWarps) swizzle(SwizzleTarget t) {
  await_predecessor();
  const std::int64_t tile_row = static_cast<std::int64_t>(blockIdx.z) * gridDim.y + blockIdx.y;
  const std::int64_t left = t.rows - tile_row * 128;
  if (left <= 0) return;  // gridDim.y * gridDim.z is rounded up
  // The warp's tiles, and the first of its 128 / tiles values of r.
  const std::int64_t tile = static_cast<std::int64_t>(blockIdx.x >> t.part_shift) << t.tile_shift;
  const std::uint32_t part = blockIdx.x & ((1u << t.part_shift) - 1u);
  const std::uint32_t r = (part * (blockDim.x >> 5) + (threadIdx.x >> 5)) * (128u >> t.tile_shift);
  const std::uint32_t lane = threadIdx.x & 31u;
  // Scales of these tiles in a row.
  const auto scales =
      static_cast<std::uint32_t>(min(t.blocks - 4 * tile, std::int64_t{4} << t.tile_shift));

  if (t.vectors && scales % 16u == 0u) {
    const std::uint32_t shift = t.tile_shift - 2u;
    const std::uint32_t group = lane & ((1u << shift) - 1u);
    const std::uint32_t my_r = r + (lane >> shift);
    if (16u * group >= scales || (!TO_SWIZZLED && my_r >= left)) return;
    move_vectors<TO_SWIZZLED>(
        t.linear + (tile_row * 128 + my_r) * t.stride + 4 * tile + 16u * group, t.stride,
        left - my_r,
        reinterpret_cast<uint4*>(t.swizzled) + (tile_row * t.tiles + tile + 4u * group) * 32 +
            my_r);
    return;
  }
  const std::uint32_t mine = lane & ((1u << t.tile_shift) - 1u);
  const std::uint32_t my_r = r + (lane >> t.tile_shift);
  const std::uint32_t step = 32u >> t.tile_shift;
  if (4u * mine >= scales || (!TO_SWIZZLED && my_r >= left)) return;
  std::uint8_t* linear = t.linear + (tile_row * 128 + my_r) * t.stride + 4 * tile + 4u * mine;
  uint4* swizzled =
      reinterpret_cast<uint4*>(t.swizzled) + (tile_row * t.tiles + tile + mine) * 32 + my_r;
  if (t.words && scales % 4u == 0u) {
    move_words<TO_SWIZZLED>(linear, t.stride, left - my_r, swizzled, my_r, step);
  } else {
    move_bytes<TO_SWIZZLED>(linear, t.stride, left - my_r, swizzled, my_r, step,
                            scales - 4u * mine);
  }
}

template <bool TO_SWIZZLED>
cudaError_t launch(const CudaLaunch& l, const SwizzleArgs& args) {
  if (args.rows == 0 || args.blocks == 0) return cudaSuccess;
  const std::int64_t tiles = (args.blocks + 3) / 4;
  const std::int64_t tile_rows = (args.rows + 127) / 128;
  std::uint32_t tile_shift = 0;
  while (tile_shift < kMaxTileShift && (std::int64_t{1} << tile_shift) < tiles) ++tile_shift;
  // A warp has min(32, 128 / tiles) values of r.
  const int all_warps = std::max(1, (1 << tile_shift) / 4);
  const int warps = std::min(all_warps, kMaxWarps);
  std::uint32_t part_shift = 0;
  while (warps << part_shift < all_warps) ++part_shift;
  const bool one_row = args.rows == 1;
  const auto aligned = [&](int bytes) {
    return reinterpret_cast<std::uintptr_t>(args.linear) % static_cast<unsigned>(bytes) == 0 &&
           (one_row || args.linear_stride % bytes == 0);
  };
  SwizzleTarget t = {args.linear, args.swizzled, args.rows,  args.linear_stride, args.blocks,
                     tiles,       tile_shift,    part_shift, aligned(16),        aligned(4)};
  void* arguments[] = {&t};
  // Columns first, so that the thread blocks that run together have whole rows.
  const std::int64_t x = (((tiles - 1) >> tile_shift) + 1) << part_shift;
  const std::int64_t z = (tile_rows + 65534) / 65535;
  const std::int64_t y = (tile_rows + z - 1) / z;
  if (x > 0x7fffffff || z > 65535) return cudaErrorInvalidConfiguration;  // 2^42 bytes and more
  return launch_programmatic(
      reinterpret_cast<const void*>(&swizzle<TO_SWIZZLED>), l,
      dim3(static_cast<unsigned>(x), static_cast<unsigned>(y), static_cast<unsigned>(z)),
      32 * warps, 0, arguments);
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
