// SPDX-License-Identifier: Apache-2.0
// Sinkhorn in registers, bit-equal to nvfp4j/sinkhorn.h: a small matrix in one thread, or a row in each of P lanes.
// A matrix of n < P is padded with zeros, which stay zeros and change no sum. Sums are trees over P, and v + 0 is v, so that every P >= n gives the same bits.
#pragma once
#include <cstdint>

#include "common/math.hpp"

namespace nvfp4j::device {

// 1 / s rounded to nearest, for s within [2^-100, 2^100]: __frcp_rn's own sequence without its range check. native/test/cuda/sinkhorn_test.cu compares the two over every mantissa.
__device__ __forceinline__ float reciprocal_rn(float s) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(s));
  return __fmaf_rn(__fmaf_rn(-s, y, 1.0f), y, y);
}

// The same for s within 2^-6 of 1: from 2 - s, whose error is (1 - s)^2, one step makes (1 - s)^4, at most 2^-24, and the last step is the same. Tested with it.
// 2 - s is rounded up: from 1, which is the nearest for s = 1 - 2^-24, no step would get to 1 + 2^-23.
__device__ __forceinline__ float reciprocal_rn_near_one(float s) {
  const float t = __fadd_ru(2.0f, -s);
  const float y = __fmaf_rn(__fmaf_rn(-s, t, 1.0f), t, t);
  return __fmaf_rn(__fmaf_rn(-s, y, 1.0f), y, y);
}

// The same for s within 2^-12.5 of 1: with d = 1 - s it is 1 + d + d^2 + ..., and what follows 1 + d is positive and less than half a unit of the last place. 1 + d fits F32, or is in the middle of two and then rounded up. Tested with it.
__device__ __forceinline__ float reciprocal_rn_next_to_one(float s) { return __fadd_ru(2.0f, -s); }

// How near to 1 sums are known to be: reciprocals take most of a normalisation, those near 1 less.
//
// Once all sums of an iteration are within [1 / (1 + d), 1 + d] they stay so: a sum is a mean of the reciprocals of those before, less their eps, and eps is added again. Rounding may add 10 * 2^-24 in each
// normalisation: hence the distance asked for is less than the one that a reciprocal allows, and the iterations that are left are limited.
enum class SinkhornSums { kAny, kNearOne, kNextToOne };

template <SinkhornSums SUMS>
__device__ __forceinline__ float reciprocal_rn(float s) {
  return SUMS == SinkhornSums::kAny       ? reciprocal_rn(s)
         : SUMS == SinkhornSums::kNearOne ? reciprocal_rn_near_one(s)
                                          : reciprocal_rn_next_to_one(s);
}
// Asked for and allowed: 2^-7 and 2^-6, for 4096 iterations; 2^-13 and 2^-12.5, which are 848 * 2^-24 apart, for 40 iterations.
template <SinkhornSums SUMS>
inline constexpr float kSinkhornDistance = SUMS == SinkhornSums::kNearOne ? 0x1p-7f : 0x1p-13f;
template <SinkhornSums SUMS>
inline constexpr int kSinkhornIterations = SUMS == SinkhornSums::kNearOne ? 4096 : 40;

// False of a NaN.
template <SinkhornSums SUMS>
__device__ __forceinline__ bool are_sums(float s) {
  static_assert(SUMS != SinkhornSums::kAny);
  return fabsf(__fadd_rn(s, -1.0f)) <= kSinkhornDistance<SUMS>;
}

template <int P>
__device__ __forceinline__ float tree_sum(const float (&v)[P]) {
  if constexpr (P == 1) {
    return v[0];
  } else {
    float half[P / 2];
#pragma unroll
    for (int i = 0; i < P / 2; ++i) half[i] = __fadd_rn(v[i], v[i + P / 2]);
    return tree_sum(half);
  }
}

// softmax + eps of the first n of P logits; the others become 0.
template <int P>
__device__ __forceinline__ void softmax_row(float (&c)[P], int n, float eps) {
  float largest = c[0];
#pragma unroll
  for (int k = 1; k < P; ++k) largest = k < n ? fmaxf(largest, c[k]) : largest;
#pragma unroll
  for (int k = 0; k < P; ++k) c[k] = k < n ? math::exp(__fadd_rn(c[k], -largest)) : 0.0f;
  const float r = reciprocal_rn(tree_sum(c));
#pragma unroll
  for (int k = 0; k < P; ++k) c[k] = k < n ? __fmaf_rn(c[k], r, eps) : 0.0f;
}

