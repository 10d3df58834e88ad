// SPDX-License-Identifier: Apache-2.0
// E2M1 codes of a block of 16 elements, exactly as spec'd: q = e2m1_rn_satfinite(RN(x / d)), without a division.
//
// e2m1 asks of the quotient only where it lies among seven thresholds T: > .25, >= .75, > 1.25, >= 1.75, > 2.5, >= 3.5, > 5. Rounding to nearest is
// monotone and every T is a float with an even mantissa, so with h = half an ulp at T
//     RN(x / d) >  T   <=>   x / d >  T + h   <=>   x >  d (T + h)        (the midpoint T + h itself rounds to T)
//     RN(x / d) >= T   <=>   x / d >= T - h   <=>   x >= d (T - h)        (the midpoint T - h itself rounds to T)
// T +- h has 25 significant bits and is odd, so d (T +- h) has at least 25 and is no float: x is never equal to it, and both conditions read
//     x >= RU(d (T +- h)),   RU = rounded up to a float.
// d*h is exact (a power of two times d), so one fma rounded up gives RU(d*T +- d*h) = RU(d (T +- h)) exactly. Thresholds a power of two apart scale: 2.5 and 5
// are 2 and 4 times 1.25, 3.5 is twice 1.75. That is 11 operations a block, exact for 2^-90 <= d <= 2^100 (no product is subnormal or overflows); what could give another d takes the
// division. A 16-bit x is compared with the threshold rounded up once more, to its own type: x >= t <=> x >= RU16(t).
// native/test/cuda/quantize_test.cu checks this against div.rn over every bf16 magnitude and sampled d.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "device/fp8.cuh"
#include "device/status.cuh"
#include "nvfp4j/context.h"
#include "nvfp4j/quantize.h"

