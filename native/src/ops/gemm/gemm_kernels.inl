// SPDX-License-Identifier: Apache-2.0
// Included by gemm_kernels.cpp once per instruction set, inside a namespace of its own, behind the
// lanes of that instruction set.

// The nibbles of a word, as constants of a fold expression.
using Nibbles = std::make_integer_sequence<int, 8>;

// The codes and scales of less than a step, padded with zeros: nothing behind a row is read.
struct PaddedStep {
  PaddedStep(const std::uint8_t* row_codes, const std::uint8_t* row_scales, std::int64_t blocks) {
    std::memcpy(codes, row_codes, static_cast<std::size_t>(8 * blocks));
    std::memcpy(scales, row_scales, static_cast<std::size_t>(blocks));
  }
  alignas(64) std::uint8_t codes[64] = {};
  alignas(8) std::uint8_t scales[8] = {};
};

template <int... I>
NVFP4J_INLINE void decode_step_a(const std::uint8_t* codes, const std::uint8_t* scales, float* out,
                                 std::integer_sequence<int, I...>) {
  const Words words = load_codes(codes);
  const Lanes scale = load_scales(scales);
  (store(out + 16 * I, times(value<I>(words), scale)), ...);
}

void decode_a(const std::uint8_t* codes, const std::uint8_t* scales, std::int64_t blocks,
              float* out) {
  for (; blocks >= 8; blocks -= 8, codes += 64, scales += 8, out += kGemmStep)
    decode_step_a(codes, scales, out, Nibbles());
  if (blocks == 0) return;
  const PaddedStep rest(codes, scales, blocks);
  decode_step_a(rest.codes, rest.scales, out, Nibbles());
}

NVFP4J_INLINE void unpack_step(const std::uint16_t* x, float* out) {
  std::uint32_t pairs[64];
  std::memcpy(pairs, x, sizeof pairs);
  for (int l = 0; l < 16; ++l) {
    for (int j = 0; j < 4; ++j) {
      const std::uint32_t pair = pairs[4 * l + j];
      out[32 * j + l] = float_of(pair << 16);
      out[32 * j + 16 + l] = float_of(pair & 0xFFFF0000);
    }
  }
}

void unpack_a(const std::uint16_t* x, std::int64_t n, float* out) {
  for (; n >= kGemmStep; n -= kGemmStep, x += kGemmStep, out += kGemmStep) unpack_step(x, out);
  if (n == 0) return;
  std::uint16_t rest[kGemmStep] = {};
  std::memcpy(rest, x, static_cast<std::size_t>(n) * 2);
  unpack_step(rest, out);
}

// Sums of a step, times the scales, go to the sums of the chunk.
template <int Rows, int... I>
NVFP4J_INLINE void stream_step(Lanes (&sums)[Rows][kGemmRowsAtOnce], const float* a,
                               std::int64_t stride, const Words (&codes)[kGemmRowsAtOnce],
                               const Lanes (&scales)[kGemmRowsAtOnce],
                               std::integer_sequence<int, I...>) {
  if constexpr (Rows == 1) {
    // The row of A is loaded once for all rows of W.
    Lanes step[kGemmRowsAtOnce];
#pragma GCC unroll 4
    for (int n = 0; n < kGemmRowsAtOnce; ++n) step[n] = zero();
    const auto nibble = [&]<int J>(std::integral_constant<int, J>) __attribute__((always_inline)) {
      const Lanes x = load(a + 16 * J);
#pragma GCC unroll 4
      for (int n = 0; n < kGemmRowsAtOnce; ++n)
        step[n] = plus_product(step[n], x, value<J>(codes[n]));
    };
    (nibble(std::integral_constant<int, I>()), ...);
#pragma GCC unroll 4
    for (int n = 0; n < kGemmRowsAtOnce; ++n)
      sums[0][n] = plus_product(sums[0][n], step[n], scales[n]);
    return;
  }
#pragma GCC unroll 4
  for (int n = 0; n < kGemmRowsAtOnce; ++n) {
    Lanes step[Rows];
#pragma GCC unroll 4
    for (int m = 0; m < Rows; ++m) step[m] = zero();
    const auto nibble = [&]<int J>(std::integral_constant<int, J>) __attribute__((always_inline)) {
      const Lanes w = value<J>(codes[n]);
#pragma GCC unroll 4
      for (int m = 0; m < Rows; ++m)
        step[m] = plus_product(step[m], load(a + m * stride + 16 * J), w);
    };
    (nibble(std::integral_constant<int, I>()), ...);
#pragma GCC unroll 4
    for (int m = 0; m < Rows; ++m) sums[m][n] = plus_product(sums[m][n], step[m], scales[n]);
  }
}

