// SPDX-License-Identifier: Apache-2.0
// Copying rows into a cache on the CPU.
#pragma once
#include <algorithm>
#include <cstring>

#include "common/cpu_pool.hpp"
#include "ops/cache_append/cache_args.hpp"

namespace nvfp4j {

inline std::int64_t read_counter(const CacheCounter& c) {
  return c.wide ? *static_cast<const std::int64_t*>(c.data)
                : *static_cast<const std::int32_t*>(c.data);
}
inline void write_counter(const CacheCounter& c, std::int64_t value) {
  if (c.wide) {
    *static_cast<std::int64_t*>(c.data) = value;
  } else {
    *static_cast<std::int32_t*>(c.data) = static_cast<std::int32_t>(value);
  }
}

/// Row i goes to row place(i) of the cache; no two to the same.
template <class PlaceOf>
void copy_cache_rows(CpuPool& pool, const CacheRows& c, std::int64_t count, const PlaceOf& place) {
  // A piece is at most this long, so that one long row is shared out too.
  constexpr std::int64_t kPiece = std::int64_t{1} << 20;
  const std::int64_t pieces = (c.row_bytes + kPiece - 1) / kPiece;
  const std::int64_t grain = std::max<std::int64_t>(1, kPiece / std::min(c.row_bytes, kPiece));
  pool.run(count * pieces, grain, [&](int, std::int64_t begin, std::int64_t end) noexcept {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t row = i / pieces;
      const std::int64_t from = i % pieces * kPiece;
      std::memcpy(c.cache + place(row) * c.cache_stride + from, c.rows + row * c.rows_stride + from,
                  static_cast<std::size_t>(std::min(kPiece, c.row_bytes - from)));
    }
  });
}

}  // namespace nvfp4j
