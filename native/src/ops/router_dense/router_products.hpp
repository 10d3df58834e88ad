// SPDX-License-Identifier: Apache-2.0
// The routers' dot products on the CPU: exact products added in F64. A sum has the same bits whatever is computed
// beside it, so that router_hash's logits are those of router_dense.
#pragma once
#include <cstdint>

#include "common/cpu_pool.hpp"
#include "common/faults.hpp"
#include "ops/dequantize/dequantize_cpu.hpp"
#include "ops/hc_pre/hc_kernels.hpp"
#include "ops/router_dense/router_args.hpp"

namespace nvfp4j {

inline constexpr int kRouterTokens = 32;  // that share a reading of W
inline constexpr int kRouterRows =
    12;  // of W, that stay in the first-level cache while all tokens pass
inline constexpr int kRouterSums = 12288;

/// Products that are worth waking a thread.
inline constexpr std::int64_t kRouterGrain = 524288;

/// Of a part of the pool.
struct RouterScratch {
  alignas(64) float x[kRouterTokens][kHcSegment];
  float w[kRouterRows][kHcSegment];
  double sums[kRouterSums];
};
static_assert(sizeof(RouterScratch) <= kCpuScratchBytes);

class RouterProducts {
 public:
  /// What is wrong with W is reported to `faults`.
  RouterProducts(const RouterActivations& x, const RouterGate& gate, Faults& faults);

  /// sums[t * sums_stride + e] of `tokens` tokens and `experts` experts, counted from `first_token` and `first_expert`.
  void block(RouterScratch& scratch, std::int64_t first_token, int tokens, int first_expert,
             int experts, double* sums, std::int64_t sums_stride) const noexcept;

  /// sums[j] of one token and the experts listed; where an expert is negative, 0.
  void listed(RouterScratch& scratch, std::int64_t token, const std::int32_t* experts, int count,
              double* sums) const noexcept;

  /// z of a sum.
  float logit(double sum) const noexcept;

 private:
  void widen(std::int64_t token, std::int64_t from, int count, float* out) const noexcept;
  const float* weights(RouterScratch& scratch, int expert, int rows, std::int64_t from, int count,
                       std::int64_t* stride) const noexcept;
  void decode(int expert, std::int64_t from, int count, float* out) const noexcept;

  const RouterActivations& x_;
  const RouterGate& gate_;
  Faults& faults_;
  const HcKernels& kernels_;
  const DequantizeKernel decode_;
  const float global_scale_;
};

}  // namespace nvfp4j
