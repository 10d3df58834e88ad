// SPDX-License-Identifier: Apache-2.0
// A validated pack_activations call, as the CPU and CUDA implementations get it.
#pragma once
#include <cstdint>

namespace nvfp4j {

struct PackActivationsArgs {
  const std::uint8_t* codes;   // [m, k/2]
  const std::uint8_t* scales;  // [m, k/16]
  const float* global_scales;
  std::int64_t global_scales_count;
  std::int64_t m;
  std::int64_t k;
  std::uint16_t* packed;  // BF16 [m, k]
  float* packed_global_scales;
};

}  // namespace nvfp4j
