// SPDX-License-Identifier: Apache-2.0
// A validated sinkhorn call, as the CPU and CUDA implementations get it.
#pragma once
#include <cstdint>

namespace nvfp4j {

struct SinkhornArgs {
  const float* logits;         // [tokens, n, n]
  std::int64_t logits_stride;  // elements from token to token
  float* comb;                 // [tokens, n, n]
  std::int64_t comb_stride;
  std::int64_t tokens;
  int n;  // 1 to NVFP4J_MAX_STREAMS
  int iterations;
  float eps;
};

}  // namespace nvfp4j
