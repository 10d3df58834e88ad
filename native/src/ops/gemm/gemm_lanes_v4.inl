// SPDX-License-Identifier: Apache-2.0
// Sixteen F32 lanes with AVX-512. Included by gemm_kernels.cpp inside a namespace of its own;
// gemm_lanes_v3.inl and gemm_lanes_baseline.inl have the same functions with the same bits.

struct Lanes {
  __m512 v;
};
struct Words {
  __m512i v;
};

NVFP4J_INLINE Lanes zero() { return {_mm512_setzero_ps()}; }
NVFP4J_INLINE Lanes load(const float* x) { return {_mm512_loadu_ps(x)}; }
NVFP4J_INLINE void store(float* x, Lanes a) { _mm512_storeu_ps(x, a.v); }
NVFP4J_INLINE Lanes times(Lanes a, Lanes b) { return {_mm512_mul_ps(a.v, b.v)}; }
NVFP4J_INLINE Lanes plus_product(Lanes sum, Lanes a, Lanes b) {
  return {_mm512_fmadd_ps(a.v, b.v, sum.v)};
}
NVFP4J_INLINE Words load_codes(const std::uint8_t* codes) { return {_mm512_loadu_si512(codes)}; }

// kSmaller times the value of nibble I of every word.
template <int I>
NVFP4J_INLINE Lanes value(Words codes) {
  constexpr float u = kSmaller;
  const __m512 values = _mm512_setr_ps(0, 0.5f * u, u, 1.5f * u, 2 * u, 3 * u, 4 * u, 6 * u, -0.0f,
                                       -0.5f * u, -u, -1.5f * u, -2 * u, -3 * u, -4 * u, -6 * u);
  // Only the lowest four bits of an index count.
  return {_mm512_permutexvar_ps(_mm512_srli_epi32(codes.v, 4 * I), values)};
}

// Eight E4M3 scales from 0x00 to 0x7E divided by kSmaller, each in two neighbouring lanes. The
// byte's exponent and mantissa are those of an F32 that is 2^120 too small.
NVFP4J_INLINE Lanes load_scales(const std::uint8_t* scales) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(scales));
  const __m512i words = _mm512_cvtepu8_epi32(_mm_unpacklo_epi8(bytes, bytes));
  return {_mm512_mul_ps(_mm512_castsi512_ps(_mm512_slli_epi32(words, 20)),
                        _mm512_set1_ps(0x1p120f / kSmaller))};
}

// Lanes i and i + 8, then 4, 2 and 1 apart.
NVFP4J_INLINE float sum(Lanes a) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
