// SPDX-License-Identifier: Apache-2.0
// A validated expert_combine call, as the CPU and CUDA implementations get it.
#pragma once
#include <cstdint>

namespace nvfp4j {

struct ExpertCombineArgs {
  const void* y;  // [rows, columns]
  std::int32_t dtype;
  std::int64_t y_stride;  // elements from row to row
  std::int64_t rows;
  const std::int32_t* positions;  // [tokens, k]
  std::int64_t positions_stride;
  const float* weights;  // [tokens, k], or NULL
  std::int64_t weights_stride;
  const void* shared;  // [tokens, columns], type of y, or NULL; may be out
  std::int64_t shared_stride;
  void* out;  // [tokens, columns]
  std::int32_t out_dtype;
  std::int64_t out_stride;
  std::int64_t tokens;
  std::int64_t columns;  // at most 2^31 - 1
  int k;                 // 1 to 16
};

}  // namespace nvfp4j