namespace nvfp4j::device {

// ---- scalar definitions: the cold paths, and the test's yardstick on the device --------------------------------------

// e2m1_rn_satfinite: NaN gives 7, of either sign.
__device__ __forceinline__ std::uint32_t e2m1_from_f32(float x) {
  const float a = fabsf(x);
  const std::uint32_t code = (a > 0.25f) + (a >= 0.75f) + (a > 1.25f) + (a >= 1.75f) + (a > 2.5f) +
                             (a >= 3.5f) + (a > 5.0f);
  return a != a ? 7u : code | (__float_as_uint(x) >> 31 << 3);
}

// f32 of a code.
__device__ __forceinline__ float f32_from_e2m1(std::uint32_t code) {
  // Magnitudes 0 1 2 3 4 6 8 12 in halves: nibble k of the constant.
  const std::uint32_t halves = 0xC8643210u >> ((code & 7u) * 4u) & 15u;
  const float magnitude = __fmul_rn(static_cast<float>(halves), 0.5f);
  return (code & 8u) != 0u ? -magnitude : magnitude;
}

// ---- element types ---------------------------------------------------------------------------------------------------

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
  static __device__ __forceinline__ std::uint32_t magnitude(std::uint32_t a) {
    std::uint32_t r;
    asm("abs.bf16x2 %0, %1;" : "=r"(r) : "r"(a));
    return r;
  }
  // In each half, for magnitudes a and b: all ones where a >= b or a is NaN.
  static __device__ __forceinline__ std::uint32_t at_least(std::uint32_t a, std::uint32_t b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    std::uint32_t r;
    asm("set.geu.u32.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
#else
    // Bit 15 of each half of a + 2^15 - b says so, without a borrow between the halves; replicate it.
    // (PTX's own permute: __byte_perm has no replication.)
    std::uint32_t r;
    asm("prmt.b32 %0, %1, %1, 0xBB99;" : "=r"(r) : "r"((a | 0x80008000u) - b));
    return r;
#endif
  }
  // The same as 1 and 0.
  static __device__ __forceinline__ std::uint32_t one_if_at_least(std::uint32_t a,
                                                                  std::uint32_t b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    std::uint32_t r;
    asm("set.geu.bf16x2.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
#else
    return at_least(a, b) & 0x3F803F80u;
#endif
  }
  static __device__ __forceinline__ std::uint32_t add(std::uint32_t a, std::uint32_t b) {
    std::uint32_t r;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm("add.rn.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
#else
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(0x3F803F80u), "r"(b));
#endif
    return r;
  }
  static __device__ __forceinline__ std::uint32_t fma(std::uint32_t a, std::uint32_t b,
                                                      std::uint32_t c) {
    std::uint32_t r;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
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

// ---- the codes of a block --------------------------------------------------------------------------------------------

// The literal definition, for any d: 16 divisions. Cold: blocks of zeros, and d out of the thresholds' range. A NaN or infinity is coded by e2m1() itself.
template <typename T>
__device__ __noinline__ uint2 codes_by_division(Block<T> x, float d) {
  std::uint32_t out[2] = {0u, 0u};
  if (d == 0.0f && x.amax_bits() == 0u) {  // a block of zeros keeps their signs
#pragma unroll
    for (int i = 0; i < 16; ++i) out[i >> 3] |= x.sign_bit(i) << (4 * (i & 7) + 3);
    return make_uint2(out[0], out[1]);
  }
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    const float v = x.element(i);
    const bool finite = (__float_as_uint(v) & 0x7F800000u) != 0x7F800000u;
    const std::uint32_t code = !finite    ? e2m1_from_f32(v)
                               : d > 0.0f ? e2m1_from_f32(__fdiv_rn(v, d))
                                          : __float_as_uint(v) >> 31 << 3;
    out[i >> 3] |= code << (4 * (i & 7));
  }
  return make_uint2(out[0], out[1]);
}

// e2m1(fma(x, c, +0)): the TE recipe.
template <typename T>
__device__ __forceinline__ uint2 codes_by_multiplication(const Block<T>& x, float c) {
  std::uint32_t out[2] = {0u, 0u};
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    const float v = x.element(i);
    const bool finite = (__float_as_uint(v) & 0x7F800000u) != 0x7F800000u;
    const std::uint32_t code = e2m1_from_f32(finite ? __fmaf_rn(v, c, 0.0f) : v);
    out[i >> 3] |= code << (4 * (i & 7));
  }
  return make_uint2(out[0], out[1]);
}

// Code 1..4 thresholds as floats; 5, 6, 7 are 2, 2 and 4 times the third, fourth and third.
struct Thresholds {
  float t1, t2, t3, t4;
};

// See the top of the file; 2^-90 <= d <= 2^100.
__device__ __forceinline__ Thresholds thresholds_of(float d) {
  const float h = __fmul_rn(d, 0x1p-26f);  // half an ulp at .25, times d
  Thresholds t;
  t.t1 = __fmaf_ru(d, 0.25f, h);
  t.t2 = __fmaf_ru(d, 0.75f, __fmul_rn(d, -0x1p-25f));
  const float h4 = __fmul_rn(d, 0x1p-24f);
  t.t3 = __fmaf_ru(d, 1.25f, h4);
  t.t4 = __fmaf_ru(d, 1.75f, -h4);
  return t;
}

// The seven thresholds in T, packed twice for 16-bit types.
template <typename T>
struct PackedThresholds {
  std::uint32_t t[8];  // t[1..7]
};
template <>
struct PackedThresholds<Bf16> {
  std::uint32_t t1, t2, t3, t4, t5;
  std::uint32_t step;  // (t4/2 - t2) / 2^16
};

template <typename T>
__device__ __forceinline__ PackedThresholds<T> pack_thresholds(const Thresholds& t);

__device__ __forceinline__ std::uint32_t bf16_up_twice(float t) {
  return __byte_perm(__float_as_uint(t) + 0xFFFFu, 0u, 0x3232u);
}
__device__ __forceinline__ std::uint32_t f16_up_twice(float t) {
  const std::uint32_t h = __half_as_ushort(__float2half_ru(t));
  return __byte_perm(h, 0u, 0x1010u);
}

template <>
__device__ __forceinline__ PackedThresholds<Bf16> pack_thresholds<Bf16>(const Thresholds& t) {
  PackedThresholds<Bf16> p;
  p.t1 = bf16_up_twice(t.t1);
  p.t2 = bf16_up_twice(t.t2);
  p.t3 = bf16_up_twice(t.t3);
  p.t4 = bf16_up_twice(t.t4);
  p.t5 = p.t3 + 0x00800080u;  // twice: one more in the exponent
  // .875 d - .75 d: exact, as a difference of neighbours is.
  p.step = Bf16::fma(p.t4, 0x37003700u, Bf16::fma(p.t2, 0xB780B780u, 0x80008000u));
  return p;
}

template <>
__device__ __forceinline__ PackedThresholds<F16> pack_thresholds<F16>(const Thresholds& t) {
  PackedThresholds<F16> p;
  p.t[1] = f16_up_twice(t.t1);
  p.t[2] = f16_up_twice(t.t2);
  p.t[3] = f16_up_twice(t.t3);
  p.t[4] = f16_up_twice(t.t4);
  p.t[5] = f16_up_twice(__fmul_rn(t.t3, 2.0f));  // not by the exponent: f16 has subnormals here
  p.t[6] = f16_up_twice(__fmul_rn(t.t4, 2.0f));
  p.t[7] = f16_up_twice(__fmul_rn(t.t3, 4.0f));
  return p;
}

template <>
__device__ __forceinline__ PackedThresholds<F32> pack_thresholds<F32>(const Thresholds& t) {
  PackedThresholds<F32> p;
  p.t[1] = __float_as_uint(t.t1);
  p.t[2] = __float_as_uint(t.t2);
  p.t[3] = __float_as_uint(t.t3);
  p.t[4] = __float_as_uint(t.t4);
  p.t[5] = p.t[3] + 0x00800000u;
  p.t[6] = p.t[4] + 0x00800000u;
  p.t[7] = p.t[3] + 0x01000000u;
  return p;
}

// a where the mask has ones, else b: one instruction, which the compiler makes two of when it sees a constant.
__device__ __forceinline__ std::uint32_t select_bits(std::uint32_t mask, std::uint32_t a,
                                                     std::uint32_t b) {
  std::uint32_t r;
  asm("lop3.b32 %0, %1, %2, %3, 0xCA;" : "=r"(r) : "r"(mask), "r"(a), "r"(b));
  return r;
}

// The magnitude parts 0..7 of two packed F16 codes, as numbers: the upper or the lower half of the thresholds, then three comparisons that are added up. The additions are exact.
template <typename T>
__device__ __forceinline__ std::uint32_t code_pair(std::uint32_t x, const PackedThresholds<T>& p) {
  const std::uint32_t a = T::magnitude(x);
  const std::uint32_t upper = T::at_least(a, p.t[4]);
  const std::uint32_t n = upper & T::kFour;
  const std::uint32_t n1 = T::one_if_at_least(a, select_bits(upper, p.t[5], p.t[1]));
  const std::uint32_t n2 = T::one_if_at_least(a, select_bits(upper, p.t[6], p.t[2]));
  const std::uint32_t n3 = T::one_if_at_least(a, select_bits(upper, p.t[7], p.t[3]));
  return T::add(T::add(n, n1), T::add(n2, n3));
}

// Elements 0..3 to two bytes, in the low bytes of the halves of `codes`, their signs in the high bytes of the halves of `signs` (bits 3 and 7).
template <typename T>
__device__ __forceinline__ void code_four(std::uint32_t x01, std::uint32_t x23,
                                          const PackedThresholds<T>& p, std::uint32_t& codes,
                                          std::uint32_t& signs) {
  const std::uint32_t even = __byte_perm(x01, x23, 0x5410u);
  const std::uint32_t odd = __byte_perm(x01, x23, 0x7632u);
  codes = T::add(T::fma(code_pair<T>(odd, p), T::kSixteen, code_pair<T>(even, p)), T::kInteger);
  signs = select_bits(0x80008000u, odd, even >> 4);
}

// BF16: the same with more of it on the FMA pipe. On an H100 packed comparisons, logic, permutes, selects and maxima share the ALU at half the rate of packed additions and fmas (2.1 against 1.1 cycles an
// instruction and scheduler), and the ALU, not memory, bounds a search by masks. About 4 ALU and 4.5 FMA-pipe instructions an element here, 16 of all kinds with everything around them.
// Returns 15/8 (code - 4) in F16 arithmetic, sign included: a comparison gives BF16's 1, 0x3F80, which is F16's 15/8; 0x4780 is BF16's 2^16 and F16's 4 * 15/8; 0x4B80 is F16's 8 * 15/8. All sums are exact.
__device__ __forceinline__ std::uint32_t signed_code_pair(std::uint32_t x,
                                                          const PackedThresholds<Bf16>& p) {
  const std::uint32_t a = Bf16::magnitude(x);
  const std::uint32_t upper = Bf16::at_least(a, p.t4);
  const std::uint32_t n = upper & 0x47804780u;
  const std::uint32_t quarter = Bf16::fma(a, Bf16::fma(n, 0xB740B740u, 0x3F803F80u),
                                          0x80008000u);  // a, or a / 4 in the upper half
  const std::uint32_t n1 = Bf16::one_if_at_least(a, select_bits(upper, p.t5, p.t1));
  const std::uint32_t n2 =
      Bf16::one_if_at_least(quarter, Bf16::fma(n, p.step, p.t2));  // t2, or t6 / 4 = t4 / 2
  const std::uint32_t n3 = Bf16::one_if_at_least(quarter, p.t3);   // t3, or t7 / 4
  const std::uint32_t sign = (x & 0x80008000u) | 0x4B804B80u;
  return F16::add(F16::fma(sign, 0xB800B800u, F16::add(n, n1)), F16::add(n2, n3));
}

// 8 elements to 8 nibbles.
template <typename T>
__device__ __forceinline__ std::uint32_t code_word(const std::uint32_t* x,
                                                   const PackedThresholds<T>& p) {
  if constexpr (std::is_same_v<T, Bf16>) {
    std::uint32_t bytes[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const std::uint32_t even = signed_code_pair(__byte_perm(x[2 * i], x[2 * i + 1], 0x5410u), p);
      const std::uint32_t odd = signed_code_pair(__byte_perm(x[2 * i], x[2 * i + 1], 0x7632u), p);
      // 1024 + even + 16 odd, each without its 15/8 and its -4: next to 1024 F16 has only the integers, so that 8/15 and 128/15, rounded, do.
      bytes[i] = F16::fma(odd, 0x48444844u, F16::fma(even, 0x38443844u, 0x64446444u));
    }
    return __byte_perm(bytes[0], bytes[1], 0x6420u);
  } else {
    std::uint32_t c0, c1, s0, s1;
    code_four<T>(x[0], x[1], p, c0, s0);
    code_four<T>(x[2], x[3], p, c1, s1);
    return __byte_perm(c0, c1, 0x6420u) | (__byte_perm(s0, s1, 0x7531u) & 0x88888888u);
  }
}

template <typename T>
__device__ __forceinline__ uint2 codes_by_thresholds(const Block<T>& x,
                                                     const PackedThresholds<T>& p) {
  return make_uint2(code_word<T>(x.w, p), code_word<T>(x.w + 4, p));
}

template <>
__device__ __forceinline__ uint2 codes_by_thresholds<F32>(const Block<F32>& x,
                                                          const PackedThresholds<F32>& p) {
  std::uint32_t out[2] = {0u, 0u};
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    const std::uint32_t a = x.w[i] & 0x7FFFFFFFu;
    const bool b2 = a >= p.t[4];
    const bool b1 = a >= (b2 ? p.t[6] : p.t[2]);
    const std::uint32_t low = b2 ? p.t[5] : p.t[1];
    const std::uint32_t high = b2 ? p.t[7] : p.t[3];
    const bool b0 = a >= (b1 ? high : low);
    const std::uint32_t code = (b2 ? 4u : 0u) + (b1 ? 2u : 0u) + (b0 ? 1u : 0u);
    const std::uint32_t nibble = (x.w[i] >> 28 & 8u) | code;
    out[i >> 3] |= nibble << (4 * (i & 7));
  }
  return make_uint2(out[0], out[1]);
}

// A NaN is coded +6: clear its sign. Cold.
template <typename T>
__device__ __noinline__ Block<T> without_negative_nans(Block<T> x) {
  if constexpr (T::kBytes == 2) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if ((x.w[i] & 0x7FFFu) > T::kInfinity) x.w[i] &= ~0x8000u;
      if ((x.w[i] >> 16 & 0x7FFFu) > T::kInfinity) x.w[i] &= ~0x80000000u;
    }
  } else {
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      if ((x.w[i] & 0x7FFFFFFFu) > T::kInfinity) x.w[i] &= 0x7FFFFFFFu;
    }
  }
  return x;
}

