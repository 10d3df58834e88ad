// SPDX-License-Identifier: Apache-2.0
// The order of prepared weights (NVFP4J_SCALE_LAYOUT_PREPARED), the same on every device.
//
// Where N is a multiple of 16 and K of 256 the weights of a group are tiles of 16 rows, each a sequence of chunks of 128 columns; a chunk is one piece of 1152 bytes:
//   codes   [unit of 64 columns: 2][lane: 32][16 bytes]
//   scales  [unit: 2][row pair: 8][8 bytes]
// Lane 4r + t of a warp finds in its 16 bytes what mma.m16n8k16 and wgmma want of it, for four steps of 16 columns: words 0 and 1 are row 2r (row r of the instruction), words 2 and 3 row 2r + 1 (row r + 8), so that a lane's
// results are neighbours in D; word h has columns 8c + 2t and 8c + 2t + 1 for c = 4h to 4h+3.
// Other shapes keep the order of the checkpoint: codes [N, K/2], then scales [N, K/16].
//
// A word of eight codes is coded so that 9 instructions make four pairs of BF16 of it (gemm_operands.cuh): pair j of
//   w & M,  ((w << 3) ^ (w << 2)) & M,  (w << 6) & M,  ((w >> 4) ^ (w << 1)) & M,      M = 0x81C081C0
// has in each half the bits s, e1, e0, m of a code at bits 15, 8, 7, 6: e2m1 * 2^-126 in BF16 (its smallest normal exponent is 2^-126, and 0.5 is subnormal there as it is in E2M1). The map is linear over GF(2) and one to one.
//
// A scale byte is recoded as e5m3 without a sign, normal: byte * 16 + 0x7000 is scale * 2^118 in BF16. 0xFF gives a NaN. Where the scale is zero the codes are cleared. Two bytes a row pair share a word of the scales:
// bits 4-11 and 20-27 are block 2i of rows 2r and 2r + 1; after swapping the bytes of each half, block 2i + 1.
#pragma once
#include <cstdint>

#if defined(__CUDACC__)
#define NVFP4J_LAYOUT_FUNCTION __host__ __device__ constexpr
#else
#define NVFP4J_LAYOUT_FUNCTION constexpr
#endif

