// SPDX-License-Identifier: Apache-2.0
// The part of their validation that expert_dispatch and expert_combine share: matrices [T, k].
#pragma once
#include "common/tensor_checks.hpp"
#include "nvfp4j/experts.h"

namespace nvfp4j {

inline constexpr int kMaxSlots = 16;
inline constexpr int kMaxExperts = 1024;

/// k of a matrix [T, k].
inline int check_slots(const char* op, const char* name, const Matrix& matrix) {
  if (matrix.columns < 1 || matrix.columns > kMaxSlots) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT,
         "%s: %s has k = %lld (its second dimension), expected 1 to %d", op, name,
         static_cast<long long>(matrix.columns), kMaxSlots);
  }
  return static_cast<int>(matrix.columns);
}

struct SlotWeights {
  const float* data;  // NULL where there are none
  std::int64_t stride;
  Buffer buffer;  // of 0 bytes where there are none
};

/// The argument `weights`, one for each element of `slots`; it may be NULL.
inline SlotWeights check_slot_weights(const Place& place, const nvfp4j_tensor* weights,
                                      const Matrix& slots, const char* why) {
  if (weights == nullptr) return SlotWeights{};
  const Matrix w = check_matrix(place, "weights", weights, dtype_set({NVFP4J_DTYPE_F32}));
  check_shape(place.op, "weights", w, slots.rows, slots.columns, why);
  return SlotWeights{static_cast<const float*>(w.data), w.stride, w.buffer};
}

}  // namespace nvfp4j
