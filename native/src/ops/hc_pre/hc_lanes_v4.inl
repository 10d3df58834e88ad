// SPDX-License-Identifier: Apache-2.0
// Eight F64 lanes with AVX-512. Included by hc_kernels.cpp inside a namespace of its own;
// hc_lanes_v3.inl and hc_lanes_baseline.inl have the same functions with the same bits.

struct Whole {
  __m512d v;
  NVFP4J_INLINE static Whole zero() { return {_mm512_setzero_pd()}; }
  NVFP4J_INLINE static Whole load(const float* x) { return {_mm512_cvtps_pd(_mm256_loadu_ps(x))}; }
  NVFP4J_INLINE static Whole load(const double* x) { return {_mm512_loadu_pd(x)}; }
};

NVFP4J_INLINE Whole plus(Whole a, Whole b) { return {_mm512_add_pd(a.v, b.v)}; }

// The product of two F32 numbers is exact.
NVFP4J_INLINE Whole plus_product(Whole sum, Whole a, Whole b) {
  return {_mm512_fmadd_pd(a.v, b.v, sum.v)};
}

// Lanes i and i + 4, then 2 and 1 apart.
NVFP4J_INLINE double sum(Whole a) {
  const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(a.v), _mm512_extractf64x4_pd(a.v, 1));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}
