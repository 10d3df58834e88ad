// SPDX-License-Identifier: Apache-2.0
// The part of sinkhorn's validation that the hyper-connection ops share.
#pragma once
#include "common/tensor_checks.hpp"
#include "nvfp4j/sinkhorn.h"

namespace nvfp4j {

/// 1 / (sum + eps) is then a normal number, whatever the sum: no kernel checks.
inline constexpr float kSmallestEps = 0x1p-100f;

inline void check_iterations(const char* op, const char* name, std::int32_t iterations) {
  if (iterations < 1) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: %s.iterations is %d, expected 1 or more", op, name,
         iterations);
  }
}

inline void check_eps(const char* op, const char* name, const char* field, float eps) {
  if (!(eps >= kSmallestEps && eps <= 1.0f)) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: %s.%s is %g, expected 2^-100 (7.9e-31) to 1", op, name,
         field, static_cast<double>(eps));
  }
}

/// n of a tensor of tokens.
inline int check_streams(const char* op, const char* name, std::int64_t n) {
  if (n < 1 || n > NVFP4J_MAX_STREAMS) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT,
         "%s: %s has n = %lld (its second dimension), expected 1 to %d", op, name,
         static_cast<long long>(n), NVFP4J_MAX_STREAMS);
  }
  return static_cast<int>(n);
}

/// Separate memory, or the very same elements.
inline void check_disjoint_or_in_place(const char* op, const Tokens& written, const Tokens& read) {
  const bool same = written.data == read.data && written.token_stride == read.token_stride &&
                    written.stream_stride == read.stream_stride;
  if (!same) check_disjoint(op, written.buffer, read.buffer);
}

}  // namespace nvfp4j
