// SPDX-License-Identifier: Apache-2.0
// Eight F64 lanes with AVX2 and FMA; see hc_lanes_v4.inl.

struct Halves {
  __m256d low, high;
  NVFP4J_INLINE static Halves zero() { return {_mm256_setzero_pd(), _mm256_setzero_pd()}; }
  NVFP4J_INLINE static Halves load(const float* x) {
    return {_mm256_cvtps_pd(_mm_loadu_ps(x)), _mm256_cvtps_pd(_mm_loadu_ps(x + 4))};
  }
  NVFP4J_INLINE static Halves load(const double* x) {
    return {_mm256_loadu_pd(x), _mm256_loadu_pd(x + 4)};
  }
};

NVFP4J_INLINE Halves plus(Halves a, Halves b) {
  return {_mm256_add_pd(a.low, b.low), _mm256_add_pd(a.high, b.high)};
}
NVFP4J_INLINE Halves plus_product(Halves sum, Halves a, Halves b) {
  return {_mm256_fmadd_pd(a.low, b.low, sum.low), _mm256_fmadd_pd(a.high, b.high, sum.high)};
}

NVFP4J_INLINE double sum(Halves a) {
  const __m256d four = _mm256_add_pd(a.low, a.high);
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}
