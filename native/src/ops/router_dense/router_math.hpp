// SPDX-License-Identifier: Apache-2.0
// What the routers compute behind the logits: the same bits on the CPU and on CUDA devices
// (io.github.nvfp4j.reference.RouterReference says the same in Java). Each operation is IEEE binary32, rounded
// to nearest even, without branches: a loop over experts vectorises.
#pragma once
#include <cstdint>

#include "common/math.hpp"

namespace nvfp4j {

namespace router_detail {

#if defined(__CUDA_ARCH__)
NVFP4J_HD inline float sqrt(float x) { return __fsqrt_rn(x); }
NVFP4J_HD inline float divide(float a, float b) { return __fdiv_rn(a, b); }
#else
NVFP4J_HD inline float sqrt(float x) { return __builtin_sqrtf(x); }
NVFP4J_HD inline float divide(float a, float b) { return a / b; }
#endif

}  // namespace router_detail

// sqrt(softplus(z)). softplus(z) = log(1 + e^z), and z itself from 20 on, where the difference is below half an ulp of z.
// score(-inf) = 0, score(inf) = inf, score(NaN) = NaN (0x7fc00000).
NVFP4J_HD inline float router_score(float z) {
  using namespace math::detail;
  const std::uint32_t softplus = bits(math::log1p(math::exp(z)));
  return math::canonical_nan(router_detail::sqrt(from_bits(select(z > 20.0f, bits(z), softplus))));
}

// The place of an expert in the order of choice, higher first: b descending, of equal ones the lower expert, NaN behind
// every number. The upper half ascends with b, in which -0 is +0; the lower half descends with the expert, so that no
// two keys are equal.
NVFP4J_HD inline std::uint64_t router_key(float b, int expert) {
  using namespace math::detail;
  const std::uint32_t i = bits(add(b, 0.0f));  // -0 + 0 is +0
  const std::uint32_t magnitude = i & kMagnitude;
  // Of a negative number all bits turn, of another one the sign: -inf becomes 0x007fffff, above the 0 of a NaN.
  const std::uint32_t ordered = i ^ select(i >= kSign, 0xffffffffu, kSign);
  return static_cast<std::uint64_t>(select(magnitude > kInfinity, 0u, ordered)) << 32 |
         ~static_cast<std::uint32_t>(expert);
}

// The expert of a key.
NVFP4J_HD inline int router_expert(std::uint64_t key) {
  return static_cast<int>(~static_cast<std::uint32_t>(key));
}

// The weight of a chosen expert; `sum` is that of the chosen experts' scores, in the order of choice.
NVFP4J_HD inline float router_weight(float score, float sum, float scale) {
  using namespace math::detail;
  return math::canonical_nan(mul(router_detail::divide(score, add(sum, 1e-20f)), scale));
}

}  // namespace nvfp4j
