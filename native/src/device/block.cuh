// SPDX-License-Identifier: Apache-2.0
// The element types, and a block of 16 elements in registers.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "device/status.cuh"
#include "nvfp4j/context.h"

namespace nvfp4j::device {

struct Bf16 {
  static constexpr int kBytes = 2;
  static constexpr std::uint32_t kInfinity = 0x7F80u;
  static __device__ __forceinline__ float to_f32(std::uint32_t bits) {
    return __uint_as_float(bits << 16);
  }
  // Two packed values from two floats, `low` in the low half.
  static __device__ __forceinline__ std::uint32_t pack(float low, float high) {
    std::uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
  }
  // Larger of the magnitudes in each half, NaN if one is; its sign bits are rubbish.
  static __device__ __forceinline__ std::uint32_t max_magnitude(std::uint32_t a, std::uint32_t b) {
    std::uint32_t r;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 860
    asm("max.NaN.xorsign.abs.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
#else
    asm("{\n\t.reg .b32 p, q;\n\tabs.bf16x2 p, %1;\n\tabs.bf16x2 q, %2;\n\tmax.NaN.bf16x2 %0, p, "
        "q;\n\t}"
        : "=r"(r)
        : "r"(a), "r"(b));
#endif
    return r;
  }
};

struct F16 {
  static constexpr int kBytes = 2;
  static constexpr std::uint32_t kInfinity = 0x7C00u;
  static __device__ __forceinline__ float to_f32(std::uint32_t bits) {
    return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
  }
  static __device__ __forceinline__ std::uint32_t pack(float low, float high) {
    std::uint32_t r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
  }
  static __device__ __forceinline__ std::uint32_t max_magnitude(std::uint32_t a, std::uint32_t b) {
    std::uint32_t r;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 860
    asm("max.NaN.xorsign.abs.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
#else
    asm("{\n\t.reg .b32 p, q;\n\tabs.f16x2 p, %1;\n\tabs.f16x2 q, %2;\n\tmax.NaN.f16x2 %0, p, "
        "q;\n\t}"
        : "=r"(r)
        : "r"(a), "r"(b));
#endif
    return r;
  }
  // In each half: the smaller magnitude of a and `limit`, with the sign of a; `limit` is positive.
  static __device__ __forceinline__ std::uint32_t clamp_magnitude(std::uint32_t a,
                                                                  std::uint32_t limit) {
    std::uint32_t r;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 860
    asm("min.xorsign.abs.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(limit));
#else
    r = __vminu2(a & 0x7FFF7FFFu, limit) | (a & 0x80008000u);
#endif
    return r;
  }
  static __device__ __forceinline__ std::uint32_t magnitude(std::uint32_t a) {
    std::uint32_t r;
    asm("abs.f16x2 %0, %1;" : "=r"(r) : "r"(a));
    return r;
  }
  static __device__ __forceinline__ std::uint32_t at_least(std::uint32_t a, std::uint32_t b) {
    std::uint32_t r;
    asm("set.geu.u32.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
  }
  static __device__ __forceinline__ std::uint32_t one_if_at_least(std::uint32_t a,
                                                                  std::uint32_t b) {
    std::uint32_t r;
    asm("set.geu.f16x2.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
  }
  static __device__ __forceinline__ std::uint32_t add(std::uint32_t a, std::uint32_t b) {
    std::uint32_t r;
    asm("add.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
  }
  static __device__ __forceinline__ std::uint32_t fma(std::uint32_t a, std::uint32_t b,
                                                      std::uint32_t c) {
    std::uint32_t r;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
    return r;
  }
  // Packed constants: 4, 16, and a power of two whose neighbours are integers with their bits in the low byte.
  static constexpr std::uint32_t kFour = 0x44004400u;
  static constexpr std::uint32_t kSixteen = 0x4C004C00u;
  static constexpr std::uint32_t kInteger = 0x64006400u;  // 1024
};

struct F32 {
  static constexpr int kBytes = 4;
  static constexpr std::uint32_t kInfinity = 0x7F800000u;
};

// 16 consecutive elements in registers. 16-bit types: word i holds elements 2i (low half) and 2i+1.
template <typename T>
struct Block {
  std::uint32_t w[8];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < 8; ++i) w[i] = 0u;
  }
  // Largest magnitude, as bits of T; at least kInfinity if an element is not finite.
  __device__ __forceinline__ std::uint32_t amax_bits() const {
    std::uint32_t m = T::max_magnitude(w[0], w[1]);
#pragma unroll
    for (int i = 2; i < 8; ++i) m = T::max_magnitude(m, w[i]);
    m &= 0x7FFF7FFFu;
    return max(m & 0xFFFFu, m >> 16);
  }
  static __device__ __forceinline__ float magnitude(std::uint32_t bits) { return T::to_f32(bits); }
  __device__ __forceinline__ std::uint32_t element_bits(int i) const {
    return i & 1 ? w[i >> 1] >> 16 : w[i >> 1] & 0xFFFFu;
  }
  __device__ __forceinline__ float element(int i) const { return T::to_f32(element_bits(i)); }
  __device__ __forceinline__ std::uint32_t sign_bit(int i) const { return element_bits(i) >> 15; }
};

template <>
struct Block<F32> {
  std::uint32_t w[16];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < 16; ++i) w[i] = 0u;
  }
  __device__ __forceinline__ std::uint32_t amax_bits() const {
    std::uint32_t m = 0u;
#pragma unroll
    for (int i = 0; i < 16; ++i) m = max(m, w[i] & 0x7FFFFFFFu);
    return m;
  }
  static __device__ __forceinline__ float magnitude(std::uint32_t bits) {
    return __uint_as_float(bits);
  }
  __device__ __forceinline__ std::uint32_t element_bits(int i) const { return w[i]; }
  __device__ __forceinline__ float element(int i) const { return __uint_as_float(w[i]); }
  __device__ __forceinline__ std::uint32_t sign_bit(int i) const { return w[i] >> 31; }
};

// The i-th 16 bytes of a block.
template <typename T>
__device__ __forceinline__ void set_packet(Block<T>& x, int i, uint4 v) {
  x.w[4 * i] = v.x;
  x.w[4 * i + 1] = v.y;
  x.w[4 * i + 2] = v.z;
  x.w[4 * i + 3] = v.w;
}

// Largest magnitude among the finite elements of a block that has others: as bits of T. Reports the first of those. Cold.
template <typename T>
__device__ __noinline__ std::uint32_t finite_amax_bits(Block<T> x, DeviceStatus* status, int op,
                                                       long long row, long long column) {
  constexpr std::uint32_t kMagnitude = T::kBytes == 2 ? 0x7FFFu : 0x7FFFFFFFu;
  std::uint32_t m = 0u;
  int first = -1;
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    const std::uint32_t a = x.element_bits(i) & kMagnitude;
    if (a < T::kInfinity) {
      m = max(m, a);
    } else if (first < 0) {
      first = i;
    }
  }
  if (status != nullptr) report(status, op, NVFP4J_CAUSE_NON_FINITE_INPUT, row, column + first);
  return m;
}

}  // namespace nvfp4j::device
