// SPDX-License-Identifier: Apache-2.0
// silu(min(g, L)) * clamp(u, -L, L) * w on packed pairs, bit-equal to nvfp4j/swiglu.h.
#pragma once
#include "common/math.hpp"
#include "device/rows.cuh"
#include "nvfp4j/swiglu.h"

namespace nvfp4j::device {

// Smaller and larger of two; NaN if one is.
__device__ __forceinline__ float min_nan(float a, float b) {
  float r;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}
__device__ __forceinline__ float max_nan(float a, float b) {
  float r;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}

// The definition, for any g (already clamped). Cold.
static __device__ __noinline__ float silu_any(float g) {
  return __fdiv_rn(g, __fadd_rn(1.0f, math::exp(-g)));
}

// Where silu_near is exact.
inline constexpr float kSiluNear = 80.0f;

// The same for |g| <= kSiluNear, where nothing overflows or is subnormal:
// exp(-g) is math::exp without its clamps and with its two exact scalings in one integer addition to the exponent;
// the quotient is division's own sequence (reciprocal, one Newton step, quotient, correction) without its range checks. The remainder is taken as q d - g, so that -0 keeps its sign.
// A BF16 g needs no Newton step: after the correction the quotient is off by less than 2^-20 ulp before its last rounding, and of the 2^16 values of g all but seven (|g| < 2^-20, d next to 2) keep
// farther from a midpoint between floats than that. For the seven it depends on the reciprocal instruction, so the step is left out only where it was tried.
// native/test/cuda/swiglu_test.cu compares both with silu_any over every g in the range.
template <typename T>
__device__ __forceinline__ float silu_near(float g) {
  const float t = __fmaf_rn(-g, 0x1.715476p+0f, 12582912.0f);
  const float k = __fadd_rn(t, -12582912.0f);
  float r = __fmaf_rn(k, -0x1.62e400p-1f, -g);
  r = __fmaf_rn(k, -0x1.7f7d1cp-20f, r);
  float q = 0x1.6a2408p-10f;
  q = __fmaf_rn(q, r, 0x1.1239ccp-7f);
  q = __fmaf_rn(q, r, 0x1.5558d2p-5f);
  q = __fmaf_rn(q, r, 0x1.555492p-3f);
  q = __fmaf_rn(q, r, 0x1.fffffcp-2f);
  q = __fmaf_rn(q, r, 1.0f);
  const float p = __fmaf_rn(q, r, 1.0f);
  const float e = __uint_as_float(__float_as_uint(p) + (__float_as_uint(t) << 23));
  const float d = __fadd_rn(1.0f, e);
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(d));
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 900
  constexpr bool kNewton = T::kBytes != 2;
#else
  constexpr bool kNewton = true;
#endif
  if constexpr (kNewton) y = __fmaf_rn(__fmaf_rn(-d, y, 1.0f), y, y);
  float h = __fmul_rn(g, y);
  h = __fmaf_rn(-__fmaf_rn(h, d, -g), y, h);
  return h;
}

struct SwigluScalars {
  float limit;                 // infinity: none
  float weight;                // 1: none
  std::uint32_t packed_limit;  // twice in BF16, or 0 when BF16 does not have it
};

inline std::uint32_t packed_bf16_limit(float limit) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &limit, 4);
  return (bits & 0xFFFFu) != 0u ? 0u : bits | bits >> 16;
}

