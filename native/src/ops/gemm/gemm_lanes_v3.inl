// SPDX-License-Identifier: Apache-2.0
// Sixteen F32 lanes with AVX2 and FMA; see gemm_lanes_v4.inl.

struct Lanes {
  __m256 low, high;
};
struct Words {
  __m256i low, high;
};

NVFP4J_INLINE Lanes zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
NVFP4J_INLINE Lanes load(const float* x) { return {_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8)}; }
NVFP4J_INLINE void store(float* x, Lanes a) {
  _mm256_storeu_ps(x, a.low);
  _mm256_storeu_ps(x + 8, a.high);
}
NVFP4J_INLINE Lanes times(Lanes a, Lanes b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
NVFP4J_INLINE Lanes plus_product(Lanes sum, Lanes a, Lanes b) {
  return {_mm256_fmadd_ps(a.low, b.low, sum.low), _mm256_fmadd_ps(a.high, b.high, sum.high)};
}
NVFP4J_INLINE Words load_codes(const std::uint8_t* codes) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + 32))};
}

template <int I>
NVFP4J_INLINE __m256 value8(__m256i codes) {
  constexpr float u = kSmaller;
  const __m256 magnitudes = _mm256_setr_ps(0, 0.5f * u, u, 1.5f * u, 2 * u, 3 * u, 4 * u, 6 * u);
  // Only the lowest three bits of an index count; the fourth is the sign.
  const __m256i nibble = _mm256_srli_epi32(codes, 4 * I);
  const __m256i sign = _mm256_and_si256(_mm256_slli_epi32(nibble, 28),
                                        _mm256_set1_epi32(static_cast<int>(0x80000000u)));
  return _mm256_xor_ps(_mm256_permutevar8x32_ps(magnitudes, nibble), _mm256_castsi256_ps(sign));
}
template <int I>
NVFP4J_INLINE Lanes value(Words codes) {
  return {value8<I>(codes.low), value8<I>(codes.high)};
}

NVFP4J_INLINE Lanes load_scales(const std::uint8_t* scales) {
  const __m256 up = _mm256_set1_ps(0x1p120f / kSmaller);
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(scales));
  const __m128i pairs = _mm_unpacklo_epi8(bytes, bytes);
  const __m256i low = _mm256_cvtepu8_epi32(pairs);
  const __m256i high = _mm256_cvtepu8_epi32(_mm_unpackhi_epi64(pairs, pairs));
  return {_mm256_mul_ps(_mm256_castsi256_ps(_mm256_slli_epi32(low, 20)), up),
          _mm256_mul_ps(_mm256_castsi256_ps(_mm256_slli_epi32(high, 20)), up)};
}

NVFP4J_INLINE float sum(Lanes a) {
  const __m256 eight = _mm256_add_ps(a.low, a.high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
