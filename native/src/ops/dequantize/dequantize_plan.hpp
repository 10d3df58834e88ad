// SPDX-License-Identifier: Apache-2.0
// Grid of the dequantising kernel.
#pragma once
#include <cstdint>

namespace nvfp4j {

inline constexpr int kDequantizeThreads = 256;
inline constexpr int kDequantizeUnroll = 2;  // half blocks a thread

struct DequantizePlan {
  std::int64_t grid;
};

// A unit of work is half a block: 8 elements.
inline DequantizePlan plan_dequantize(std::int64_t rows, std::int64_t columns) {
  const std::int64_t units = rows * (columns / 8);
  const std::int64_t per_block = static_cast<std::int64_t>(kDequantizeThreads) * kDequantizeUnroll;
  return {(units + per_block - 1) / per_block};
}

}  // namespace nvfp4j
