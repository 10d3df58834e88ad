// SPDX-License-Identifier: Apache-2.0
// Codes and block scales to BF16 in registers, exactly: a code becomes e2m1 * 2^-126, a scale s * 2^118, their product e2m1 * s * 2^-8 (at most 6 significant bits, at least 2^-18). The 2^8 is taken back in F32 (kOperandScale).
#pragma once
#include <cstdint>

#include "device/block.cuh"
#include "device/mma.cuh"

namespace nvfp4j::device {

/// What one decoded operand's factor 2^-8 is taken back with.
inline constexpr float kOperandScale = 256.0f;

__device__ __forceinline__ std::uint32_t multiply_pairs(std::uint32_t a, std::uint32_t b) {
  std::uint32_t r;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
#else
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(0x80008000u));
#endif
  return r;
}

// One scale for both halves: the low or the high one of `pair`. HMUL2 reads it so without an instruction of its own.
__device__ __forceinline__ std::uint32_t low_twice(std::uint32_t pair) {
  std::uint32_t r;
  asm("{\n\t.reg .b16 l, h;\n\tmov.b32 {l, h}, %1;\n\tmov.b32 %0, {l, l};\n\t}"
      : "=r"(r)
      : "r"(pair));
  return r;
}
__device__ __forceinline__ std::uint32_t high_twice(std::uint32_t pair) {
  std::uint32_t r;
  asm("{\n\t.reg .b16 l, h;\n\tmov.b32 {l, h}, %1;\n\tmov.b32 %0, {h, h};\n\t}"
      : "=r"(r)
      : "r"(pair));
  return r;
}

// (a & b) | c in one instruction, which the compiler makes two of when it sees two constants.
__device__ __forceinline__ std::uint32_t and_or(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  std::uint32_t r;
  asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
  return r;
}

// Eight codes in the order of a checkpoint: pair j is codes 2j and 2j + 1, the low half first.
__device__ __forceinline__ void expand_codes(std::uint32_t w, std::uint32_t (&r)[4]) {
  // Of each BF16 the high byte is s000000e1 and the low byte e0 m 000000; codes 0 2 4 6 first, then 1 3 5 7.
  const std::uint32_t low_even = (w << 6) & 0xC0C0C0C0u;
  const std::uint32_t high_even = and_or(w << 4, 0x80808080u, (w >> 2) & 0x01010101u);
  const std::uint32_t low_odd = (w << 2) & 0xC0C0C0C0u;
  const std::uint32_t high_odd = and_or(w, 0x80808080u, (w >> 6) & 0x01010101u);
  const std::uint32_t even01 = __byte_perm(low_even, high_even, 0x5140u);
  const std::uint32_t even23 = __byte_perm(low_even, high_even, 0x7362u);
  const std::uint32_t odd01 = __byte_perm(low_odd, high_odd, 0x5140u);
  const std::uint32_t odd23 = __byte_perm(low_odd, high_odd, 0x7362u);
  r[0] = __byte_perm(even01, odd01, 0x5410u);
  r[1] = __byte_perm(even01, odd01, 0x7632u);
  r[2] = __byte_perm(even23, odd23, 0x5410u);
  r[3] = __byte_perm(even23, odd23, 0x7632u);
}

// A coded word of prepared_layout.hpp.
__device__ __forceinline__ void expand_prepared(std::uint32_t w, std::uint32_t (&r)[4]) {
  constexpr std::uint32_t kMask = 0x81C081C0u;
  r[0] = w & kMask;
  r[1] = ((w << 3) ^ (w << 2)) & kMask;
  r[2] = (w << 6) & kMask;
  r[3] = ((w >> 4) ^ (w << 1)) & kMask;
}

// Two E4M3 bytes, low and high half; a bad one gives NaN. b << 4 is the scale * 2^-120 in BF16, subnormal where the scale is.
__device__ __forceinline__ std::uint32_t scale_pair(std::uint32_t low, std::uint32_t high) {
  const std::uint32_t l = low >= 0x7Fu ? 0x7FFFu : low << 4;
  const std::uint32_t h = high >= 0x7Fu ? 0x7FFFu : high << 4;
  return multiply_pairs(multiply_pairs(l | h << 16, 0x7B807B80u), 0x7A807A80u);  // 2^120, 2^118
}

