// SPDX-License-Identifier: Apache-2.0
// How thread blocks share the rows that go into a cache.
#pragma once
#include <cstdint>

#include "ops/cache_append/cache_args.hpp"

namespace nvfp4j {

inline constexpr int kCacheThreads = 256;

struct CachePlan {
  int unit;            // bytes of a load and a store: 16, 8, 4, 2 or 1
  std::int64_t units;  // of a row
  int lanes;           // threads of a row: a power of two up to kCacheThreads
  int rows;            // of a thread block
  int threads;         // of a thread block
  int grid_x;          // over rows; the kernel strides over what is left
  int grid_y;          // over the units of a row; likewise

  std::int64_t blocks() const { return std::int64_t{grid_x} * grid_y; }
};

inline CachePlan plan_cache(const CacheRows& c, std::int64_t count) {
  CachePlan p;
  // What everything is a multiple of.
  const std::uint64_t all = reinterpret_cast<std::uintptr_t>(c.rows) |
                            reinterpret_cast<std::uintptr_t>(c.cache) |
                            static_cast<std::uint64_t>(c.row_bytes | c.rows_stride) |
                            static_cast<std::uint64_t>(c.cache_stride) | 16u;
  p.unit = static_cast<int>(all & (~all + 1u));
  p.units = c.row_bytes / p.unit;
  p.lanes = 1;
  while (p.lanes < kCacheThreads && p.lanes < p.units) p.lanes *= 2;
  p.rows = 1;
  while (p.rows * p.lanes < kCacheThreads && p.rows < count) p.rows *= 2;
  p.threads = p.rows * p.lanes < 32 ? 32 : p.rows * p.lanes;
  p.rows = p.threads / p.lanes;
  constexpr std::int64_t kMaxGridX = 1 << 16;
  constexpr std::int64_t kMaxGridY = 1 << 10;
  const std::int64_t x = (count + p.rows - 1) / p.rows;
  const std::int64_t y = (p.units + p.lanes - 1) / p.lanes;
  p.grid_x = static_cast<int>(x < kMaxGridX ? x : kMaxGridX);
  p.grid_y = static_cast<int>(y < kMaxGridY ? y : kMaxGridY);
  return p;
}

}  // namespace nvfp4j
