// SPDX-License-Identifier: Apache-2.0
// exp, log and log1p as this project defines them: the same bits on the CPU, on CUDA devices and in
// Java (io.github.nvfp4j.reference.MathReference is a transcription; change both or neither).
//
// Every function is one fixed, branch-free sequence of IEEE binary32 additions, multiplications and
// explicit fused multiply-adds, each rounded to nearest even with gradual underflow, exact
// int-to-float conversions, integer operations on bit patterns, comparisons and selects. No tables
// and no libm, so a loop over them vectorises wherever the target has an fma instruction; elsewhere
// __builtin_fmaf is libm's fmaf, which is exact too. Build with -ffp-contract=off / -fmad=false and
// never with fast math or flush-to-zero.
//
// Largest error over all 2^32 inputs against binary64 libm, in units in the last place of the true
// result (2^-149 where that is subnormal): exp 0.892 (at 0xc0bb2813), log 0.957 (at 0x3ebfeb68),
// log1p 0.957 (at 0xbf200a4c).
//
// NaN: a result that is NaN is always 0x7fc00000, whatever the sign and payload of the input: x86
// makes 0xffc00000, CUDA 0x7fffffff, so every op that stores a NaN must choose one; canonical_nan()
// is that choice.
#pragma once
#include <cstdint>

#if defined(__CUDACC__)
#define NVFP4J_HD __host__ __device__ __attribute__((always_inline))
#else
// always_inline: the body must be compiled with the instruction set of the multi-versioned caller.
#define NVFP4J_HD __attribute__((always_inline))
#endif