// The scales of blocks 2i (even) and 2i + 1 (odd) of a word of prepared scales; halves: rows 2r, 2r + 1.
__device__ __forceinline__ std::uint32_t prepared_scale_even(std::uint32_t word) {
  return and_or(word, 0x0FF00FF0u, 0x70007000u);
}
__device__ __forceinline__ std::uint32_t prepared_scale_odd(std::uint32_t word) {
  return and_or(__byte_perm(word, 0u, 0x2301u), 0x0FF00FF0u, 0x70007000u);
}

// A block of 16 NVFP4 elements to BF16, as two pieces of 16 bytes.
__device__ __forceinline__ void expand_block(uint2 codes, std::uint32_t scale, uint4& first,
                                             uint4& second) {
  std::uint32_t x[4], y[4];
  expand_codes(codes.x, x);
  expand_codes(codes.y, y);
  const std::uint32_t s = scale_pair(scale, scale);
  first = make_uint4(multiply_pairs(x[0], s), multiply_pairs(x[1], s), multiply_pairs(x[2], s),
                     multiply_pairs(x[3], s));
  second = make_uint4(multiply_pairs(y[0], s), multiply_pairs(y[1], s), multiply_pairs(y[2], s),
                      multiply_pairs(y[3], s));
}

// The same with the factor of the operands taken back (256 in BF16 is 0x4380), and NaN throughout where the scale is bad: packed activations.
__device__ __forceinline__ void pack_block(uint2 codes, std::uint32_t scale, uint4& first,
                                           uint4& second) {
  expand_block(codes, scale, first, second);
  std::uint32_t* const words[8] = {&first.x,  &first.y,  &first.z,  &first.w,
                                   &second.x, &second.y, &second.z, &second.w};
#pragma unroll
  for (int i = 0; i < 8; ++i)
    *words[i] = scale >= 0x7Fu ? 0x7FC07FC0u : multiply_pairs(*words[i], 0x43804380u);
}

// A unit of prepared weights, 16 rows x 64 columns, in the registers of four steps of 16 columns: a[4s] to a[4s + 3] are those of mma_16x8x16.
__device__ __forceinline__ void expand_unit(uint4 codes, uint2 scales, std::uint32_t (&a)[16]) {
  std::uint32_t low0[4], low1[4], high0[4], high1[4];
  expand_prepared(codes.x, low0);
  expand_prepared(codes.y, low1);
  expand_prepared(codes.z, high0);
  expand_prepared(codes.w, high1);
  const std::uint32_t s[4] = {prepared_scale_even(scales.x), prepared_scale_odd(scales.x),
                              prepared_scale_even(scales.y), prepared_scale_odd(scales.y)};
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    const std::uint32_t sl = low_twice(s[step]);
    const std::uint32_t sh = high_twice(s[step]);
    const int j = 2 * (step & 1);
    a[4 * step] = multiply_pairs(step < 2 ? low0[j] : low1[j], sl);
    a[4 * step + 1] = multiply_pairs(step < 2 ? high0[j] : high1[j], sh);
    a[4 * step + 2] = multiply_pairs(step < 2 ? low0[j + 1] : low1[j + 1], sl);
    a[4 * step + 3] = multiply_pairs(step < 2 ? high0[j + 1] : high1[j + 1], sh);
  }
}

/// The same of what expand_linear() decodes: a code becomes e2m1 * 2^-132 there, its product with the scale e2m1 * s * 2^-14 (at least 2^-24).
inline constexpr float kTinyOperandScale = 16384.0f;

// Bit 3 of a selector asks for a byte's sign in all eight bits, which __byte_perm does not promise.
__device__ __forceinline__ std::uint32_t permute_bytes(std::uint32_t a, std::uint32_t b,
                                                       std::uint32_t selector) {
  std::uint32_t r;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(selector));
  return r;
}

