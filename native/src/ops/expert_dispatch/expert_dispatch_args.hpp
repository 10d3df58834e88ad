// SPDX-License-Identifier: Apache-2.0
// A validated expert_dispatch call, as the CPU and CUDA implementations get it.
#pragma once
#include <cstdint>

namespace nvfp4j {

struct ExpertDispatchArgs {
  const std::int32_t* indices;  // [tokens, k]
  std::int64_t indices_stride;  // elements from token to token
  const float* weights;         // [tokens, k], or NULL
  std::int64_t weights_stride;
  std::int32_t* offsets;  // [experts + 1]
  std::int32_t* rows;     // [tokens * k]
  std::int32_t* positions;
  std::int64_t positions_stride;
  float* row_weights;   // [tokens * k]; NULL exactly where weights is
  std::int64_t tokens;  // tokens * k is at most 2^31 - 1
  int k;                // 1 to 16
  int experts;          // 1 to 1024
};

}  // namespace nvfp4j
