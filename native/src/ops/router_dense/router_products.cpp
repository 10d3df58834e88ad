// SPDX-License-Identifier: Apache-2.0
#include "ops/router_dense/router_products.hpp"

#include <algorithm>

#include "common/float_formats.hpp"
#include "common/math.hpp"
#include "common/names.hpp"
#include "nvfp4j/context.h"

namespace nvfp4j {
namespace {

constexpr int padded(int count) { return (count + 7) / 8 * 8; }

const void* element(const void* data, std::int64_t index, std::int32_t dtype) {
  return static_cast<const std::uint8_t*>(data) + index * dtype_bytes(dtype);
}

}  // namespace

RouterProducts::RouterProducts(const RouterActivations& x, const RouterGate& gate, Faults& faults)
    : x_(x),
      gate_(gate),
      faults_(faults),
      kernels_(hc_kernels[static_cast<int>(cpu_isa())]),
      decode_(dequantize_kernels[static_cast<int>(cpu_isa())]),
      global_scale_(gate.scales != nullptr ? *gate.global_scale : 1.0f) {
  if (!(global_scale_ > 0.0f && math::is_finite(global_scale_))) [[unlikely]]
    faults.report(NVFP4J_CAUSE_BAD_GLOBAL_SCALE, -1, -1);
}

void RouterProducts::block(RouterScratch& scratch, std::int64_t first_token, int tokens,
                           int first_expert, int experts, double* sums,
                           std::int64_t sums_stride) const noexcept {
  for (int t = 0; t < tokens; ++t) std::fill_n(sums + t * sums_stride, experts, 0.0);
  for (std::int64_t from = 0; from < x_.columns; from += kHcSegment) {
    const int count = static_cast<int>(std::min<std::int64_t>(kHcSegment, x_.columns - from));
    for (int t = 0; t < tokens; ++t) widen(first_token + t, from, count, scratch.x[t]);
    for (int e = 0; e < experts; e += kRouterRows) {
      const int rows = std::min(kRouterRows, experts - e);
      std::int64_t stride;
      const float* w = weights(scratch, first_expert + e, rows, from, count, &stride);
      kernels_.products(scratch.x, tokens, w, stride, rows, padded(count), sums + e, sums_stride);
    }
  }
}

void RouterProducts::listed(RouterScratch& scratch, std::int64_t token, const std::int32_t* experts,
                            int count, double* sums) const noexcept {
  std::fill_n(sums, count, 0.0);
  for (std::int64_t from = 0; from < x_.columns; from += kHcSegment) {
    const int columns = static_cast<int>(std::min<std::int64_t>(kHcSegment, x_.columns - from));
    widen(token, from, columns, scratch.x[0]);
    for (int j = 0; j < count; ++j) {
      if (experts[j] < 0) continue;
      std::int64_t stride;
      const float* w = weights(scratch, experts[j], 1, from, columns, &stride);
      kernels_.products(scratch.x, 1, w, stride, 1, padded(columns), sums + j, 1);
    }
  }
}

float RouterProducts::logit(double sum) const noexcept {
  const float z = static_cast<float>(sum);
  return math::canonical_nan(gate_.scales != nullptr ? z * global_scale_ : z);
}

// Zeros behind the last column: a kernel takes columns by eights.
void RouterProducts::widen(std::int64_t token, std::int64_t from, int count,
                           float* out) const noexcept {
  kernels_.widen(element(x_.data, token * x_.stride + from, x_.dtype), x_.dtype, count, out);
  std::fill(out + count, out + padded(count), 0.0f);
}

const float* RouterProducts::weights(RouterScratch& scratch, int expert, int rows,
                                     std::int64_t from, int count,
                                     std::int64_t* stride) const noexcept {
  if (gate_.dtype == NVFP4J_DTYPE_F32 && count % 8 == 0) {
    *stride = gate_.stride;
    return static_cast<const float*>(gate_.data) + expert * gate_.stride + from;
  }
  for (int r = 0; r < rows; ++r) {
    float* out = scratch.w[r];
    if (gate_.scales != nullptr) {
      decode(expert + r, from, count, out);
      continue;
    }
    kernels_.widen(element(gate_.data, (expert + r) * gate_.stride + from, gate_.dtype),
                   gate_.dtype, count, out);
    std::fill(out + count, out + padded(count), 0.0f);
  }
  *stride = kHcSegment;
  return scratch.w[0];
}

// Products of a code and a block scale are exact in F32.
void RouterProducts::decode(int expert, std::int64_t from, int count, float* out) const noexcept {
  const int blocks = count / 16;
  const std::uint8_t* scales = gate_.scales + expert * (x_.columns / 16) + from / 16;
  float factors[kHcSegment / 16];
  int bad = -1;
  for (int b = blocks - 1; b >= 0; --b) {
    const bool good = scales[b] < 0x7F;
    factors[b] = good ? e4m3_magnitude_to_f32(scales[b]) : float_of(kNan);
    if (!good) bad = b;
  }
  if (bad >= 0) [[unlikely]]
    faults_.report(NVFP4J_CAUSE_BAD_BLOCK_SCALE, expert, from + 16 * bad);
  const auto* codes = static_cast<const std::uint8_t*>(gate_.data);
  decode_(codes + expert * (x_.columns / 2) + from / 2, factors, blocks, out, NVFP4J_DTYPE_F32);
}

}  // namespace nvfp4j
