// SPDX-License-Identifier: Apache-2.0
// A few small shapes that together reach every kernel of plan_quantize, so that a test under
// compute-sanitizer leaves none out. quantize_plan_test.cpp proves that they do, without a GPU.
#pragma once
#include <cstdint>

#include "ops/quantize/quantize_plan.hpp"

namespace nvfp4j::test {

/// NULL for a number behind the last kernel. A kernel that is added to the enum does not compile
/// here (-Wswitch) before it has a name, and then it wants a case.
constexpr const char* kernel_name(QuantizeKernel kernel) {
  switch (kernel) {
    case QuantizeKernel::kGiven:
      return "given";
    case QuantizeKernel::kShortRows:
      return "short rows";
    case QuantizeKernel::kRows:
      return "rows";
    case QuantizeKernel::kSlices:
      return "slices";
    case QuantizeKernel::kSmallGrid:
      return "small, a grid";
    case QuantizeKernel::kRowsBulk:
      return "rows in shared memory";
    case QuantizeKernel::kTensorGrid:
      return "tensor, a grid";
    case QuantizeKernel::kTensorRing:
      return "tensor, a ring";
  }
  return nullptr;
}

/// Whether an op on a device has the kernel. `computed`: swiglu_quantize.
constexpr bool has_kernel(const CudaDeviceProperties& device, QuantizeKernel kernel,
                          bool computed) {
  const bool sm90 = runs_sm90a(device);
  switch (kernel) {
    case QuantizeKernel::kRowsBulk:
      return sm90;
    case QuantizeKernel::kTensorRing:
      return sm90 && !computed;
    default:
      return true;
  }
}

/// Plans are asked for a device with so few multiprocessors: what is large is measured by their
/// number, and a large tensor would take racecheck hours. A kernel takes its grid as it comes.
inline constexpr int kFewMultiprocessors = 5;

struct QuantizeKernelCase {
  std::int64_t rows;
  std::int64_t columns;
  bool dynamic;
  bool per_row;
  std::int64_t pad;  // elements between two rows of the input: an odd number spoils the alignment
};

inline constexpr QuantizeKernelCase kQuantizeKernelCases[] = {
    {5, 272, false, false, 0},    // given
    {9, 48, true, true, 3},       // short rows: several in a warp
    {9, 512, true, true, 0},      // and one
    {3, 1040, true, true, 0},     // slices of a row
    {1, 7168, true, false, 0},    // slices of a tensor
    {10, 1024, true, false, 0},   // and of one that takes several blocks a thread to read
    {12, 1024, true, false, 0},   // small, a grid
    {12, 2064, true, true, 0},    // rows in shared memory, or in registers
    {12, 1040, true, true, 3},    // rows, a block a thread
    {12, 4112, true, true, 3},    // rows, several blocks a thread
    {12, 4096, true, false, 8},   // tensor, a grid: elements in registers
    {90, 4096, true, false, 8},   // and in shared memory
    {180, 4096, true, false, 3},  // and some read twice
    {90, 4096, true, false, 0},   // tensor, a ring: all elements held
    {400, 4096, true, false, 0}   // and many read twice
};

/// What the launchers ask plan_quantize for a case whose input begins at an aligned address.
constexpr QuantizeProblem problem_of(const QuantizeKernelCase& c, int element_bytes,
                                     bool computed) {
  const std::int64_t width = computed ? 2 * c.columns : c.columns;
  const bool aligned = (width + c.pad) * element_bytes % 16 == 0;
  return {c.rows,
          c.columns,
          c.dynamic,
          c.per_row,
          element_bytes,
          aligned,
          !computed && c.pad == 0 && aligned,
          width * element_bytes};
}

}  // namespace nvfp4j::test
