// SPDX-License-Identifier: Apache-2.0
// The values that sample compares, on the CPU and on CUDA devices: single IEEE operations in the header's order.
#pragma once
#include <cstdint>

#include "common/math.hpp"
#include "ops/sample/philox.hpp"

namespace nvfp4j {

// math::log of a positive normal number: the same bits, without what other arguments need.
NVFP4J_HD inline float log_of_normal(float x) {
  using namespace math::detail;
  const std::uint32_t b = bits(x);
  const std::uint32_t shifted = split(b);
  return log_of(add(from_bits(b - shifted), -1.0f), shifted);
}

// log(E) with E = -log(u), u = (floor(r / 512) + 0.5) * 2^-23. That is exact: 1 + floor(r / 512) * 2^-23, less 1 - 2^-24. u is from 2^-24 to 1 - 2^-24, so that E is from 2^-24 to 16.7: both are normal.
NVFP4J_HD inline float log_exponential(std::uint32_t r) {
  using namespace math::detail;
  const float u = add(from_bits(0x3F800000u | r >> 9), -0x1.FFFFFEp-1f);
  return log_of_normal(-log_of_normal(u));
}

// Whether noise is positive and finite.
NVFP4J_HD inline bool usable_noise(float e) {
  return math::detail::bits(e) - 1u < math::detail::kInfinity - 1u;
}

// A number that is not a NaN as an integer of the same order; both zeros are one. From 0x007FFFFF (-infinity) to 0xFF800000.
NVFP4J_HD inline std::uint32_t ordered_bits(float v) {
  using namespace math::detail;
  const std::uint32_t b = bits(add(v, 0.0f));  // -0 becomes +0
  return (b & kSign) != 0 ? ~b : b | kSign;
}

// What was found in some columns of a row, in one integer:
//   bits 32 to 63  ordered_bits() of the largest value, or kBadRow
//   bits 1 to 31   its column, so that the lowest has the largest bits
//   bit 0          whether a logit is not -infinity
// 0: no columns.
using SampleKey = std::uint64_t;

// More than any value: a logit is a NaN, or noise is not usable.
inline constexpr std::uint32_t kBadRow = 0xFFFFFFFFu;

NVFP4J_HD inline SampleKey sample_key(std::uint32_t ordered, std::uint32_t column, bool above) {
  return static_cast<SampleKey>(ordered) << 32 | (0x7FFFFFFFu - column) << 1 | (above ? 1u : 0u);
}
// Of the columns of both.
NVFP4J_HD inline SampleKey merge_keys(SampleKey a, SampleKey b) {
  return (a > b ? a : b) | ((a | b) & 1u);
}
NVFP4J_HD inline bool is_above(SampleKey key) { return (key & 1u) != 0; }
// Of all columns of a row.
NVFP4J_HD inline std::int32_t token_of(SampleKey key) {
  if (!is_above(key) || static_cast<std::uint32_t>(key >> 32) == kBadRow) return -1;
  return static_cast<std::int32_t>(0x7FFFFFFFu - static_cast<std::uint32_t>(key) / 2);
}

}  // namespace nvfp4j
