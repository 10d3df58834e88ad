// SPDX-License-Identifier: Apache-2.0
// Loading a block of 16 elements from rows of any stride and alignment.
#pragma once
#include <cstdint>

#include "device/fp4.cuh"
#include "device/ptx.cuh"

namespace nvfp4j::device {

// ALIGNED: p is 16-byte aligned.
template <typename T, bool ALIGNED>
__device__ __forceinline__ Block<T> load_block(const char* p) {
  Block<T> x;
  if constexpr (ALIGNED) {
#pragma unroll
    for (int i = 0; i < T::kBytes; ++i) {
      const uint4 v = load(reinterpret_cast<const uint4*>(p) + i);
      set_packet(x, i, v);
    }
  } else if constexpr (T::kBytes == 2) {
    const auto* q = reinterpret_cast<const std::uint16_t*>(p);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      x.w[i] = load(q + 2 * i) | load(q + 2 * i + 1) << 16;
    }
  } else {
    const auto* q = reinterpret_cast<const std::uint32_t*>(p);
#pragma unroll
    for (int i = 0; i < 16; ++i) x.w[i] = load(q + i);
  }
  return x;
}

// From shared memory, 16-byte aligned. 16-bit elements: `second_first` in lanes 4..7 of each 8 makes 8 neighbours touch all banks.
template <typename T>
__device__ __forceinline__ Block<T> load_block_shared(const char* p, bool second_first) {
  Block<T> x;
  if constexpr (T::kBytes == 2) {
    const uint4 u = *reinterpret_cast<const uint4*>(p + (second_first ? 16 : 0));
    const uint4 v = *reinterpret_cast<const uint4*>(p + (second_first ? 0 : 16));
    const uint4 a = second_first ? v : u;
    const uint4 b = second_first ? u : v;
    x.w[0] = a.x;
    x.w[1] = a.y;
    x.w[2] = a.z;
    x.w[3] = a.w;
    x.w[4] = b.x;
    x.w[5] = b.y;
    x.w[6] = b.z;
    x.w[7] = b.w;
  } else {
#pragma unroll
    for (int i = 0; i < T::kBytes; ++i) {
      const uint4 v = *reinterpret_cast<const uint4*>(p + 16 * i);
      set_packet(x, i, v);
    }
  }
  return x;
}

template <typename T>
__device__ __forceinline__ void store_block_shared(char* p, const Block<T>& x, bool second_first) {
  if constexpr (T::kBytes == 2) {
    const uint4 a = make_uint4(x.w[0], x.w[1], x.w[2], x.w[3]);
    const uint4 b = make_uint4(x.w[4], x.w[5], x.w[6], x.w[7]);
    *reinterpret_cast<uint4*>(p + (second_first ? 16 : 0)) = second_first ? b : a;
    *reinterpret_cast<uint4*>(p + (second_first ? 0 : 16)) = second_first ? a : b;
  } else {
#pragma unroll
    for (int i = 0; i < T::kBytes; ++i) {
      *reinterpret_cast<uint4*>(p + 16 * i) =
          make_uint4(x.w[4 * i], x.w[4 * i + 1], x.w[4 * i + 2], x.w[4 * i + 3]);
    }
  }
}

}  // namespace nvfp4j::device
