// SPDX-License-Identifier: Apache-2.0
// Plans that have been made before.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "ops/gemm/gemm_plan.hpp"

namespace nvfp4j {

/// The plans of a context's products. A plan compares some twenty configurations, which takes longer than all checks of a call, and a model has few shapes, again and again. Of one device, and for one thread at a time.
class GemmPlans {
 public:
  /// plan_gemm(), which is asked where it has not been, or where another shape has taken the place since.
  const GemmPlan& of(const CudaDeviceProperties& device, const GemmShape& shape) {
    Entry& entry = entries_[place_of(shape)];
    if (entry.shape != shape) [[unlikely]]
      entry = {shape, plan_gemm(device, shape)};
    return entry.plan;
  }

 private:
  // No shape has zero groups: an entry that nobody has written is nobody's.
  struct Entry {
    GemmShape shape;
    GemmPlan plan;
  };
  static constexpr unsigned kBits = 6;

  static std::size_t place_of(const GemmShape& shape) {
    // Extents are multiples of powers of two, so upper bits must count: the last multiplication brings all of them to the top.
    std::uint64_t hash = static_cast<std::uint64_t>(shape.m);
    for (const std::int64_t value :
         {shape.n, shape.k, shape.groups, std::int64_t{shape.w_layout} * 4 + shape.a_kind})
      hash = hash * 0x9E3779B97F4A7C15u + static_cast<std::uint64_t>(value);
    return static_cast<std::size_t>(hash * 0x9E3779B97F4A7C15u >> (64 - kBits));
  }

  std::array<Entry, std::size_t{1} << kBits> entries_{};
};

}  // namespace nvfp4j