template <int Rows>
NVFP4J_INLINE void stream_rows(const float* a, std::int64_t a_stride,
                               const std::uint8_t* const* codes, const std::uint8_t* const* scales,
                               std::int64_t blocks, float* out, std::int64_t out_stride) {
  Lanes sums[Rows][kGemmRowsAtOnce];
#pragma GCC unroll 4
  for (int m = 0; m < Rows; ++m) {
#pragma GCC unroll 4
    for (int n = 0; n < kGemmRowsAtOnce; ++n) sums[m][n] = zero();
  }
  Words step_codes[kGemmRowsAtOnce];
  Lanes step_scales[kGemmRowsAtOnce];
  std::int64_t block = 0;
  for (; block + 8 <= blocks; block += 8, a += kGemmStep) {
#pragma GCC unroll 4
    for (int n = 0; n < kGemmRowsAtOnce; ++n) {
      step_codes[n] = load_codes(codes[n] + 8 * block);
      step_scales[n] = load_scales(scales[n] + block);
    }
    stream_step<Rows>(sums, a, a_stride, step_codes, step_scales, Nibbles());
  }
  if (block < blocks) {
#pragma GCC unroll 4
    for (int n = 0; n < kGemmRowsAtOnce; ++n) {
      const PaddedStep rest(codes[n] + 8 * block, scales[n] + block, blocks - block);
      step_codes[n] = load_codes(rest.codes);
      step_scales[n] = load_scales(rest.scales);
    }
    stream_step<Rows>(sums, a, a_stride, step_codes, step_scales, Nibbles());
  }
#pragma GCC unroll 4
  for (int m = 0; m < Rows; ++m) {
#pragma GCC unroll 4
    for (int n = 0; n < kGemmRowsAtOnce; ++n) out[m * out_stride + n] += sum(sums[m][n]);
  }
}

void stream(int rows, const float* a, std::int64_t a_stride, const std::uint8_t* const* codes,
            const std::uint8_t* const* scales, std::int64_t blocks, float* sums,
            std::int64_t sums_stride) {
  switch (rows) {
    case 1:
      return stream_rows<1>(a, a_stride, codes, scales, blocks, sums, sums_stride);
    case 2:
      return stream_rows<2>(a, a_stride, codes, scales, blocks, sums, sums_stride);
    case 3:
      return stream_rows<3>(a, a_stride, codes, scales, blocks, sums, sums_stride);
    default:
      return stream_rows<4>(a, a_stride, codes, scales, blocks, sums, sums_stride);
  }
}

// Sixteen coded words to the bytes of a checkpoint: prepared::decode_codes, with the shifts that meet
// the same mask put together so that it is half as long.
NVFP4J_INLINE void decode_words(const std::uint32_t (&in)[16], std::uint32_t (&out)[16]) {
  for (int i = 0; i < 16; ++i) {
    const std::uint32_t w = in[i];
    // Nibbles of pairs 0 and 1, then 2 and 3: the low ones in the low half.
    const std::uint32_t x = (w >> 6 & 0x00070007) | (((w << 5) ^ (w << 4)) & 0x07000700) |
                            (w >> 12 & 0x00080008) | (((w >> 1) ^ (w >> 2)) & 0x08000800);
    const std::uint32_t y = (w & 0x00070007) | (((w >> 2) ^ (w << 3)) & 0x07000700) |
                            (w >> 6 & 0x00080008) | (((w >> 8) ^ (w >> 3)) & 0x08000800);
    out[i] = (x & 0xFFFF) | x >> 12 | y << 16 | (y << 4 & 0xF0F00000);
  }
}