// ---- scales ----------------------------------------------------------------------------------------------------------

// What all blocks under one global scale share.
struct GlobalScale {
  float gs;
  float divisor;     // EXACT: 6 gs. TE_EXACT: the factor S_enc * fl(1/6) of a block's amax
  float reciprocal;  // EXACT: of the divisor, refined
  bool
      plain;  // EXACT: gs is so ordinary that no range needs to be checked for a block whose scale is not 0
};

template <int RECIPE>
__device__ __forceinline__ GlobalScale global_scale_of(float gs, float enc) {
  GlobalScale g;
  g.gs = gs;
  if constexpr (RECIPE == NVFP4J_RECIPE_EXACT) {
    g.divisor = __fmul_rn(6.0f, gs);
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(g.reciprocal) : "f"(g.divisor));
    g.reciprocal = __fmaf_rn(__fmaf_rn(-g.divisor, g.reciprocal, 1.0f), g.reciprocal, g.reciprocal);
    g.plain = gs >= 0x1p-60f && gs <= 0x1p60f;
  } else {
    g.divisor = __fmul_rn(enc, __uint_as_float(0x3E2AAAABu));
    g.reciprocal = 0.0f;
    g.plain = false;
  }
  return g;
}

// From the largest finite magnitude A.
template <int RECIPE>
__device__ __forceinline__ GlobalScale dynamic_global_scale(float amax) {
  if constexpr (RECIPE == NVFP4J_RECIPE_EXACT) {
    float gs = __fdiv_rn(amax, 2688.0f);
    if (gs == 0.0f) gs = 1.0f;
    return global_scale_of<RECIPE>(gs, 0.0f);
  } else {
    float enc = amax == 0.0f ? 1.0f : fminf(__fdiv_rn(2688.0f, amax), 3.402823466e+38f);
    if (enc == 0.0f) enc = 1.0f;
    return global_scale_of<RECIPE>(__fdiv_rn(1.0f, enc), enc);
  }
}