// ---- a matrix in a thread --------------------------------------------------------------------------------------------

// Whether all sums were near 1, as NEXT has it.
template <SinkhornSums SUMS, SinkhornSums NEXT, int P>
__device__ __forceinline__ bool normalise_columns(float (&c)[P][P], float eps) {
  bool near = true;
#pragma unroll
  for (int k = 0; k < P; ++k) {
    float column[P];
#pragma unroll
    for (int j = 0; j < P; ++j) column[j] = c[j][k];
    const float s = __fadd_rn(tree_sum(column), eps);
    near = near & are_sums<NEXT>(s);
    const float r = reciprocal_rn<SUMS>(s);
#pragma unroll
    for (int j = 0; j < P; ++j) c[j][k] = __fmul_rn(c[j][k], r);
  }
  return near;
}

// Rows, then columns.
template <SinkhornSums SUMS, SinkhornSums NEXT, int P>
__device__ __forceinline__ bool normalise(float (&c)[P][P], float eps) {
  bool near = true;  // not by logical operators, which would be branches
#pragma unroll
  for (int j = 0; j < P; ++j) {
    const float s = __fadd_rn(tree_sum(c[j]), eps);
    near = near & are_sums<NEXT>(s);
    const float r = reciprocal_rn<SUMS>(s);
#pragma unroll
    for (int k = 0; k < P; ++k) c[j][k] = __fmul_rn(c[j][k], r);
  }
  return normalise_columns<SUMS, NEXT>(c, eps) & near;
}

// c: finite logits, then the result. Rows and columns from n on are 0 afterwards.
template <int P>
__device__ __forceinline__ void sinkhorn_thread(float (&c)[P][P], int n, int iterations,
                                                float eps) {
  constexpr SinkhornSums kAny = SinkhornSums::kAny;
  constexpr SinkhornSums kNext = SinkhornSums::kNextToOne;
#pragma unroll
  for (int j = 0; j < P; ++j) {
    softmax_row(c[j], n, eps);
    if (j >= n) {
#pragma unroll
      for (int k = 0; k < P; ++k) c[j][k] = 0.0f;
    }
  }
  normalise_columns<kAny, kNext>(c, eps);
  // Bound by instructions: only now and then it asks how near sums are, and reciprocals near 1, which are more instructions, are left out.
  constexpr int kAsk = 4;
  int left = iterations - 1;
  for (bool settled = false; left > 0 && !settled;) {
#pragma unroll 1
    for (int i = min(left, kAsk); i > 1; --i, --left) normalise<kAny, kNext>(c, eps);
    const bool near = normalise<kAny, kNext>(c, eps);
    --left;
    // Padding's sums are eps. Lanes that have no token are elsewhere.
    settled = n == P && left <= kSinkhornIterations<kNext> && __all_sync(__activemask(), near);
  }
#pragma unroll 1
  for (; left > 0; --left) normalise<kNext, kNext>(c, eps);
}

// ---- a 4 x 4 matrix in two neighbouring lanes: the shortest chain --------------------------------------------------------

// Rows l and l + 2 in lane l of the two; by whole warps.
struct SinkhornPair {
  float c[2][4];

  __device__ __forceinline__ void row_sums(float eps, float (&s)[2]) const {
#pragma unroll
    for (int j = 0; j < 2; ++j) s[j] = __fadd_rn(tree_sum(c[j]), eps);
  }
  // What column sums are made of in the other lane.
  __device__ __forceinline__ void halves(float (&own)[4], float (&other)[4]) const {
#pragma unroll
    for (int k = 0; k < 4; ++k) own[k] = __fadd_rn(c[0][k], c[1][k]);
#pragma unroll
    for (int k = 0; k < 4; ++k) other[k] = __shfl_xor_sync(0xffffffffu, own[k], 1);
  }
  static __device__ __forceinline__ float column_sum(float own, float other, float eps) {
    return __fadd_rn(__fadd_rn(own, other), eps);
  }
  __device__ __forceinline__ void scale_rows(const float (&r)[2]) {
#pragma unroll
    for (int i = 0; i < 8; ++i) c[i / 4][i % 4] = __fmul_rn(c[i / 4][i % 4], r[i / 4]);
  }
  __device__ __forceinline__ void scale_columns(const float (&r)[4]) {
#pragma unroll
    for (int i = 0; i < 8; ++i) c[i / 4][i % 4] = __fmul_rn(c[i / 4][i % 4], r[i % 4]);
  }

