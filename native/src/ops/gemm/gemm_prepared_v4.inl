// SPDX-License-Identifier: Apache-2.0
// One row of A with prepared weights, with AVX-512. Included by gemm_kernels.cpp inside the namespace of that instruction set.
//
// A unit of four row pairs is 256 bytes: of each pair four words for each t of 0 to 3, those of rows 0 and 1, of columns 0 to 31 and 32 to 63 of the unit (h = 0, 1). With the words of a t side by side a vector has in lane 4 pair + 2 row + h the codes of
// columns 32 h + 8 j + 2 t and its neighbour, for j = 0 to 3: what lane l = 8 (unit mod 2) + 4 h + j of stream() adds up in eight steps, t by t. So each j has a vector of sums, whose lanes take the same additions in the same order.

NVFP4J_INLINE __m512i load_pairs(const std::uint8_t* from) { return _mm512_loadu_si512(from); }

// Pair J of every word, the two codes of a byte: s, e1, e0 and m of each at bits 15, 8, 7 and 6 of a half, whatever the other bits are.
template <int J>
NVFP4J_INLINE __m512i pair_of(__m512i w) {
  if constexpr (J == 0) return w;
  if constexpr (J == 1) return _mm512_xor_si512(_mm512_slli_epi32(w, 3), _mm512_slli_epi32(w, 2));
  if constexpr (J == 2) return _mm512_slli_epi32(w, 6);
  return _mm512_xor_si512(_mm512_srli_epi32(w, 4), _mm512_slli_epi32(w, 1));
}

// The sums of eight rows in a unit, of four j each.
struct UnitSums {
  Lanes of[4];
};

template <int J>
NVFP4J_INLINE void add_pair(UnitSums& sums, __m512i w, __m512i values, const float* a) {
  const __m512i pair = pair_of<J>(w);
  // kSmaller times the magnitudes as BF16, by three bits; then the sign: 0xEA is (pair & mask) | magnitude.
  const __m512i magnitude = _mm512_permutexvar_epi16(_mm512_srli_epi16(pair, 6), values);
  const __m512i both = _mm512_ternarylogic_epi32(
      pair, _mm512_set1_epi32(static_cast<int>(0x80008000u)), magnitude, 0xEA);
  const __m512 first = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
  const __m512 second =
      _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(static_cast<int>(0xFFFF0000u))));
  const auto columns = [](const float* x) {
    double two;
    std::memcpy(&two, x, sizeof two);
    return Lanes{_mm512_castpd_ps(_mm512_set1_pd(two))};
  };
  sums.of[J] = plus_product(sums.of[J], columns(a + 2 * J), {first});
  sums.of[J] = plus_product(sums.of[J], columns(a + 8 + 2 * J), {second});
}

template <int T>
NVFP4J_INLINE void add_words(UnitSums& sums, __m512i w, __m512i values, const float* a) {
  add_pair<0>(sums, w, values, a + 16 * T);
  add_pair<1>(sums, w, values, a + 16 * T);
  add_pair<2>(sums, w, values, a + 16 * T);
  add_pair<3>(sums, w, values, a + 16 * T);
}

// Scales of a unit of four row pairs, divided by kSmaller: of blocks 2 h, and of blocks 2 h + 1. `bad` gets the lanes with one that is.
NVFP4J_INLINE void unit_scales(const std::uint8_t* from, Lanes (&scales)[2], __mmask16& bad) {
  const __m512i source = _mm512_setr_epi32(0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5, 6, 7, 6, 7);
  const __m512i up = _mm512_setr_epi32(16, 16, 0, 0, 16, 16, 0, 0, 16, 16, 0, 0, 16, 16, 0, 0);
  const __m512i words = _mm512_permutexvar_epi32(
      source, _mm512_zextsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
  // The row's half of the word, uppermost: byte * 16 + 0x7000 there is the scale times 2^118.
  const __m512i x = _mm512_sllv_epi32(words, up);
  const __m512i exponent = _mm512_set1_epi32(0x70000000);
  const __m512i even =
      _mm512_or_si512(_mm512_and_si512(x, _mm512_set1_epi32(0x0FF00000)), exponent);
  const __m512i odd = _mm512_or_si512(
      _mm512_or_si512(_mm512_and_si512(_mm512_slli_epi32(x, 8), _mm512_set1_epi32(0x0F000000)),
                      _mm512_and_si512(_mm512_srli_epi32(x, 8), _mm512_set1_epi32(0x00F00000))),
      exponent);
  const __m512i nan = _mm512_set1_epi32(0x7FF00000);
  bad |= _mm512_cmpeq_epi32_mask(even, nan) | _mm512_cmpeq_epi32_mask(odd, nan);
  const Lanes down = {_mm512_set1_ps(0x1p-118f / kSmaller)};
  scales[0] = times({_mm512_castsi512_ps(even)}, down);
  scales[1] = times({_mm512_castsi512_ps(odd)}, down);
}

template <int... T>
NVFP4J_INLINE void add_unit(UnitSums& chunk, const std::uint8_t* codes, const std::uint8_t* scales,
                            __m512i values, const float* a, __mmask16& bad,
                            std::integer_sequence<int, T...>) {
  // Of four pairs the words of each t.
  const __m512i p[4] = {load_pairs(codes), load_pairs(codes + 64), load_pairs(codes + 128),
                        load_pairs(codes + 192)};
  const __m512i low[2] = {_mm512_shuffle_i32x4(p[0], p[1], 0x44),
                          _mm512_shuffle_i32x4(p[2], p[3], 0x44)};
  const __m512i high[2] = {_mm512_shuffle_i32x4(p[0], p[1], 0xEE),
                           _mm512_shuffle_i32x4(p[2], p[3], 0xEE)};
  const __m512i words[4] = {
      _mm512_shuffle_i32x4(low[0], low[1], 0x88), _mm512_shuffle_i32x4(low[0], low[1], 0xDD),
      _mm512_shuffle_i32x4(high[0], high[1], 0x88), _mm512_shuffle_i32x4(high[0], high[1], 0xDD)};
  UnitSums sums = {{zero(), zero(), zero(), zero()}};
  (add_words<T>(sums, words[T], values, a), ...);
  Lanes scale[2];
  unit_scales(scales, scale, bad);
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) chunk.of[j] = plus_product(chunk.of[j], sums.of[j], scale[j / 2]);
}

