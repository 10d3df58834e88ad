// SPDX-License-Identifier: Apache-2.0
// A validated dequantize call, as the CPU and CUDA implementations get it.
#pragma once
#include <cstdint>

namespace nvfp4j {

struct DequantizeArgs {
  const std::uint8_t* codes;
  const std::uint8_t* scales;
  const float* global_scales;
  int scale_layout;
  int global_scale_kind;
  std::int64_t rows;
  std::int64_t columns;
  void* output;
  int dtype;                   // NVFP4J_DTYPE_F32, _BF16 or _F16
  std::int64_t output_stride;  // elements
};

}  // namespace nvfp4j
