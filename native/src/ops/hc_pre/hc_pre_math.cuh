// SPDX-License-Identifier: Apache-2.0
// What the kernels of hc_pre, hc_head and hc_post_pre make of their sums.
#pragma once
#include "common/math.hpp"
#include "device/packet.cuh"
#include "ops/hc_pre/hc_pre_target.cuh"
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

// What a tensor core cuts of a sum of 16 products, on average, of the sum.
inline constexpr double kHcCut = 0.36 * 0x1p-23;

// The sum of squares of eight columns: products of BF16 are exact, and three additions follow each other.
__device__ __forceinline__ float squares_of(const float (&x)[8]) {
  float v[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) v[i] = __fmaf_rn(x[i], x[i], __fmul_rn(x[i + 4], x[i + 4]));
  return __fadd_rn(__fadd_rn(v[0], v[2]), __fadd_rn(v[1], v[3]));
}

// A logit from the sum of its products and the mean of squares plus eps.
__device__ __forceinline__ float logit_of(double sum, double mean, float scale, float base) {
  const double m = sum * reciprocal_sqrt(mean);
  return static_cast<float>(m * static_cast<double>(scale) + static_cast<double>(base));
}

// The largest finite magnitude of a normalised row from the largest finite product of a weight and a column, before the row is rounded to its type: rounding keeps the order. Of a row with a NaN no element is finite.
__device__ __forceinline__ float normalised_maximum(float largest, float norm) {
  return norm == norm ? __fmul_rn(largest, norm) : 0.0f;
}

// The weights of eight neighbouring columns at a multiple of 16 bytes.
__device__ __forceinline__ void load_norm_weights(const HcPreTarget& a, std::int64_t column,
                                                  float (&g)[8]) {
  if (a.norm_f32) {
    const uint4 u = load(reinterpret_cast<const uint4*>(a.norm_weight + column * 4));
    const uint4 v = load(reinterpret_cast<const uint4*>(a.norm_weight + column * 4) + 1);
    unpack<F32, 8>({u.x, u.y, u.z, u.w, v.x, v.y, v.z, v.w}, g);
  } else {
    unpack<Bf16>(load(reinterpret_cast<const uint4*>(a.norm_weight + column * 2)), g);
  }
}

}  // namespace nvfp4j::device