namespace nvfp4j::prepared {

inline constexpr int kTileRows = 16;
inline constexpr int kChunkColumns = 128;
inline constexpr int kChunkUnits = 2;
inline constexpr int kChunkCodes = 1024;  // bytes
inline constexpr int kChunkBytes = 1152;
inline constexpr int kTiledColumns = 256;  // K is a multiple of it: an even number of chunks

NVFP4J_LAYOUT_FUNCTION bool is_tiled(std::int64_t n, std::int64_t k) {
  return n % kTileRows == 0 && k % kTiledColumns == 0;
}

/// Bytes of one group.
NVFP4J_LAYOUT_FUNCTION std::int64_t group_bytes(std::int64_t n, std::int64_t k) {
  return n * (k / 16) * 9;
}

/// The coded word of four bytes as a checkpoint has them: byte j is pair j, its low nibble in the pair's low half.
NVFP4J_LAYOUT_FUNCTION std::uint32_t encode_codes(std::uint32_t bytes) {
  std::uint32_t word = 0;
  std::uint32_t above = 0;  // bit 3 of the other half
  for (int half = 1; half >= 0; --half) {
    std::uint32_t code[4] = {};
    for (int j = 0; j < 4; ++j) code[j] = bytes >> (8 * j + 4 * half) & 15u;
    const auto bit = [&](int j, int i) { return code[j] >> i & 1u; };
    const std::uint32_t w6 = bit(0, 0), w7 = bit(0, 1), w8 = bit(0, 2), w15 = bit(0, 3);
    const std::uint32_t w0 = bit(2, 0), w1 = bit(2, 1), w2 = bit(2, 2), w9 = bit(2, 3);
    const std::uint32_t w5 = bit(1, 2) ^ w6, w4 = bit(1, 1) ^ w5, w3 = bit(1, 0) ^ w4;
    const std::uint32_t w10 = bit(3, 0) ^ w5, w11 = bit(3, 1) ^ w6, w12 = bit(3, 2) ^ w7;
    const std::uint32_t w13 = bit(1, 3) ^ w12, w14 = bit(3, 3) ^ above;
    const std::uint32_t value = w0 | w1 << 1 | w2 << 2 | w3 << 3 | w4 << 4 | w5 << 5 | w6 << 6 |
                                w7 << 7 | w8 << 8 | w9 << 9 | w10 << 10 | w11 << 11 | w12 << 12 |
                                w13 << 13 | w14 << 14 | w15 << 15;
    word |= value << (16 * half);
    above = w3;
  }
  return word;
}

/// The four bytes of a coded word.
NVFP4J_LAYOUT_FUNCTION std::uint32_t decode_codes(std::uint32_t w) {
  constexpr std::uint32_t kMask = 0x81C081C0u;
  const std::uint32_t pair[4] = {w & kMask, ((w << 3) ^ (w << 2)) & kMask, (w << 6) & kMask,
                                 ((w >> 4) ^ (w << 1)) & kMask};
  std::uint32_t bytes = 0;
  for (int j = 0; j < 4; ++j) {
    for (int half = 0; half < 2; ++half) {
      const std::uint32_t v = pair[j] >> (16 * half) & 0xFFFFu;
      bytes |= ((v >> 6 & 7u) | (v >> 12 & 8u)) << (8 * j + 4 * half);
    }
  }
  return bytes;
}

inline constexpr std::uint32_t kBadScale = 0xFF;

/// The recoded byte of an E4M3 scale; 0x7F and above are bad. Of a zero scale it is any good one: the codes are cleared.
NVFP4J_LAYOUT_FUNCTION std::uint32_t encode_scale(std::uint32_t e4m3) {
  if (e4m3 >= 0x7Fu) return kBadScale;
  if (e4m3 >= 8u) return e4m3 + (14u << 3);
  if (e4m3 >= 4u) return 14u << 3 | (e4m3 - 4u) << 1;
  if (e4m3 >= 2u) return 13u << 3 | (e4m3 - 2u) << 2;
  return 12u << 3;
}

/// The E4M3 byte of a recoded one (1 for a zero scale, 0x7F for a bad one).
NVFP4J_LAYOUT_FUNCTION std::uint32_t decode_scale(std::uint32_t byte) {
  if (byte == kBadScale) return 0x7Fu;
  const std::uint32_t exponent = byte >> 3, mantissa = byte & 7u;
  if (exponent >= 15u) return byte - (14u << 3);
  return (8u | mantissa) >> (15u - exponent);
}

/// A word of the scales from the bytes of blocks 2i and 2i + 1 of rows 2r (low) and 2r + 1 (high), and back.
NVFP4J_LAYOUT_FUNCTION std::uint32_t pack_scales(std::uint32_t even_low, std::uint32_t even_high,
                                                 std::uint32_t odd_low, std::uint32_t odd_high) {
  const auto half = [](std::uint32_t even, std::uint32_t odd) {
    return even << 4 | odd >> 4 | (odd & 15u) << 12;
  };
  return half(even_low, odd_low) | half(even_high, odd_high) << 16;
}

/// `half` is 0 for row 2r, 1 for row 2r + 1; `odd` is 0 for block 2i, 1 for block 2i + 1.
NVFP4J_LAYOUT_FUNCTION std::uint32_t unpack_scale(std::uint32_t word, int half, int odd) {
  const std::uint32_t v = word >> (16 * half) & 0xFFFFu;
  return odd == 0 ? v >> 4 & 0xFFu : (v & 15u) << 4 | v >> 12;
}

}  // namespace nvfp4j::prepared