// From a supplied one. The caller reports a bad one.
__device__ __forceinline__ bool global_scale_is_good(float gs) {
  return gs > 0.0f && gs <= 3.402823466e+38f;
}
template <int RECIPE>
__device__ __forceinline__ GlobalScale given_global_scale(float gs) {
  if (!global_scale_is_good(gs)) gs = 1.0f;
  const float enc =
      RECIPE == NVFP4J_RECIPE_EXACT ? 0.0f : fminf(__fdiv_rn(1.0f, gs), 3.402823466e+38f);
  return global_scale_of<RECIPE>(gs, enc);
}

// RN(a / divisor) for a >= 0 and a plain scale, exact where it decides anything: division's own sequence (refined reciprocal, quotient, one correction) without its range checks, which a divisor
// within [2^-58, 2^63] makes needless for every quotient that rounds to a scale other than 0. A quotient from 448 on is 448, as e4m3 makes it, also where the sequence overflows.
__device__ __forceinline__ float scale_quotient(float a, const GlobalScale& g) {
  float q = __fmul_rn(a, g.reciprocal);
  q = __fmaf_rn(__fmaf_rn(-q, g.divisor, a), g.reciprocal, q);
  return fminf(q, 448.0f);  // of a NaN: 448
}

struct EncodedBlock {
  uint2 codes;
  std::uint32_t scale;
};

