// SPDX-License-Identifier: Apache-2.0
// A cache of plan_gemm().
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "ops/gemm/gemm_plan.hpp"

namespace nvfp4j {

/// The plans of a context's products, for one device and one thread at a time. A plan compares up to 18 configurations, which takes longer than all checks of a call, and a model has few shapes, again and again.
class GemmPlanCache {
 public:
  /// `device` outlives this.
  explicit GemmPlanCache(const CudaDeviceProperties& device) : device_(device) {}

  /// plan_gemm(), which is called where the shape is new, or two others of its set were asked for since. The reference holds until the next call.
  const GemmPlan& of(const GemmShape& shape) {
    Places& at = sets_[set_of(shape)];
    if (at.first.shape == shape) [[likely]]
      return at.first.plan;
    // The one used last comes first, and the other of the set stays: two shapes that take turns keep their places.
    const Entry first =
        at.second.shape == shape ? at.second : Entry{shape, plan_gemm(device_, shape)};
    at.second = at.first;
    at.first = first;
    return at.first.plan;
  }

  /// Whether of() would find it: for tests.
  bool contains(const GemmShape& shape) const {
    const Places& at = sets_[set_of(shape)];
    return at.first.shape == shape || at.second.shape == shape;
  }

 private:
  // No shape has zero groups: an entry that nobody has written is nobody's.
  struct Entry {
    GemmShape shape;
    GemmPlan plan;
  };
  struct Places {
    Entry first, second;
  };
  static constexpr unsigned kBits = 7;

  static std::size_t set_of(const GemmShape& shape) {
    std::uint64_t hash = 0;
    const auto mix = [&](std::int64_t value) {
      hash = (hash ^ static_cast<std::uint64_t>(value)) * 0x9E3779B97F4A7C15u;
      hash ^= hash >> 29;  // extents are multiples of powers of two: upper bits count below too
    };
    mix(shape.m);
    mix(shape.n);
    mix(shape.k);
    mix(shape.groups << 16 | shape.op << 11 | shape.a_kind << 9 | shape.w_layout << 7 |
        shape.path << 5 | shape.aligned << 2 | shape.swiglu << 1 | shape.batch_invariant);
    return static_cast<std::size_t>(hash >> (64 - kBits));
  }

  const CudaDeviceProperties& device_;
  std::array<Places, std::size_t{1} << kBits> sets_{};
};

}  // namespace nvfp4j