__device__ __forceinline__ std::uint32_t min_nan_pair(std::uint32_t a, std::uint32_t b) {
  std::uint32_t r;
  asm("min.NaN.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
  return r;
}
__device__ __forceinline__ std::uint32_t max_nan_pair(std::uint32_t a, std::uint32_t b) {
  std::uint32_t r;
  asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
  return r;
}

__device__ __forceinline__ float swiglu_any(float g, float u, SwigluScalars s) {
  g = min_nan(g, s.limit);
  u = max_nan(min_nan(u, s.limit), -s.limit);
  return __fmul_rn(__fmul_rn(silu_any(g), u), s.weight);
}

// Gate and up of 16 columns as they are in memory, de-interleaved. 16-bit types: pairs.
template <typename T>
struct GateUp {
  Block<T> gate;
  Block<T> up;
};

// From 16 columns of each half, or 32 interleaved ones.
template <typename T>
__device__ __forceinline__ GateUp<T> gate_up_of(const Block<T>& a, const Block<T>& b,
                                                bool interleaved) {
  constexpr int kWords = T::kBytes * 4;
  GateUp<T> r;
  if (!interleaved) {
    r.gate = a;
    r.up = b;
    return r;
  }
#pragma unroll
  for (int i = 0; i < kWords; ++i) {
    const Block<T>& from = i < kWords / 2 ? a : b;
    const std::uint32_t first = from.w[2 * i % kWords];
    const std::uint32_t second = from.w[2 * i % kWords + 1];
    if constexpr (T::kBytes == 2) {
      r.gate.w[i] = __byte_perm(first, second, 0x5410u);
      r.up.w[i] = __byte_perm(first, second, 0x7632u);
    } else {
      r.gate.w[i] = first;
      r.up.w[i] = second;
    }
  }
  return r;
}

// p: the gate's columns; q: the up projection's (halves), or nothing (interleaved: 32 columns at p).
template <typename T, bool ALIGNED>
__device__ __forceinline__ GateUp<T> load_gate_up(const char* p, const char* q, bool interleaved) {
  return gate_up_of<T>(load_block<T, ALIGNED>(p),
                       load_block<T, ALIGNED>(interleaved ? p + 16 * T::kBytes : q), interleaved);
}

// Two results of a 16-bit type, packed.
template <typename T>
__device__ __forceinline__ std::uint32_t swiglu_pair_any(std::uint32_t gate, std::uint32_t up,
                                                         SwigluScalars s) {
  return T::pack(swiglu_any(T::to_f32(gate & 0xFFFFu), T::to_f32(up & 0xFFFFu), s),
                 swiglu_any(T::to_f32(gate >> 16), T::to_f32(up >> 16), s));
}

// Cold: some gate is not within kSiluNear.
template <typename T>
__device__ __noinline__ Block<T> swiglu_block_any(GateUp<T> x, SwigluScalars s) {
  Block<T> r;
#pragma unroll
  for (int i = 0; i < T::kBytes * 4; ++i) {
    if constexpr (T::kBytes == 2) {
      r.w[i] = swiglu_pair_any<T>(x.gate.w[i], x.up.w[i], s);
    } else {
      r.w[i] =
          __float_as_uint(swiglu_any(__uint_as_float(x.gate.w[i]), __uint_as_float(x.up.w[i]), s));
    }
  }
  return r;
}

__device__ __forceinline__ float swiglu_near(float g, float u, SwigluScalars s, bool& near) {
  g = min_nan(g, s.limit);
  near = near && fabsf(g) <= kSiluNear;
  u = max_nan(min_nan(u, s.limit), -s.limit);
  return __fmul_rn(__fmul_rn(silu_near<F32>(g), u), s.weight);
}

// 16 results, rounded to T. BF16 is clamped and range-checked in pairs, which changes nothing: the limit is a BF16 number (else: the cold path).
template <typename T>
__device__ __forceinline__ Block<T> swiglu_block(const GateUp<T>& x, SwigluScalars s) {
  Block<T> r;
  if constexpr (T::kBytes == 2) {
    constexpr std::uint32_t kNear = 0x42A0u;  // 80
    std::uint32_t largest = 0u;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const std::uint32_t g = min_nan_pair(x.gate.w[i], s.packed_limit);
      const std::uint32_t u =
          max_nan_pair(min_nan_pair(x.up.w[i], s.packed_limit), s.packed_limit ^ 0x80008000u);
      largest = i == 0 ? g : T::max_magnitude(largest, g);
      const float low = __fmul_rn(
          __fmul_rn(silu_near<T>(T::to_f32(g & 0xFFFFu)), T::to_f32(u & 0xFFFFu)), s.weight);
      const float high =
          __fmul_rn(__fmul_rn(silu_near<T>(T::to_f32(g >> 16)), T::to_f32(u >> 16)), s.weight);
      r.w[i] = T::pack(low, high);
    }
    largest &= 0x7FFF7FFFu;
    if (max(largest & 0xFFFFu, largest >> 16) > kNear || s.packed_limit == 0u)
      r = swiglu_block_any<T>(x, s);
  } else {
    bool near = true;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      r.w[i] = __float_as_uint(
          swiglu_near(__uint_as_float(x.gate.w[i]), __uint_as_float(x.up.w[i]), s, near));
    }
    if (!near) r = swiglu_block_any<T>(x, s);
  }
  return r;
}

}  // namespace nvfp4j::device