// EXACT for any global scale and any block, by division. Cold: blocks of zeros, scales that round to 0, NaNs and infinities, and global scales that are not plain.
template <typename T>
__device__ __noinline__ EncodedBlock encode_any(Block<T> x, std::uint32_t amax, float gs,
                                                float divisor, bool flush) {
  EncodedBlock r;
  r.scale = e4m3_from_f32(__fdiv_rn(Block<T>::magnitude(amax), divisor));
  if (r.scale == 0u && amax != 0u && !flush) r.scale = 1u;
  r.codes = codes_by_division<T>(x, __fmul_rn(f32_from_e4m3(r.scale), gs));
  return r;
}

// A block's scale and codes. `amax` as amax_bits() gave it.
// `finite` is asked only for a block with a NaN or infinity: it reports that and gives the largest finite magnitude.
template <typename T, int RECIPE, typename Finite>
__device__ __forceinline__ EncodedBlock encode_block(const Block<T>& x, std::uint32_t amax,
                                                     const GlobalScale& g, bool flush,
                                                     Finite finite) {
  EncodedBlock r;
  if constexpr (RECIPE == NVFP4J_RECIPE_EXACT) {
    r.scale = e4m3_from_f32(scale_quotient(Block<T>::magnitude(amax), g));
    if (amax >= T::kInfinity || r.scale == 0u || !g.plain) {
      Block<T> y = x;
      if (amax >= T::kInfinity) {
        amax = finite(x);
        y = without_negative_nans<T>(x);
      }
      return encode_any<T>(y, amax, g.gs, g.divisor, flush);
    }
    // A scale of 2^-9 to 448 and a plain gs: d is within [2^-69, 2^69].
    r.codes = codes_by_thresholds<T>(
        x, pack_thresholds<T>(thresholds_of(__fmul_rn(f32_from_e4m3(r.scale), g.gs))));
  } else {
    if (amax >= T::kInfinity) amax = finite(x);
    r.scale =
        e4m3_from_f32(fminf(__fmul_rn(Block<T>::magnitude(amax), g.divisor), 3.402823466e+38f));
    const float c =
        fminf(__fdiv_rn(1.0f, __fmul_rn(f32_from_e4m3(r.scale), g.gs)), 3.402823466e+38f);
    r.codes = codes_by_multiplication<T>(x, c);
  }
  return r;
}

}  // namespace nvfp4j::device