  // From finite logits, or others, which make NaNs. t: the columns' sums.
  __device__ __forceinline__ void begin(float eps, float (&t)[4]) {
#pragma unroll
    for (int j = 0; j < 2; ++j) softmax_row(c[j], 4, eps);
    float own[4];
    float r[4];
    halves(own, r);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      t[k] = column_sum(own[k], r[k], eps);
      r[k] = reciprocal_rn(t[k]);
    }
    scale_columns(r);
  }

  // Rows, then columns, whose sums t are those of the iteration before, then of this one. Whether all sums of all lanes are near 1, as NEXT has it: asked for where other lanes' numbers are waited for.
  template <SinkhornSums SUMS, SinkhornSums NEXT>
  __device__ __forceinline__ bool iterate_once(float eps, float (&t)[4], bool trusted) {
    float s[2];
    float r[4];
    float own[4];
    row_sums(eps, s);
    const float q[2] = {reciprocal_rn<SUMS>(s[0]), reciprocal_rn<SUMS>(s[1])};
    scale_rows(q);
    halves(own, r);
    bool near = false;
    if constexpr (SUMS != SinkhornSums::kNextToOne) {
      // Not logical operators, which would be branches. Of NaNs a sum is one, a maximum is not.
      const float rows = __fadd_rn(fabsf(__fadd_rn(s[0], -1.0f)), fabsf(__fadd_rn(s[1], -1.0f)));
      float columns = 0.0f;
#pragma unroll
      for (int k = 0; k < 4; ++k) columns = fmaxf(columns, fabsf(__fadd_rn(t[k], -1.0f)));
      constexpr float kDistance = kSinkhornDistance<NEXT>;
      near = __all_sync(0xffffffffu, (rows <= kDistance) & (columns <= kDistance) & trusted);
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      t[k] = column_sum(own[k], r[k], eps);
      r[k] = reciprocal_rn<SUMS>(t[k]);
    }
    scale_columns(r);
    return near;
  }

  // Until nothing is left, or all sums are near 1, as NEXT has it.
  template <SinkhornSums SUMS, SinkhornSums NEXT>
  __device__ __forceinline__ void iterate_until(float eps, float (&t)[4], int& left) {
    bool near = false;
#pragma unroll 1
    while (left > 0 && !near) {
      --left;
      near = iterate_once<SUMS, NEXT>(eps, t, left <= kSinkhornIterations<NEXT>);
    }
  }

  // c: logits, then the result.
  __device__ __forceinline__ void run(float eps, int iterations) {
    constexpr SinkhornSums kNear = SinkhornSums::kNearOne;
    constexpr SinkhornSums kNext = SinkhornSums::kNextToOne;
    float t[4];
    begin(eps, t);
    int left = iterations - 1;
    iterate_until<SinkhornSums::kAny, kNear>(eps, t, left);
    iterate_until<kNear, kNext>(eps, t, left);
#pragma unroll 1
    for (; left > 0; --left) iterate_once<kNext, kNext>(eps, t, false);
  }
};

// ---- a row in each of P lanes ------------------------------------------------------------------------------------------

template <int P>
__device__ __forceinline__ void normalise_columns_of_lanes(float (&c)[P], float eps) {
#pragma unroll
  for (int k = 0; k < P; ++k) {
    float sum = c[k];
#pragma unroll
    for (int h = P / 2; h > 0; h /= 2) sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, h));
    c[k] = __fmul_rn(c[k], reciprocal_rn(__fadd_rn(sum, eps)));
  }
}

// By whole warps. `row`: of this lane, among P neighbouring lanes.
template <int P>
__device__ __forceinline__ void sinkhorn_lanes(float (&c)[P], int row, int n, int iterations,
                                               float eps) {
  softmax_row(c, n, eps);
  if (row >= n) {
#pragma unroll
    for (int k = 0; k < P; ++k) c[k] = 0.0f;
  }
  normalise_columns_of_lanes(c, eps);
#pragma unroll 1
  for (int i = 1; i < iterations; ++i) {
    const float r = reciprocal_rn(__fadd_rn(tree_sum(c), eps));
#pragma unroll
    for (int k = 0; k < P; ++k) c[k] = __fmul_rn(c[k], r);
    normalise_columns_of_lanes(c, eps);
  }
}

}  // namespace nvfp4j::device