std::uint32_t stream_prepared(const float* a, const std::uint8_t* prepared, std::int64_t chunks,
                              float* sums) {
  alignas(64) static constexpr std::uint16_t kValues[32] = {
      0,      0x3B80, 0x3C00, 0x3C40, 0x3C80, 0x3CC0, 0x3D00, 0x3D40, 0,      0x3B80, 0x3C00,
      0x3C40, 0x3C80, 0x3CC0, 0x3D00, 0x3D40, 0,      0x3B80, 0x3C00, 0x3C40, 0x3C80, 0x3CC0,
      0x3D00, 0x3D40, 0,      0x3B80, 0x3C00, 0x3C40, 0x3C80, 0x3CC0, 0x3D00, 0x3D40};
  static_assert(kSmaller == 0x1p-7f, "0.5 * kSmaller is 0x3B80");
  const __m512i values = _mm512_load_si512(kValues);
  using Ts = std::make_integer_sequence<int, 4>;
  std::uint32_t bad_rows = 0;
  for (int half = 0; half < 2; ++half) {  // of the tile: four row pairs
    UnitSums chunk[2] = {{{zero(), zero(), zero(), zero()}}, {{zero(), zero(), zero(), zero()}}};
    __mmask16 bad = 0;
    const std::uint8_t* from = prepared;
    const float* columns = a;
    for (std::int64_t i = 0; i < chunks; ++i, from += prepared::kChunkBytes, columns += 128) {
      // What comes next, half of it each time.
      const std::uint8_t* next = from + chunks * prepared::kChunkBytes + half * 576;
      for (int line = 0; line < 576; line += 64) _mm_prefetch(next + line, _MM_HINT_T0);
      const std::uint8_t* codes = from + 256 * half;
      const std::uint8_t* scales = from + prepared::kChunkCodes + 32 * half;
      add_unit(chunk[0], codes, scales, values, columns, bad, Ts());
      add_unit(chunk[1], codes + 512, scales + 64, values, columns + 64, bad, Ts());
    }
    // The lanes of stream() 8, 4, 2 and 1 apart: units, h (neighbours here), j.
    Lanes of[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const __m512 x = _mm512_add_ps(chunk[0].of[j].v, chunk[1].of[j].v);
      of[j] = {_mm512_add_ps(x, _mm512_permute_ps(x, 0xB1))};
    }
    const __m512 x =
        _mm512_add_ps(_mm512_add_ps(of[0].v, of[2].v), _mm512_add_ps(of[1].v, of[3].v));
    alignas(64) float lanes[16];
    _mm512_store_ps(lanes, x);
    for (int row = 0; row < 8; ++row) {
      sums[8 * half + row] += lanes[2 * row];
      bad_rows |= static_cast<std::uint32_t>((bad >> (2 * row) & 3) != 0) << (8 * half + row);
    }
  }
  return bad_rows;
}

// Vectors of 16 lanes, one for each step of a lane of stream(), become for each unit and step [j][h].
void order_a(float* a, std::int64_t n) {
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  for (; n > 0; n -= kGemmStep, a += kGemmStep) {
    __m256 units[2][8];
    for (int unit = 0; unit < 2; ++unit) {
      for (int i = 0; i < 8; ++i)
        units[unit][i] = _mm256_permutevar8x32_ps(_mm256_loadu_ps(a + 16 * i + 8 * unit), order);
    }
    for (int unit = 0; unit < 2; ++unit) {
      for (int i = 0; i < 8; ++i) _mm256_storeu_ps(a + 64 * unit + 8 * i, units[unit][i]);
    }
  }
}
