// SPDX-License-Identifier: Apache-2.0
// The part of swiglu's validation that swiglu_quantize shares.
#pragma once
#include "common/tensor_checks.hpp"
#include "nvfp4j/swiglu.h"
#include "ops/swiglu/swiglu_args.hpp"

namespace nvfp4j {

struct CheckedSwigluInput {
  SwigluInput input;
  Buffer gate_up;
  Buffer weight;  // of 0 bytes where there is none
};

/// `name` is the options' name in sentences.
inline CheckedSwigluInput check_swiglu_input(const Place& place, const nvfp4j_tensor* gate_up,
                                             const nvfp4j_tensor* weight, const char* name,
                                             const nvfp4j_swiglu_options* options) {
  const char* op = place.op;
  const Matrix x =
      check_matrix(place, "gate_up", gate_up, dtype_set({NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}));
  if (x.columns % 2 != 0) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT,
         "%s: gate_up has %lld columns, expected an even number (gate and up of the same width)",
         op, static_cast<long long>(x.columns));
  }
  // The kernels count the columns of a row in 32 bits.
  if (x.columns / 2 > INT32_MAX) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: gate_up has %lld columns, expected at most %lld", op,
         static_cast<long long>(x.columns), 2LL * INT32_MAX);
  }
  CheckedSwigluInput checked{};
  const float* factors = nullptr;
  if (weight != nullptr) {
    const Vector w = check_vector(place, "weight", weight, dtype_set({NVFP4J_DTYPE_F32}));
    check_count(op, "weight", w, x.rows, "one per row of gate_up");
    checked.weight = w.buffer;
    factors = static_cast<const float*>(w.data);
  }
  check_struct(op, name, options);
  check_choice(op, name, "columns", options->columns, 2, "HALVES, INTERLEAVED");
  if (!(options->limit >= 0.0f && options->limit <= 3.402823466e38f)) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT,
         "%s: %s.limit is %g, expected 0 (no clamp) or a finite positive number", op, name,
         static_cast<double>(options->limit));
  }
  if (options->reserved != 0) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: %s.reserved is %d, expected 0", op, name,
         options->reserved);
  }
  checked.gate_up = x.buffer;
  checked.input = SwigluInput{x.data,        x.dtype, x.stride,         x.rows,
                              x.columns / 2, factors, options->columns, options->limit};
  return checked;
}

}  // namespace nvfp4j
