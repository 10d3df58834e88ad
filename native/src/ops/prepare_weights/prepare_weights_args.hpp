// SPDX-License-Identifier: Apache-2.0
// A validated prepare_weights call, as the CPU and CUDA implementations get it.
#pragma once
#include <cstdint>

namespace nvfp4j {

struct PrepareWeightsArgs {
  const std::uint8_t* codes;   // [groups, n, k/2]
  const std::uint8_t* scales;  // [groups, n, k/16]
  const float* global_scales;
  std::int64_t global_scales_count;
  std::int64_t groups;
  std::int64_t n;
  std::int64_t k;
  std::uint8_t* prepared;  // n*k/2 + n*k/16 bytes a group
  float* prepared_global_scales;
};

}  // namespace nvfp4j
