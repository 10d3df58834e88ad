// SPDX-License-Identifier: Apache-2.0
// E2M1 codes of a block of 16 elements, exactly as spec'd: q = e2m1_rn_satfinite(RN(x / d)), without a division.
//
// e2m1 asks of the quotient only where it lies among seven thresholds T: > .25, >= .75, > 1.25, >= 1.75, > 2.5, >= 3.5, > 5. Rounding to nearest is
// monotone and every T is a float with an even mantissa, so with h = half an ulp at T
//     RN(x / d) >  T   <=>   x / d >  T + h   <=>   x >  d (T + h)        (the midpoint T + h itself rounds to T)
//     RN(x / d) >= T   <=>   x / d >= T - h   <=>   x >= d (T - h)        (the midpoint T - h itself rounds to T)
// T +- h has 25 significant bits and is odd, so d (T +- h) has at least 25 and is no float: x is never equal to it, and both conditions read
//     x >= RU(d (T +- h)),   RU = rounded up to a float.
//
// F32 and F16 compare with these thresholds. d*h is exact (a power of two times d), so one fma rounded up gives RU(d*T +- d*h) = RU(d (T +- h)) exactly. Thresholds a power of two apart scale: 2.5 and 5
// are 2 and 4 times 1.25, 3.5 is twice 1.75. That is 11 operations a block, exact for 2^-90 <= d <= 2^100 (no product is subnormal or overflows); what could give another d takes the
// division. An F16 x is compared with the threshold rounded up once more, to its own type: x >= t <=> x >= RU16(t).
//
// BF16 multiplies by the reciprocal: y = RN(x * c), c about 2^-14/d. F16 has its smallest normal number at 2^-14, where E2M1 has 1: so y, truncated to F16, has its code in the last two bits of the
// exponent and the first of the mantissa, but for the rounding, which is an integer addition. All 16 elements together take 64 instructions. BF16 has so few bits that a threshold t = RU(d (T +- h)) seldom has a
// BF16 number next to it. Where one lies just below, a c that is 2^-20 too small decides right about it; where one lies at t or just above, a c that is 2^-20 too large. Where d T itself is a BF16 number or nearly so, which
// structure in the data makes common (a dynamic global scale is amax / 2688 = amax / (2^7 * 3 * 7)), the first happens at the thresholds with > and the second at those with >=: ties go to the even code. Then both
// products are made, and of two codes that differ the even one is taken. There is nothing else: native/test/e2m1_factors_test.cpp tries all 2^23 mantissas of d, and native/test/cuda/quantize_test.cu compares with
// div.rn over every 16-bit magnitude and sampled d.
#pragma once
#include <cstdint>
#include <type_traits>

#include "device/block.cuh"

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

template <typename T>
__device__ __forceinline__ PackedThresholds<T> pack_thresholds(const Thresholds& t);

