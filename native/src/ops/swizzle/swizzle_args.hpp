// SPDX-License-Identifier: Apache-2.0
// A validated swizzle or unswizzle call, as the CPU and CUDA implementations get it.
#pragma once
#include <cstdint>

namespace nvfp4j {

struct SwizzleArgs {
  std::uint8_t* linear;  // [rows, blocks]; read by swizzle, written by unswizzle
  std::uint8_t* swizzled;
  std::int64_t rows;
  std::int64_t blocks;         // K/16
  std::int64_t linear_stride;  // bytes
};

}  // namespace nvfp4j
