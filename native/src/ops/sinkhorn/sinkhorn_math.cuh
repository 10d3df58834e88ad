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

template <int P>
__device__ __forceinline__ void normalise_rows(float (&c)[P][P], float eps) {
#pragma unroll
  for (int j = 0; j < P; ++j) {
    const float r = reciprocal_rn(__fadd_rn(tree_sum(c[j]), eps));
#pragma unroll
    for (int k = 0; k < P; ++k) c[j][k] = __fmul_rn(c[j][k], r);
  }
}

template <int P>
__device__ __forceinline__ void normalise_columns(float (&c)[P][P], float eps) {
#pragma unroll
  for (int k = 0; k < P; ++k) {
    float column[P];
#pragma unroll
    for (int j = 0; j < P; ++j) column[j] = c[j][k];
    const float r = reciprocal_rn(__fadd_rn(tree_sum(column), eps));
#pragma unroll
    for (int j = 0; j < P; ++j) c[j][k] = __fmul_rn(c[j][k], r);
  }
}

// c: finite logits, then the result. Rows and columns from n on are 0 afterwards.
template <int P>
__device__ __forceinline__ void sinkhorn_thread(float (&c)[P][P], int n, int iterations,
                                                float eps) {
#pragma unroll
  for (int j = 0; j < P; ++j) {
    softmax_row(c[j], n, eps);
    if (j >= n) {
#pragma unroll
      for (int k = 0; k < P; ++k) c[j][k] = 0.0f;
    }
  }
  normalise_columns(c, eps);
#pragma unroll 1
  for (int i = 1; i < iterations; ++i) {
    normalise_rows(c, eps);
    normalise_columns(c, eps);
  }
}

// ---- a 4 x 4 matrix in two neighbouring lanes: the shortest chain --------------------------------------------------------

// Rows l and l + 2 in lane l of the two; by whole warps. Reciprocals take most of a normalisation, those near 1 less. And once all sums are near 1 they stay so: a row's new sum is a mean of the columns' reciprocals, so
// that the largest distance of a logarithm from 0 never grows (but for rounding: hence kSettled within what is allowed, and no more iterations than kMaxSettled).
struct SinkhornPair {
  float c[2][4];
  bool settled;  // the same in all lanes

  static constexpr float kSettled = 0x1p-7f;
  static constexpr int kMaxSettled = 4096;

  __device__ __forceinline__ void row_sums(float eps, float (&s)[2]) const {
#pragma unroll
    for (int j = 0; j < 2; ++j) s[j] = __fadd_rn(tree_sum(c[j]), eps);
  }
  __device__ __forceinline__ void column_sums(float eps, float (&s)[4]) const {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float half = __fadd_rn(c[0][k], c[1][k]);
      s[k] = __fadd_rn(__fadd_rn(half, __shfl_xor_sync(0xffffffffu, half, 1)), eps);
    }
  }
  __device__ __forceinline__ void scale_rows(const float (&r)[2]) {
#pragma unroll
    for (int i = 0; i < 8; ++i) c[i / 4][i % 4] = __fmul_rn(c[i / 4][i % 4], r[i / 4]);
  }
  __device__ __forceinline__ void scale_columns(const float (&r)[4]) {
#pragma unroll
    for (int i = 0; i < 8; ++i) c[i / 4][i % 4] = __fmul_rn(c[i / 4][i % 4], r[i % 4]);
  }

  // From finite logits, or others, which make NaNs.
  __device__ __forceinline__ void begin(float eps) {
#pragma unroll
    for (int j = 0; j < 2; ++j) softmax_row(c[j], 4, eps);
    float s[4];
    float r[4];
    column_sums(eps, s);
#pragma unroll
    for (int k = 0; k < 4; ++k) r[k] = reciprocal_rn(s[k]);
    scale_columns(r);
    settled = false;
  }

  // Up to `count` times rows, then columns; `left` of all are left, and less afterwards.
  __device__ __forceinline__ void iterate(float eps, int count, int& left) {
    count = min(count, left);
    left -= count;
#pragma unroll 1
    for (; count > 0 && !settled; --count) {
      float s[2];
      float t[4];
      float r[4];
      row_sums(eps, s);
      const float q[2] = {reciprocal_rn(s[0]), reciprocal_rn(s[1])};
      scale_rows(q);
      column_sums(eps, t);
#pragma unroll
      for (int k = 0; k < 4; ++k) r[k] = reciprocal_rn(t[k]);
      scale_columns(r);
      float far = fmaxf(fabsf(__fadd_rn(s[0], -1.0f)), fabsf(__fadd_rn(s[1], -1.0f)));
#pragma unroll
      for (int k = 0; k < 4; ++k) far = fmaxf(far, fabsf(__fadd_rn(t[k], -1.0f)));
      const bool near = far <= kSettled && c[0][0] == c[0][0] && left <= kMaxSettled;
      settled = __all_sync(0xffffffffu, near);
    }
#pragma unroll 1
    for (; count > 0; --count) {
      float s[2];
      float t[4];
      float r[4];
      row_sums(eps, s);
      const float q[2] = {reciprocal_rn_near_one(s[0]), reciprocal_rn_near_one(s[1])};
      scale_rows(q);
      column_sums(eps, t);
#pragma unroll
      for (int k = 0; k < 4; ++k) r[k] = reciprocal_rn_near_one(t[k]);
      scale_columns(r);
    }
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
