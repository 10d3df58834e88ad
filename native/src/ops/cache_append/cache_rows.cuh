// SPDX-License-Identifier: Apache-2.0
// Copying rows into a cache: each thread its units of its rows. The first unit is asked for before the thread knows where it goes, so that the load of the position or length and that of the data overlap.
#pragma once
#include "device/launch.cuh"
#include "device/ptx.cuh"
#include "ops/cache_append/cache_plan.hpp"

namespace nvfp4j {

// What a kernel knows of its plan.
struct CacheTarget {
  CacheRows copy;
  std::int64_t count;
  std::int64_t units;
  int lanes_log2;
};

inline CacheTarget cache_target(const CacheRows& copy, std::int64_t count, const CachePlan& plan) {
  int log2 = 0;
  while (1 << log2 < plan.lanes) ++log2;
  return {copy, count, plan.units, log2};
}

namespace device {

// The units of one thread, row by row.
template <typename Unit>
class CacheWalk {
 public:
  __device__ __forceinline__ explicit CacheWalk(const CacheTarget& t) : t_(t) {
    const int lanes = 1 << t.lanes_log2;
    const std::int64_t rows = static_cast<std::int64_t>(blockDim.x >> t.lanes_log2);
    first_ = static_cast<std::int64_t>(blockIdx.y) * lanes +
             static_cast<std::int64_t>(threadIdx.x & static_cast<unsigned>(lanes - 1));
    unit_step_ = static_cast<std::int64_t>(gridDim.y) * lanes;
    row_step_ = static_cast<std::int64_t>(gridDim.x) * rows;
    row_ = static_cast<std::int64_t>(blockIdx.x) * rows +
           static_cast<std::int64_t>(threadIdx.x >> t.lanes_log2);
    unit_ = first_;
    any_ = row_ < t.count && unit_ < t.units;
    value_ = Unit{};
    if (any_) fetch();
  }

  // Stores all of them; row i goes to row place(i) of the cache.
  template <typename PlaceOf>
  __device__ __forceinline__ void store(const PlaceOf& place) {
    if (!any_) return;
    for (;;) {
      const CacheRows& c = t_.copy;
      reinterpret_cast<Unit*>(c.cache + place(row_) * c.cache_stride)[unit_] = value_;
      unit_ += unit_step_;
      if (unit_ >= t_.units) {
        unit_ = first_;
        row_ += row_step_;
        if (row_ >= t_.count) return;
      }
      fetch();
    }
  }

 private:
  __device__ __forceinline__ void fetch() {
    value_ = static_cast<Unit>(
        load(reinterpret_cast<const Unit*>(t_.copy.rows + row_ * t_.copy.rows_stride) + unit_));
  }

  const CacheTarget& t_;
  std::int64_t first_;
  std::int64_t unit_step_;
  std::int64_t row_step_;
  std::int64_t row_;
  std::int64_t unit_;
  bool any_;
  Unit value_;
};

// I32 or I64, past L1: other thread blocks may write it at the end of the launch, and the kernel before may have.
__device__ __forceinline__ std::int64_t load_counter(const CacheCounter& c) {
  if (c.wide)
    return static_cast<std::int64_t>(load_shared_word(static_cast<const std::uint64_t*>(c.data)));
  std::int32_t v;
  asm volatile("ld.relaxed.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(c.data) : "memory");
  return v;
}

}  // namespace device

// The kernel of a unit, of those for uint4, uint2, and words of 4, 2 and 1 bytes.
#define NVFP4J_CACHE_KERNEL(KERNEL, UNIT)                                \
  ((UNIT) == 16  ? reinterpret_cast<const void*>(&KERNEL<uint4>)         \
   : (UNIT) == 8 ? reinterpret_cast<const void*>(&KERNEL<uint2>)         \
   : (UNIT) == 4 ? reinterpret_cast<const void*>(&KERNEL<std::uint32_t>) \
   : (UNIT) == 2 ? reinterpret_cast<const void*>(&KERNEL<std::uint16_t>) \
                 : reinterpret_cast<const void*>(&KERNEL<std::uint8_t>))

}  // namespace nvfp4j
