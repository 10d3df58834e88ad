// SPDX-License-Identifier: Apache-2.0
// E4M3: the block scales.
#pragma once
#include <cstdint>

namespace nvfp4j::device {

// e4m3_rn_satfinite(x) for x >= 0 (infinity included) without the conversion instruction: compute_80. NaN gives 0x7F.
// Below 2^-6 the code is x in units of 2^-9, which adding 2^14 rounds to; above, the mantissa is rounded to 3 bits by an integer addition whose carry is the exponent's. Ties to even in both.
__host__ __device__ __forceinline__ std::uint32_t e4m3_from_f32_software(float x) {
#if defined(__CUDA_ARCH__)
  const std::uint32_t a = __float_as_uint(x);
  const std::uint32_t small = __float_as_uint(__fadd_rn(x, 16384.0f)) - 0x46800000u;
#else
  std::uint32_t a, small;
  float sum = x + 16384.0f;
  __builtin_memcpy(&a, &x, 4);
  __builtin_memcpy(&small, &sum, 4);
  small -= 0x46800000u;
#endif
  const std::uint32_t normal = ((a + 0x7ffffu + ((a >> 20) & 1u)) >> 20) - 960u;
  if (a > 0x7f800000u) return 0x7Fu;
  if (a >= 0x43e00000u) return 0x7Eu;
  return a < 0x3c800000u ? small : normal;
}

// e4m3_rn_satfinite(x) for x >= 0.
__device__ __forceinline__ std::uint32_t e4m3_from_f32(float x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  std::uint16_t pair;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(0.0f), "f"(x));
  return pair;
#else
  return e4m3_from_f32_software(x);
#endif
}

// f32 of an E4M3 byte 0x00..0x7E: its exponent and mantissa, placed in a float, are the value divided by 2^120; f32 subnormals make the small ones right too.
__device__ __forceinline__ float f32_from_e4m3(std::uint32_t s) {
  return __fmul_rn(__uint_as_float(s << 20), 0x1p120f);
}

// f32 of any E4M3 byte: 0x7F and 0xFF are NaN, bit 7 is the sign.
__device__ __forceinline__ float f32_from_any_e4m3(std::uint32_t s) {
  const float magnitude =
      (s & 0x7Fu) == 0x7Fu ? __uint_as_float(0x7FC00000u) : f32_from_e4m3(s & 0x7Fu);
  return (s & 0x80u) != 0u ? -magnitude : magnitude;
}

}  // namespace nvfp4j::device