__device__ __forceinline__ std::uint32_t f16_up_twice(float t) {
  const std::uint32_t h = __half_as_ushort(__float2half_ru(t));
  return __byte_perm(h, 0u, 0x1010u);
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

// 8 elements to 8 nibbles.
template <typename T>
__device__ __forceinline__ std::uint32_t code_word(const std::uint32_t* x,
                                                   const PackedThresholds<T>& p) {
  std::uint32_t c0, c1, s0, s1;
  code_four<T>(x[0], x[1], p, c0, s0);
  code_four<T>(x[2], x[3], p, c1, s1);
  return __byte_perm(c0, c1, 0x6420u) | (__byte_perm(s0, s1, 0x7531u) & 0x88888888u);
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

// What BF16 elements are multiplied by; see the top of the file. `amax` is the largest magnitude, 2^-69 <= d <= 2^69.
struct CodeFactors {
  float low;
  float high;  // equal to `low`, or larger: then ties are told by their codes under the two
  bool plain;  // they are equal, and no |y| is 7 or more
};

__device__ __forceinline__ CodeFactors code_factors(float d, float amax) {
  float c;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(c) : "f"(__fmul_rn(d, 0x1p14f)));
  // y is within 2^-22 of x * 2^-14/d * (1 +- 2^-20): 2^-23 for the reciprocal, two roundings. BF16 numbers have zeros in their low 16 bits. With the larger c, all are coded right but those that are up to 22 ulp below a
  // threshold (20 for 1.25 * 2^-20 d T, the rest for T +- h and the rounding of t); with the smaller one, all but those up to 22 ulp above or at it. 32 is easier to test.
  const Thresholds t = thresholds_of(d);
  // Low halves: of > .25, > 1.25; high halves: of >= .75, >= 1.75.
  const std::uint32_t a = __byte_perm(__float_as_uint(t.t1), __float_as_uint(t.t2), 0x5410u);
  const std::uint32_t b = __byte_perm(__float_as_uint(t.t3), __float_as_uint(t.t4), 0x5410u);
  const auto least = [&](std::uint32_t shift) {
    return __viaddmin_u16x2(a, shift, __viaddmin_u16x2(b, shift, 0xFFFFFFFFu));
  };
  const std::uint32_t below = least(0xFFFFFFFFu);  // from 0 to 31: a number up to 32 ulp below
  const std::uint32_t above = least(0x001F001Fu);  // from 0 to 31: one at it or up to 31 ulp above
  const bool none_below_strict = (below & 0xFFE0u) != 0u;
  const bool none_below_other = (below & 0xFFE00000u) != 0u;
  const bool none_above_strict = (above & 0xFFE0u) != 0u;
  const bool none_above_other = (above & 0xFFE00000u) != 0u;
  const bool larger = none_below_strict & none_below_other;
  const bool smaller = none_above_strict & none_above_other;  // if neither: ties
  const float up = __fmul_rn(c, 1.0f + 0x1p-20f);
  const float down = __fmul_rn(c, 1.0f - 0x1p-20f);
  CodeFactors f;
  f.low = larger ? up : down;
  f.high = larger | !smaller ? up : down;
  // From 7 on there is no code: d is far too small where the scale saturated or is subnormal.
  f.plain = (larger | smaller) & (__fmul_rn(amax, up) < 7.0f * 0x1p-14f);
  return f;
}

// y of elements i and j (F16, truncated) in the low and the high half. i is even or odd as j is. CLAMP: no more than what has code 7.
template <bool CLAMP>
__device__ __forceinline__ std::uint32_t scaled_pair(const std::uint32_t* x, int i, int j,
                                                     float c) {
  const auto value = [&](int k) {
    return __uint_as_float(k & 1 ? x[k >> 1] & 0xFFFF0000u : x[k >> 1] << 16);
  };
  std::uint32_t r;
  asm("cvt.rz.f16x2.f32 %0, %1, %2;"
      : "=r"(r)
      : "f"(__fmul_rn(value(j), c)), "f"(__fmul_rn(value(i), c)));
  return CLAMP ? F16::clamp_magnitude(r, 0x0EFF0EFFu) : r;
}

// 8 elements to 8 nibbles.
template <bool CLAMP>
__device__ __forceinline__ std::uint32_t code_word_by_factor(const std::uint32_t* x, float c) {
  // The high bytes of F16: sign, four exponent bits of which the last two are the code's, the code's mantissa bit, and the bit that rounds it.
  const auto high_bytes = [&](int i) {
    return __byte_perm(scaled_pair<CLAMP>(x, i, i + 2, c), scaled_pair<CLAMP>(x, i + 4, i + 6, c),
                       0x7531u) +
           0x01010101u;
  };
  const std::uint32_t even = high_bytes(0);
  const std::uint32_t odd = high_bytes(1);
  // Bits 7, 3, 2, 1 of each byte to the nibbles: those of `even` to the low ones.
  const std::uint32_t low = select_bits(0x07070707u, even >> 1, even >> 4);
  const std::uint32_t high = select_bits(0x70707070u, odd << 3, odd);
  return select_bits(0x0F0F0F0Fu, low, high);
}

// Where the codes under the two factors differ, by one, the even one.
__device__ __forceinline__ std::uint32_t code_word_by_factors(const std::uint32_t* x, float low,
                                                              float high) {
  const std::uint32_t a = code_word_by_factor<true>(x, low);
  const std::uint32_t b = code_word_by_factor<true>(x, high);
  return a + ((b - a) & a);
}

__device__ __forceinline__ uint2 codes_by_factors(const Block<Bf16>& x, const CodeFactors& f) {
  // The same instructions for the whole warp, whoever needs them: they make the right codes of what is plain, too, so that it does not matter which threads the vote finds together.
  if (__any_sync(__activemask(), !f.plain)) {
    return make_uint2(code_word_by_factors(x.w, f.low, f.high),
                      code_word_by_factors(x.w + 4, f.low, f.high));
  }
  return make_uint2(code_word_by_factor<false>(x.w, f.low),
                    code_word_by_factor<false>(x.w + 4, f.low));
}

// The codes under d, whichever way T takes; 2^-69 <= d <= 2^69. `amax` is the block's largest magnitude.
template <typename T>
__device__ __forceinline__ uint2 codes_under(const Block<T>& x, float d, float amax) {
  if constexpr (std::is_same_v<T, Bf16>) {
    return codes_by_factors(x, code_factors(d, amax));
  } else {
    return codes_by_thresholds<T>(x, pack_thresholds<T>(thresholds_of(d)));
  }
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

}  // namespace nvfp4j::device