// Two rows, 64 columns: words [t: 4][row][half], of which byte j is byte 16 half + 4j + t of the row.
NVFP4J_INLINE void unprepare_codes(const std::uint8_t* from, std::uint8_t* low,
                                   std::uint8_t* high) {
  std::uint32_t coded[16];
  alignas(64) std::uint32_t words[16];
  std::memcpy(coded, from, sizeof coded);
  decode_words(coded, words);
  const __m128i* w = reinterpret_cast<const __m128i*>(words);
  __m128i* to[2] = {reinterpret_cast<__m128i*>(low), reinterpret_cast<__m128i*>(high)};
  const __m128i low_even = _mm_unpacklo_epi8(w[0], w[1]);
  const __m128i low_odd = _mm_unpacklo_epi8(w[2], w[3]);
  const __m128i high_even = _mm_unpackhi_epi8(w[0], w[1]);
  const __m128i high_odd = _mm_unpackhi_epi8(w[2], w[3]);
  _mm_storeu_si128(to[0], _mm_unpacklo_epi16(low_even, low_odd));
  _mm_storeu_si128(to[0] + 1, _mm_unpackhi_epi16(low_even, low_odd));
  _mm_storeu_si128(to[1], _mm_unpacklo_epi16(high_even, high_odd));
  _mm_storeu_si128(to[1] + 1, _mm_unpackhi_epi16(high_even, high_odd));
}

// Two rows, four blocks. Rotated by four bits, a half of a word of the scales is two bytes in order.
NVFP4J_INLINE void unprepare_scales(const std::uint8_t* from, std::uint8_t* low,
                                    std::uint8_t* high) {
  std::uint64_t x;
  std::memcpy(&x, from, sizeof x);
  x = (x >> 4 & 0x0FFF0FFF0FFF0FFF) | (x << 12 & 0xF000F000F000F000);
  for (int block = 0; block < 4; ++block) {
    const int shift = block % 2 * 8 + block / 2 * 32;
    low[block] = decoded_scales.byte[x >> shift & 0xFF];
    high[block] = decoded_scales.byte[x >> (shift + 16) & 0xFF];
  }
}

void unprepare(const std::uint8_t* chunk, int row, std::int64_t chunks, std::uint8_t* codes,
               std::uint8_t* scales) {
  constexpr std::int64_t kCodes = kGemmChunk / 2;
  constexpr std::int64_t kScales = kGemmChunk / 16;
  for (; chunks > 0; --chunks, chunk += prepared::kChunkBytes) {
    for (int unit = 0; unit < prepared::kChunkUnits; ++unit, codes += 32, scales += 4) {
      for (int pair = 0; pair < 2; ++pair) {
        const int at = row / 2 + pair;
        unprepare_codes(chunk + 512 * unit + 64 * at, codes + 2 * pair * kCodes,
                        codes + (2 * pair + 1) * kCodes);
        unprepare_scales(chunk + prepared::kChunkCodes + 64 * unit + 8 * at,
                         scales + 2 * pair * kScales, scales + (2 * pair + 1) * kScales);
      }
    }
  }
}

bool bad_scale(const std::uint8_t* scales, std::int64_t n) {
  std::uint8_t largest = 0;
  for (std::int64_t i = 0; i < n; ++i) largest = scales[i] > largest ? scales[i] : largest;
  return largest >= 0x7F;
}
