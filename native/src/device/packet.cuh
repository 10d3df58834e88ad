// SPDX-License-Identifier: Apache-2.0
// 16 bytes of a row in registers: 8 BF16 or 4 F32 columns.
#pragma once
#include <cstdint>

#include "device/block.cuh"
#include "device/ptx.cuh"

namespace nvfp4j::device {

template <typename T>
inline constexpr int kPacketColumns = 16 / T::kBytes;

// ALIGNED: p is 16-byte aligned.
template <typename T, bool ALIGNED>
__device__ __forceinline__ uint4 load_packet(const char* p) {
  if constexpr (ALIGNED) {
    return load(reinterpret_cast<const uint4*>(p));
  } else if constexpr (T::kBytes == 2) {
    const auto* q = reinterpret_cast<const std::uint16_t*>(p);
    return make_uint4(load(q) | load(q + 1) << 16, load(q + 2) | load(q + 3) << 16,
                      load(q + 4) | load(q + 5) << 16, load(q + 6) | load(q + 7) << 16);
  } else {
    const auto* q = reinterpret_cast<const std::uint32_t*>(p);
    return make_uint4(load(q), load(q + 1), load(q + 2), load(q + 3));
  }
}

template <typename T, bool ALIGNED>
__device__ __forceinline__ void load_words(const char* p, std::uint32_t (&w)[4]) {
  const uint4 v = load_packet<T, ALIGNED>(p);
  w[0] = v.x;
  w[1] = v.y;
  w[2] = v.z;
  w[3] = v.w;
}

template <typename T, bool ALIGNED>
__device__ __forceinline__ void store_packet(char* p, uint4 v) {
  if constexpr (ALIGNED) {
    *reinterpret_cast<uint4*>(p) = v;
  } else {
    const std::uint32_t w[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (T::kBytes == 2) {
        reinterpret_cast<std::uint16_t*>(p)[2 * i] = static_cast<std::uint16_t>(w[i]);
        reinterpret_cast<std::uint16_t*>(p)[2 * i + 1] = static_cast<std::uint16_t>(w[i] >> 16);
      } else {
        reinterpret_cast<std::uint32_t*>(p)[i] = w[i];
      }
    }
  }
}

// The columns of some words, and back.
template <typename T, int WORDS>
__device__ __forceinline__ void unpack(const std::uint32_t (&w)[WORDS],
                                       float (&x)[WORDS * 4 / T::kBytes]) {
#pragma unroll
  for (int i = 0; i < WORDS; ++i) {
    if constexpr (T::kBytes == 2) {
      x[2 * i] = __uint_as_float(w[i] << 16);
      x[2 * i + 1] = __uint_as_float(w[i] & 0xFFFF0000u);
    } else {
      x[i] = __uint_as_float(w[i]);
    }
  }
}

// Of packed 16-bit values: whether the largest of their magnitudes (T::max_magnitude) is that of a NaN, and NaNs made 0x7FC0.
template <typename T>
__device__ __forceinline__ bool has_nan(std::uint32_t largest) {
  largest &= 0x7FFF7FFFu;
  return max(largest & 0xFFFFu, largest >> 16) > T::kInfinity;
}
template <typename T>
__device__ __forceinline__ std::uint32_t canonical(std::uint32_t w) {
  if ((w & 0x7FFFu) > T::kInfinity) w = (w & 0xFFFF0000u) | 0x7FC0u;
  if ((w >> 16 & 0x7FFFu) > T::kInfinity) w = (w & 0xFFFFu) | 0x7FC00000u;
  return w;
}
template <typename T>
__device__ __forceinline__ uint4 canonical(uint4 v) {
  return make_uint4(canonical<T>(v.x), canonical<T>(v.y), canonical<T>(v.z), canonical<T>(v.w));
}

// Rounded to T; a NaN is 0x7FC0 or 0x7FC00000.
template <typename T, int WORDS>
__device__ __forceinline__ void pack(const float (&x)[WORDS * 4 / T::kBytes],
                                     std::uint32_t (&w)[WORDS]) {
  if constexpr (T::kBytes == 2) {
    std::uint32_t largest = 0u;
#pragma unroll
    for (int i = 0; i < WORDS; ++i) {
      w[i] = T::pack(x[2 * i], x[2 * i + 1]);
      largest = i == 0 ? w[0] : T::max_magnitude(largest, w[i]);
    }
    if (has_nan<T>(largest)) {
#pragma unroll
      for (int i = 0; i < WORDS; ++i) w[i] = canonical<T>(w[i]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < WORDS; ++i) w[i] = x[i] != x[i] ? 0x7FC00000u : __float_as_uint(x[i]);
  }
}

template <typename T>
__device__ __forceinline__ void unpack(uint4 v, float (&x)[kPacketColumns<T>]) {
  unpack<T, 4>({v.x, v.y, v.z, v.w}, x);
}
template <typename T>
__device__ __forceinline__ uint4 pack(const float (&x)[kPacketColumns<T>]) {
  std::uint32_t w[4];
  pack<T, 4>(x, w);
  return make_uint4(w[0], w[1], w[2], w[3]);
}

}  // namespace nvfp4j::device
