// SPDX-License-Identifier: Apache-2.0
// What the ops that write into caches share: rows that are copied as they are, and a scalar that is read where the rows are.
#pragma once
#include <cstdint>

namespace nvfp4j {

// `row_bytes` bytes from each of `rows` to a row of `cache`; strides in bytes.
struct CacheRows {
  const std::uint8_t* rows;
  std::int64_t rows_stride;
  std::uint8_t* cache;
  std::int64_t cache_stride;
  std::int64_t row_bytes;
};

// I32, or I64.
struct CacheCounter {
  void* data;
  bool wide;
};

}  // namespace nvfp4j