// Eight codes in the order of a checkpoint to pairs of BF16 that are e2m1 * 2^-132: twice a magnitude is one of 0 1 2 3 4 6 8 12, which a byte permutation looks up, four at a time, and the low byte of a BF16 is a subnormal number.
__device__ __forceinline__ void expand_tiny(std::uint32_t w, std::uint32_t (&r)[4]) {
  const std::uint32_t magnitudes = w & 0x77777777u;
  const std::uint32_t m0 = permute_bytes(0x03020100u, 0x0C080604u, magnitudes);
  const std::uint32_t m1 = permute_bytes(0x03020100u, 0x0C080604u, magnitudes >> 16);
  const std::uint32_t even =
      w << 4;  // whose signs are now the high bits of bytes, as those of the odd codes are
  const std::uint32_t s0 = permute_bytes(even, w, 0x5140u) & 0x80808080u;
  const std::uint32_t s1 = permute_bytes(even, w, 0x7362u) & 0x80808080u;
  r[0] = permute_bytes(m0, s0, 0x5140u);
  r[1] = permute_bytes(m0, s0, 0x7362u);
  r[2] = permute_bytes(m1, s1, 0x5140u);
  r[3] = permute_bytes(m1, s1, 0x7362u);
}

// A block of 16 columns of two rows of linear weights, in the registers of four steps. `low`, `high`: words of E4M3 bytes of the rows, of which byte t is the block's. In `bad` bit 7 (row low) or 23 (row high) is set where it is
// not finite.
__device__ __forceinline__ void expand_linear(uint4 codes, std::uint32_t low, std::uint32_t high,
                                              int t, std::uint32_t (&a)[16], std::uint32_t& bad) {
  std::uint32_t low0[4], low1[4], high0[4], high1[4];
  expand_tiny(codes.x, low0);
  expand_tiny(codes.y, low1);
  expand_tiny(codes.z, high0);
  expand_tiny(codes.w, high1);
  const std::uint32_t bytes = permute_bytes(low, high, 0x0400u + 0x0101u * t) & 0x00FF00FFu;
  bad |= bytes | (bytes + 0x00010001u);
  const std::uint32_t s =
      multiply_pairs(multiply_pairs(bytes << 4, 0x7B807B80u), 0x7A807A80u);  // 2^120, 2^118
  const std::uint32_t sl = low_twice(s), sh = high_twice(s);
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    const int j = 2 * (step & 1);
    a[4 * step] = multiply_pairs(step < 2 ? low0[j] : low1[j], sl);
    a[4 * step + 1] = multiply_pairs(step < 2 ? high0[j] : high1[j], sh);
    a[4 * step + 2] = multiply_pairs(step < 2 ? low0[j + 1] : low1[j + 1], sl);
    a[4 * step + 3] = multiply_pairs(step < 2 ? high0[j + 1] : high1[j + 1], sh);
  }
}

// The selectors that make of byte t of a word what expand_byte() takes.
__device__ __forceinline__ constexpr std::uint32_t byte_selectors(std::uint32_t t) {
  return 0x8440u | t | t << 12;
}

// The two codes of a byte, as expand_codes() gives them: the byte in the lowest place, its uppermost bit (the second code's sign) in all of the highest one, zeros between. What the first code's magnitude, the second's and the first's sign are
// moved by does not let them meet; the second's sign is where it belongs.
__device__ __forceinline__ std::uint32_t expand_byte(std::uint32_t byte) {
  return (byte * ((1u << 6) + (1u << 18)) | byte << 12) & 0x81C081C0u;
}

// Four E4M3 bytes to BF16, * 2^118; halves: bytes 0 and 2, 1 and 3. Of bad ones it gives anything.
__device__ __forceinline__ void expand_scales(std::uint32_t bytes, std::uint32_t (&s)[2]) {
  constexpr std::uint32_t kFirst = 0x7B807B80u, kSecond = 0x7A807A80u;  // 2^120, 2^118
  s[0] = multiply_pairs(multiply_pairs(bytes << 4 & 0x0FF00FF0u, kFirst), kSecond);
  s[1] = multiply_pairs(multiply_pairs(bytes >> 4 & 0x0FF00FF0u, kFirst), kSecond);
}
__device__ __forceinline__ std::uint32_t scale_twice(const std::uint32_t (&s)[2], int i) {
  return i < 2 ? low_twice(s[i & 1]) : high_twice(s[i & 1]);
}

// Bits 0x80808080 are set where one of four E4M3 bytes is bad, and perhaps of those above it.
__device__ __forceinline__ std::uint32_t bad_scales(std::uint32_t bytes) {
  return bytes + 0x01010101u | bytes;
}

}  // namespace nvfp4j::device