namespace nvfp4j::math {

namespace detail {

#if defined(__CUDA_ARCH__)
NVFP4J_HD inline std::uint32_t bits(float x) { return __float_as_uint(x); }
NVFP4J_HD inline float from_bits(std::uint32_t b) { return __uint_as_float(b); }
NVFP4J_HD inline float add(float a, float b) { return __fadd_rn(a, b); }
NVFP4J_HD inline float mul(float a, float b) { return __fmul_rn(a, b); }
NVFP4J_HD inline float fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
NVFP4J_HD inline float to_float(std::int32_t i) { return __int2float_rn(i); }
NVFP4J_HD inline std::uint32_t select(bool c, std::uint32_t a, std::uint32_t b) {
  return c ? a : b;
}
#else
NVFP4J_HD inline std::uint32_t bits(float x) { return __builtin_bit_cast(std::uint32_t, x); }
NVFP4J_HD inline float from_bits(std::uint32_t b) { return __builtin_bit_cast(float, b); }
NVFP4J_HD inline float add(float a, float b) { return a + b; }
NVFP4J_HD inline float mul(float a, float b) { return a * b; }
NVFP4J_HD inline float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
NVFP4J_HD inline float to_float(std::int32_t i) { return static_cast<float>(i); }
// c ? a : b by masks: with ?: g++ 12 makes control flow of the longer chains below and then does
// not vectorise them.
NVFP4J_HD inline std::uint32_t select(bool c, std::uint32_t a, std::uint32_t b) {
  std::uint32_t mask = 0u - static_cast<std::uint32_t>(c);
  return (a & mask) | (b & ~mask);
}
#endif

inline constexpr std::uint32_t kNan = 0x7fc00000u;
inline constexpr std::uint32_t kInfinity = 0x7f800000u;
inline constexpr std::uint32_t kMagnitude = 0x7fffffffu;
inline constexpr std::uint32_t kSign = 0x80000000u;

// log and log1p split their argument into 2^k * m with m in [3/4, 3/2): then k = 0 covers a whole
// neighbourhood of 1, where the result must keep its relative accuracy. Returns k << 23, from the
// bits of the argument; 0x3f400000 is 0.75.
NVFP4J_HD inline std::uint32_t split(std::uint32_t b) { return (b - 0x3f400000u) & 0xff800000u; }

// log(1 + f) + k * ln 2 for f in [-1/4, 1/2] and shifted = k << 23.
// log(1 + f) = f + f^2 * Q(f). Q: minimax in relative error (Remez), rounded to binary32 and
// refined by a search over neighbouring coefficients; the leading one is exactly -1/2.
// Approximation error 2^-27.3, against 2^-24 of rounding. ln 2 needs one term only: 0x1.62e430p-1
// is within 2^-28 of it, relative.
NVFP4J_HD inline float log_of(float f, std::uint32_t shifted) {
  float q = -0x1.6fe6dcp-5f;
  q = fma(q, f, 0x1.abf72cp-4f);
  q = fma(q, f, -0x1.0d9068p-3f);
  q = fma(q, f, 0x1.2897eap-3f);
  q = fma(q, f, -0x1.54f25ap-3f);
  q = fma(q, f, 0x1.996864p-3f);
  q = fma(q, f, -0x1.000026p-2f);
  q = fma(q, f, 0x1.5555a6p-2f);
  q = fma(q, f, -0.5f);
  float r = fma(q, mul(f, f), f);
  float k = to_float(static_cast<std::int32_t>(shifted) >> 23);
  return fma(k, 0x1.62e430p-1f, r);
}

}  // namespace detail

// Neither infinite nor a NaN.
NVFP4J_HD inline bool is_finite(float x) {
  return (detail::bits(x) & detail::kInfinity) != detail::kInfinity;
}

// x, or 0x7fc00000 if x is a NaN.
NVFP4J_HD inline float canonical_nan(float x) {
  std::uint32_t b = detail::bits(x);
  return detail::from_bits(
      detail::select((b & detail::kMagnitude) > detail::kInfinity, detail::kNan, b));
}

// e^x. exp(+-0) = 1, exp(-inf) = 0, exp(inf) = inf, exp(NaN) = NaN (0x7fc00000).
// x > 88.72284 overflows to inf; x < -103.9721 underflows to +0; subnormal results are rounded
// once.
NVFP4J_HD inline float exp(float x) {
  using namespace detail;
  // Beyond these the result is inf or 0 anyway; inside, 2^n below needs no more than two factors.
  // NaN passes.
  float c = x > 89.0f ? 89.0f : x;
  c = c < -104.0f ? -104.0f : c;
  // n = c / ln 2 rounded to an integer: 0x1.715476p+0 is 1 / ln 2, and adding 1.5 * 2^23 leaves no
  // fraction bits.
  float t = fma(c, 0x1.715476p+0f, 12582912.0f);
  std::int32_t n = static_cast<std::int32_t>(bits(t) - 0x4b400000u);  // 0x4b400000 is 1.5 * 2^23
  float k = add(t, -12582912.0f);
  // r = c - n * ln 2, |r| <= 0.35. ln 2 = 0x1.62e400p-1 + 0x1.7f7d1cp-20: the first has 15
  // significant bits, so that n times it is exact and so is the difference; the second is the rest
  // of ln 2, rounded.
  float r = fma(k, -0x1.62e400p-1f, c);
  r = fma(k, -0x1.7f7d1cp-20f, r);
  // e^r = 1 + r + r^2 * Q(r), Q as in log_of: approximation error 2^-28.2.
  float q = 0x1.6a2408p-10f;
  q = fma(q, r, 0x1.1239ccp-7f);
  q = fma(q, r, 0x1.5558d2p-5f);
  q = fma(q, r, 0x1.555492p-3f);
  q = fma(q, r, 0x1.fffffcp-2f);
  q = fma(q, r, 1.0f);
  float p = fma(q, r, 1.0f);
  // Times 2^n in two halves, n in [-150, 128]: the first product is exact, the second overflows or
  // rounds once.
  std::int32_t low = n >> 1;
  std::int32_t high = n - low;
  float y = mul(p, from_bits(static_cast<std::uint32_t>(low + 127) << 23));
  y = mul(y, from_bits(static_cast<std::uint32_t>(high + 127) << 23));
  return canonical_nan(y);
}

// Natural logarithm. log(1) = +0, log(+-0) = -inf, log(inf) = inf, log(x < 0) = log(NaN) = NaN
// (0x7fc00000).
NVFP4J_HD inline float log(float x) {
  using namespace detail;
  std::uint32_t b = bits(x);
  bool subnormal = b < 0x00800000u;  // or +0
  std::uint32_t normal = select(subnormal, bits(mul(x, 0x1p23f)), b);
  std::uint32_t shifted = split(normal);
  float f = add(from_bits(normal - shifted), -1.0f);                // exact
  float y = log_of(f, shifted - select(subnormal, 23u << 23, 0u));  // 2^23 taken back
  std::uint32_t result = bits(y);
  result = select(b >= kInfinity, kNan, result);  // negative, NaN, and +inf for now
  result = select(b == kInfinity, kInfinity, result);
  result = select((b & kMagnitude) == 0, kInfinity | kSign, result);
  return from_bits(result);
}

// log(1 + x). log1p(+-0) = +-0, tiny x (subnormals too) come back unchanged, log1p(-1) = -inf,
// log1p(inf) = inf, log1p(x < -1) = log1p(NaN) = NaN (0x7fc00000).
NVFP4J_HD inline float log1p(float x) {
  using namespace detail;
  std::uint32_t b = bits(x);
  // k comes from 1 + x rounded; where that rounded up to 3/2, k is 0 still. f = 2^-k * (1 + x) - 1
  // is computed without that rounding: 2^-k * x is exact (a subtraction from the exponent field;
  // k = 0 where x is tiny), 2^-k - 1 is the fma (whose 4 * 2^-k cannot be subnormal), and their sum
  // is exact for k = 0 and, by Sterbenz, for |k| < 24.
  std::uint32_t shifted = split(bits(add(1.0f, x)));
  shifted = select(b <= 0x3f000000u, 0u, shifted);  // +0 <= x <= 0.5
  float f = add(from_bits(b - shifted), fma(0.25f, from_bits(0x40800000u - shifted), -1.0f));
  std::uint32_t result = bits(log_of(f, shifted));
  result = select((b & kMagnitude) == 0, b, result);             // keeps -0
  result = select(b >= kInfinity && b < kSign, b, result);       // +inf; positive NaNs wait
  result = select(b >= 0xbf800000u, kInfinity | kSign, result);  // x = -1
  result = select(b > 0xbf800000u, kNan, result);                // x < -1, -inf, negative NaNs
  return canonical_nan(from_bits(result));
}

}  // namespace nvfp4j::math
