// SPDX-License-Identifier: Apache-2.0
// Grid of the element-wise SwiGLU kernel.
#pragma once
#include <cstdint>

namespace nvfp4j {

inline constexpr int kSwigluThreads = 256;

struct SwigluPlan {
  bool blocks;          // 16 columns a thread with 16-byte accesses; else one
  std::uint32_t units;  // of a row
  std::int64_t grid;
};

// `vector`: rows, strides and columns allow 16-byte accesses of 16 columns.
inline SwigluPlan plan_swiglu(std::int64_t rows, std::int64_t columns, bool vector) {
  SwigluPlan plan;
  plan.blocks = vector && columns % 16 == 0;
  const std::int64_t units = plan.blocks ? columns / 16 : columns;
  plan.units = static_cast<std::uint32_t>(units);
  const std::int64_t wanted = (rows * units + kSwigluThreads - 1) / kSwigluThreads;
  plan.grid = wanted < 0x7fffffff ? wanted : 0x7fffffff;  // the kernel strides over what is left
  return plan;
}

}  // namespace nvfp4j
