// SPDX-License-Identifier: Apache-2.0
// Conversions between binary32 and the narrow formats, on bit patterns and without branches, so
// that loops over them vectorise. always_inline: they must be compiled with the instruction set
// of the multi-versioned function around them (cpu_isa.hpp).
#pragma once
#include <bit>
#include <cstdint>

namespace nvfp4j {

#define NVFP4J_INLINE [[gnu::always_inline]] inline

inline constexpr std::uint32_t kMagnitude = 0x7FFFFFFF;
inline constexpr std::uint32_t kInfinity = 0x7F800000;
inline constexpr std::uint32_t kNan = 0x7FC00000;

NVFP4J_INLINE std::uint32_t bits_of(float x) { return std::bit_cast<std::uint32_t>(x); }
NVFP4J_INLINE float float_of(std::uint32_t bits) { return std::bit_cast<float>(bits); }

NVFP4J_INLINE float bf16_to_f32(std::uint16_t x) {
  return float_of(static_cast<std::uint32_t>(x) << 16);
}

/// Nearest even; a NaN becomes 0x7FC0.
NVFP4J_INLINE std::uint16_t f32_to_bf16(float x) {
  const std::uint32_t b = bits_of(x);
  const std::uint32_t rounded = (b + 0x7FFF + (b >> 16 & 1)) >> 16;
  return static_cast<std::uint16_t>((b & kMagnitude) > kInfinity ? kNan >> 16 : rounded);
}

NVFP4J_INLINE float f16_to_f32(std::uint16_t x) {
  const std::uint32_t magnitude = static_cast<std::uint32_t>(x & 0x7FFF) << 13;
  const std::uint32_t sign = static_cast<std::uint32_t>(x & 0x8000) << 16;
  // Exponent bias 15 to 127. Infinity and NaN need the rest of the way up; subnormals are
  // normalised by a subtraction.
  const std::uint32_t normal = magnitude + (112u << 23);
  const std::uint32_t special = normal + (112u << 23);
  const std::uint32_t subnormal = bits_of(float_of(magnitude + (113u << 23)) - 0x1p-14f);
  std::uint32_t b = magnitude >= 0x7C00u << 13 ? special : normal;
  b = magnitude < 0x0400u << 13 ? subnormal : b;
  return float_of(b | sign);
}

/// Nearest even; too large becomes infinity, a NaN 0x7E00.
NVFP4J_INLINE std::uint16_t f32_to_f16(float x) {
  const std::uint32_t b = bits_of(x);
  const std::uint32_t a = b & kMagnitude;
  const std::uint32_t sign = b >> 16 & 0x8000;
  const std::uint32_t normal = (a - (112u << 23) + 0xFFF + (a >> 13 & 1)) >> 13;
  // Below 2^-14 the half is a multiple of 2^-24, to which adding 1/2 rounds.
  const std::uint32_t subnormal = bits_of(float_of(a) + 0.5f) - 0x3F000000;
  std::uint32_t half = a < 0x38800000 ? subnormal : normal;
  half = a >= 0x477FF000 ? 0x7C00 : half;  // 65520, the first to round to infinity
  return static_cast<std::uint16_t>(a > kInfinity ? 0x7E00 : half | sign);
}

/// E4M3 of x >= 0 (infinity included), nearest even, saturating at 448; equal to cuda_fp8.hpp
/// on every input.
NVFP4J_INLINE std::uint32_t e4m3_of_non_negative(float x) {
  const std::uint32_t a = bits_of(x);
  const std::uint32_t small = bits_of(x + 16384.0f) - 0x46800000;  // multiples of 2^-9
  const std::uint32_t normal = ((a + 0x7FFFF + (a >> 20 & 1)) >> 20) - 960;
  const std::uint32_t saturated =
      a >= 0x43E00000 ? 0x7E : normal;  // from 448 on; 448 to 464 round to 0x7E as well
  const std::uint32_t code = saturated < 0x7E ? saturated : 0x7E;
  return a < 0x3C800000 ? small : code;
}

/// f32 of an E4M3 byte without sign, 0x00 to 0x7E.
NVFP4J_INLINE float e4m3_magnitude_to_f32(std::uint32_t code) {
  const float normal = float_of((code << 20) + (120u << 23));
  const float small = static_cast<float>(static_cast<std::int32_t>(code)) * 0x1p-9f;
  return code < 8 ? small : normal;
}

/// f32 of any E4M3 byte: 0x7F and 0xFF are NaN, bit 7 is the sign.
NVFP4J_INLINE float e4m3_to_f32(std::uint32_t byte) {
  const std::uint32_t magnitude = bits_of(e4m3_magnitude_to_f32(byte & 0x7F));
  const std::uint32_t signed_bits = magnitude | (byte & 0x80) << 24;
  return float_of((byte & 0x7F) == 0x7F ? kNan : signed_bits);
}

/// The magnitude part, 0 to 7, of e2m1_rn_satfinite(q). Exact also for infinity and NaN (7).
NVFP4J_INLINE std::uint32_t e2m1_magnitude(float q) {
  const std::uint32_t a = bits_of(q) & kMagnitude;
  // Below 2 the values are multiples of 1/2, to which adding 2^22 rounds; from 1 on they have
  // one mantissa bit.
  const std::uint32_t small = bits_of(float_of(a) + 4194304.0f) - 0x4A800000;
  const std::uint32_t large = ((a + 0x1FFFFF + (a >> 22 & 1)) >> 22) - 252;
  const std::uint32_t code = large < 7 ? large : 7;
  return a < 0x3F800000 ? small : code;
}

/// e2m1_rn_satfinite(x): NaN of either sign is 7.
NVFP4J_INLINE std::uint32_t e2m1(float x) {
  const std::uint32_t b = bits_of(x);
  const std::uint32_t sign = (b & kMagnitude) > kInfinity ? 0 : b >> 28 & 8;
  return e2m1_magnitude(x) | sign;
}

/// f32 of an e2m1 code 0 to 15.
NVFP4J_INLINE float e2m1_to_f32(std::uint32_t code) {
  const std::uint32_t c = code & 7;
  const std::uint32_t large = (c + 252) << 22;  // 1, 1.5, 2, 3, 4, 6
  const std::uint32_t small = c * 0x3F000000;   // 0, 0.5
  return float_of((c < 2 ? small : large) | (code & 8) << 28);
}

}  // namespace nvfp4j
