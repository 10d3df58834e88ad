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

bool bad_scale(const std::uint8_t* scales, std::int64_t n) {
  std::uint8_t largest = 0;
  for (std::int64_t i = 0; i < n; ++i) largest = scales[i] > largest ? scales[i] : largest;
  return largest >= 0x7F;
}
