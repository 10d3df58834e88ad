// SPDX-License-Identifier: Apache-2.0
// The part of validation that the ops that write into caches share.
#pragma once
#include "common/names.hpp"
#include "common/tensor_checks.hpp"
#include "ops/cache_append/cache_args.hpp"

namespace nvfp4j {

struct CheckedCache {
  Matrix cache;
  Matrix rows;
  CacheRows copy;
};

/// `cache`, and `rows` of its type and width, apart from each other.
inline CheckedCache check_cache(const Place& place, const nvfp4j_tensor* cache,
                                const nvfp4j_tensor* rows) {
  constexpr DtypeSet kTypes =
      dtype_set({NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F16, NVFP4J_DTYPE_U8});
  const char* op = place.op;
  const Matrix to = check_matrix(place, "cache", cache, kTypes);
  if (to.columns < 1) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: cache has 0 columns, expected 1 or more", op);
  }
  const Matrix from = check_matrix(place, "rows", rows, kTypes);
  if (from.dtype != to.dtype) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: rows has dtype %s, expected %s (the dtype of cache)",
         op, dtype_name(from.dtype), dtype_name(to.dtype));
  }
  check_shape(op, "rows", from, from.rows, to.columns, "the columns of cache");
  check_disjoint(op, to.buffer, from.buffer);
  const std::int64_t element = dtype_bytes(to.dtype);
  return CheckedCache{
      to, from,
      CacheRows{static_cast<const std::uint8_t*>(from.data), from.stride * element,
                static_cast<std::uint8_t*>(to.data), to.stride * element, to.columns * element}};
}

/// One I32 or I64 that shares no byte with the cache.
inline Vector check_counter(const Place& place, const char* name, const nvfp4j_tensor* tensor,
                            const Matrix& cache) {
  const Vector counter =
      check_vector(place, name, tensor, dtype_set({NVFP4J_DTYPE_I32, NVFP4J_DTYPE_I64}));
  check_count(place.op, name, counter, 1, "a scalar");
  check_disjoint(place.op, cache.buffer, counter.buffer);
  return counter;
}

}  // namespace nvfp4j
