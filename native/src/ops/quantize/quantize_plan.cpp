// SPDX-License-Identifier: Apache-2.0
#include "ops/quantize/quantize_plan.hpp"

#include <algorithm>

#include "device/grid_barrier_layout.hpp"

namespace nvfp4j {
namespace {

// Blocks of a slice of kSlices, of units that take several blocks a thread to read.
constexpr std::int64_t kSliceOfLargeUnit = 128;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

std::uint32_t power_of_two_at_least(std::int64_t n) {
  std::uint32_t p = 1;
  while (p < n) p *= 2;
  return p;
}

}  // namespace

const char* quantize_refusal(const CudaDeviceProperties& device) {
  if (device.major < 8) return "the CUDA kernels need compute capability 8.0 or newer";
  if (device.cooperative_launch == 0) return "the device does not support cooperative launches";
  return nullptr;
}

std::int64_t quantize_exchange_bytes(const CudaDeviceProperties& device) {
  return grid_exchange_bytes(device.sm_count);
}

QuantizePlan plan_quantize(const CudaDeviceProperties& device, const QuantizeProblem& problem) {
  const std::int64_t row_blocks = problem.columns / 16;
  const std::int64_t blocks = problem.rows * row_blocks;
  const int max_hold = quantize_max_hold(problem.element_bytes);
  const bool sm90 = runs_sm90a(device) && problem.aligned;
  QuantizePlan plan = {};
  plan.hold = 1;
  plan.units = 1;
  plan.group = 1;
  if (!problem.dynamic) {
    plan.kernel = QuantizeKernel::kGiven;
    plan.threads = kQuantizeGivenThreads;
    plan.grid = ceil_div(blocks, plan.threads);
    return plan;
  }
  // `units` scales of `unit` blocks each.
  const std::int64_t units = problem.per_row ? problem.rows : 1;
  const std::int64_t unit = problem.per_row ? row_blocks : blocks;
  if (problem.per_row && row_blocks <= 32) {
    plan.kernel = QuantizeKernel::kShortRows;
    plan.threads = kQuantizeShortRowThreads;
    plan.group = power_of_two_at_least(row_blocks);
    plan.grid = ceil_div(problem.rows, plan.threads / plan.group);
    return plan;
  }
  // What is computed (SwiGLU) is not computed again by every thread block.
  const std::int64_t slices_at_most =
      problem.computed()
          ? kQuantizeSliceThreads
          : std::clamp<std::int64_t>(kSliceOfLargeUnit * device.sm_count, kQuantizeSliceThreads,
                                     kQuantizeSliceThreads * kQuantizeSliceHold);
  if (unit <= slices_at_most && units <= 2 * device.sm_count) {
    plan.kernel = QuantizeKernel::kSlices;
    plan.hold = unit <= kQuantizeSliceThreads ? 1 : kQuantizeSliceHold;
    plan.threads = static_cast<int>(ceil_div(ceil_div(unit, plan.hold), 32) * 32);
    // Enough thread blocks for the encoding to take little, where multiprocessors are idle; more would only read.
    const std::int64_t wanted = problem.computed() ? 1
                                : plan.hold == 1   ? 4
                                                   : ceil_div(unit, kSliceOfLargeUnit);
    const std::int64_t parts =
        std::clamp<std::int64_t>(device.sm_count / units, ceil_div(unit, plan.threads), wanted);
    plan.group = static_cast<std::uint32_t>(ceil_div(unit, parts));
    plan.grid = ceil_div(unit, plan.group);
    plan.units = units;
    return plan;
  }
  if (!problem.per_row &&
      unit <= static_cast<std::int64_t>(kQuantizeGridThreads) * device.sm_count) {
    plan.kernel = QuantizeKernel::kSmallGrid;
    // Small thread blocks start sooner, few meet sooner; there are as many as multiprocessors at most.
    constexpr std::int64_t kHalf = kQuantizeGridThreads / 2;
    plan.threads = static_cast<int>(unit <= std::min<std::int64_t>(7168, kHalf * device.sm_count)
                                        ? kHalf
                                        : kQuantizeGridThreads);
    plan.grid = ceil_div(unit, plan.threads);
    return plan;
  }
  // A row in shared memory, if three of them fit on a multiprocessor (what is left of it is the thread blocks' own).
  if (problem.per_row && sm90 && problem.rows <= 0x7fffffff &&
      problem.row_bytes <= (device.shared_memory_per_sm - 8192) / 3) {
    plan.kernel = QuantizeKernel::kRowsBulk;
    // Two blocks a thread, or three of swiglu_quantize's, which have more to do.
    plan.threads = static_cast<int>(std::min<std::int64_t>(
        ceil_div(ceil_div(row_blocks, problem.computed() ? 3 : 2), 32) * 32, kQuantizeBulkThreads));
    plan.shared_bytes = static_cast<int>(problem.row_bytes);
    plan.grid = problem.rows;
    return plan;
  }
  if (problem.per_row) {
    // As many blocks a thread as there are registers for: fewer warps wait for a row's maximum.
    plan.kernel = QuantizeKernel::kRows;
    plan.hold = row_blocks <= 96 ? 1 : max_hold;
    plan.threads = static_cast<int>(std::min<std::int64_t>(
        ceil_div(ceil_div(row_blocks, plan.hold), 32) * 32, kQuantizeRowThreads));
    plan.grid = std::min<std::int64_t>(problem.rows, 0x7fffffff);
    return plan;
  }
  // Where a thread has no more than a few blocks, plain loads are quicker than a ring.
  const std::int64_t few =
      4ll * quantize_tensor_threads(problem.element_bytes, problem.computed()) * device.sm_count;
  if (sm90 && problem.flat && blocks > few) {
    plan.kernel = QuantizeKernel::kTensorRing;
    plan.threads = kQuantizeRingThreads;
    plan.grid = std::min<std::int64_t>(device.sm_count, ceil_div(blocks, kQuantizeRingThreads));
    return plan;
  }
  plan.kernel = QuantizeKernel::kTensorGrid;
  plan.threads = quantize_tensor_threads(problem.element_bytes, problem.computed());
  plan.grid = std::min<std::int64_t>(device.sm_count, ceil_div(blocks, plan.threads));
  const std::int64_t iterations = ceil_div(blocks, plan.threads * plan.grid);
  const std::int64_t slot = static_cast<std::int64_t>(plan.threads) * 16 * problem.element_bytes;
  plan.parked = static_cast<int>(
      std::clamp<std::int64_t>(iterations - 1, 0, quantize_parking_bytes(device) / slot));
  plan.shared_bytes = static_cast<int>(plan.parked * slot);
  return plan;
}

}  // namespace nvfp4j
