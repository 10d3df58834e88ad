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

// Of packets of eight columns each.
template <int N>
__device__ __forceinline__ float squares_of_packets(const uint4 (&packets)[N]) {
  float v[4];
#pragma unroll
  for (int p = 0; p < N; ++p) {
    float x[8];
    unpack<Bf16>(packets[p], x);
#pragma unroll
    for (int i = 0; i < 8; ++i)
      v[i % 4] = p == 0 && i < 4 ? __fmul_rn(x[i], x[i]) : __fmaf_rn(x[i], x[i], v[i % 4]);
  }
  return __fadd_rn(__fadd_rn(v[0], v[2]), __fadd_rn(v[1], v[3]));
}

// Of eight neighbouring lanes. Those next to each other last: where columns repeat every 16, sums of the others are alike and added without rounding.
__device__ __forceinline__ float sum_of_eight_lanes(float sum) {
#pragma unroll
  for (int i = 4; i > 0; i /= 2) sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, i));
  return sum;
}

// Eight columns of a collapsed row, from those of its streams.
__device__ __forceinline__ void collapse_packets(const uint4 (&x)[kHcStreams],
                                                 const float4& weights, float (&y)[8]) {
  const float w[kHcStreams] = {weights.x, weights.y, weights.z, weights.w};
#pragma unroll
  for (int j = 0; j < kHcStreams; ++j) {
    float v[8];
    unpack<Bf16>(x[j], v);
#pragma unroll
    for (int i = 0; i < 8; ++i) y[i] = j == 0 ? __fmul_rn(w[0], v[i]) : __fmaf_rn(w[j], v[i], y[i]);
  }
}

// A sum of numbers that may resemble each other, and then so do their roundings: what is rounded off is added up as well. (In F64 it takes longer.)
struct HcExactSum {
  float sum = 0.0f;
  float off = 0.0f;
  __device__ __forceinline__ void add(float x) {
    const float s = __fadd_rn(sum, x);
    const float added = __fadd_rn(s, -sum);
    const float lost = __fadd_rn(__fadd_rn(sum, -__fadd_rn(s, -added)), __fadd_rn(x, -added));
    off = __fadd_rn(off, lost);
    sum = s;
  }
};

// sum + rest, of many parts of a token that may resemble each other: then they should not all be rounded up, or all down. To each is added a part of half a unit of the last place, another one in each part. What F32 has stays as it is, but for powers of two, below
// which numbers lie closer; zeros and denormals have none added. Infinity may become NaN: both are reported.
__device__ __forceinline__ float hc_round(float sum, float rest, float dither) {
  const std::uint32_t rounded = __float_as_uint(__fadd_rn(sum, rest));
  const float unit = __uint_as_float(rounded & 0x7F800000u);
  return __fadd_rn(sum, __fmaf_rn(unit, dither, rest));
}
// Within +-2^-24, spread evenly over parts next to each other, however many: multiples of the golden section.
__device__ __forceinline__ float hc_dither(int part) {
  return static_cast<float>(static_cast<int>(static_cast<std::uint32_t>(part) * 0x9E3779B9u)) *
         0x1p-55f;
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
