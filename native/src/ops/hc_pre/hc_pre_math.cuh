// SPDX-License-Identifier: Apache-2.0
// What the kernels of hc_pre, hc_head and hc_post_pre make of their sums.
#pragma once
#include "common/math.hpp"
#include "ops/sinkhorn/sinkhorn_math.cuh"

namespace nvfp4j::device {

// 1 / sqrt(t) to 2^-40, t > 0 within F32's normal range.
__device__ __forceinline__ double reciprocal_sqrt(double t) {
  float y;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(static_cast<float>(t)));
  const double d = y;
  return d * (1.5 - 0.5 * t * d * d);
}

// 1 / (1 + exp(-z)) as long as that is above 2^-99; below, 2^-99.
__device__ __forceinline__ float sigmoid(float z) {
  const float e = math::exp(-z);
  return reciprocal_rn(__fadd_rn(1.0f, e > 0x1p99f ? 0x1p99f : e));
}

__device__ __forceinline__ bool is_finite(float x) {
  return (__float_as_uint(x) & 0x7F800000u) != 0x7F800000u;
}

// A logit from the sum of its products and the mean of squares plus eps.
__device__ __forceinline__ float logit_of(double sum, double mean, float scale, float base) {
  const double m = sum * reciprocal_sqrt(mean);
  return static_cast<float>(m * static_cast<double>(scale) + static_cast<double>(base));
}

}  // namespace nvfp4j::device
