// SPDX-License-Identifier: Apache-2.0
// The input side of a validated swiglu or swiglu_quantize call, as the CPU and CUDA implementations get it.
#pragma once
#include <cstdint>

namespace nvfp4j {

struct SwigluInput {
  const void* gate_up;  // [rows, 2*columns]
  int dtype;            // NVFP4J_DTYPE_BF16 or _F32
  std::int64_t stride;  // elements
  std::int64_t rows;
  std::int64_t columns;  // I: columns of the result
  const float* weight;   // nullptr, or [rows]
  int layout;            // NVFP4J_SWIGLU_HALVES or _INTERLEAVED
  float limit;           // 0 = no clamp
};

struct SwigluArgs {
  SwigluInput input;
  void* output;  // dtype of the input
  std::int64_t output_stride;
};

}  // namespace nvfp4j
