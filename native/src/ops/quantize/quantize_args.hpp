// SPDX-License-Identifier: Apache-2.0
// A validated quantize call, as the CPU and CUDA implementations get it.
#pragma once
#include <cstdint>

namespace nvfp4j {

struct QuantizeOutput {
  std::uint8_t* codes;    // [rows, columns/2]
  std::uint8_t* scales;   // in scale_layout
  float* global_scales;   // 1, or rows of them
  int scale_layout;       // NVFP4J_SCALE_LAYOUT_*
  int global_scale_kind;  // NVFP4J_GLOBAL_SCALE_TENSOR or _ROW
};

struct QuantizeRecipe {
  int global_scale;  // NVFP4J_GLOBAL_SCALE_DYNAMIC or _GIVEN
  int recipe;        // NVFP4J_RECIPE_*
  int zero_scale;    // NVFP4J_ZERO_SCALE_*
};

struct QuantizeArgs {
  const void* input;  // [input_rows, columns]
  int dtype;          // NVFP4J_DTYPE_BF16, _F16 or _F32
  std::int64_t input_rows;
  std::int64_t input_stride;   // elements
  std::int64_t rows;           // output rows: input_rows, or the number of gathered rows
  std::int64_t columns;        // a multiple of 16
  const std::int32_t* gather;  // nullptr, or [rows]
  QuantizeRecipe recipe;
  QuantizeOutput output;
};

}  // namespace nvfp4j
