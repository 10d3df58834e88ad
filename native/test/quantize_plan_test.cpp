// SPDX-License-Identifier: Apache-2.0
// Which kernels and grids quantize, swiglu and dequantize choose: functions of device and shape, so no GPU is needed.
#include "ops/quantize/quantize_plan.hpp"
#include "common/workspace_layout.hpp"

#include <set>

#include "check.hpp"
#include "device/grid_barrier_layout.hpp"
#include "device/scale_layout.cuh"
#include "nvfp4j/quantize.h"
#include "ops/dequantize/dequantize_plan.hpp"
#include "ops/swiglu/swiglu_plan.hpp"
#include "quantize_kernel_cases.hpp"

using namespace nvfp4j;

namespace {

constexpr CudaDeviceProperties kH100 = {0, 9, 0, 132, 232448, 233472, 52428800, 1, 0};
constexpr CudaDeviceProperties kA100 = {0, 8, 0, 108, 166912, 167936, 41943040, 1, 0};
constexpr CudaDeviceProperties kAda = {0, 8, 9, 128, 101376, 102400, 75497472, 1, 0};
constexpr CudaDeviceProperties kB200 = {0, 10, 0, 148, 232448, 233472, 132644864, 1, 0};

QuantizeProblem problem(std::int64_t rows, std::int64_t columns, bool dynamic, bool per_row,
                        bool flat = true, int bytes = 2) {
  return {rows, columns, dynamic, per_row, bytes, true, flat, columns * bytes};
}

// What every plan must keep, whatever it chose.
void check_plan(const CudaDeviceProperties& device, const QuantizeProblem& p,
                const QuantizePlan& plan) {
  const std::int64_t row_blocks = p.columns / 16;
  const std::int64_t blocks = p.rows * row_blocks;
  CHECK(plan.grid >= 1);
  CHECK(plan.grid <= 0x7fffffff);
  CHECK(plan.threads >= 32);
  CHECK(plan.threads <= 1024);
  CHECK_EQ(plan.threads % 32, 0);
  CHECK(plan.shared_bytes <= device.shared_memory_per_block_optin);
  if (plan.kernel != QuantizeKernel::kSlices) CHECK_EQ(plan.units, 1);
  switch (plan.kernel) {
    case QuantizeKernel::kGiven:
      CHECK(plan.grid * plan.threads >= blocks);
      CHECK(!p.dynamic);
      break;
    case QuantizeKernel::kShortRows:
      CHECK(plan.group >= row_blocks);
      CHECK(plan.group <= 32u);
      CHECK_EQ(plan.group & (plan.group - 1), 0u);
      CHECK(plan.grid * (plan.threads / static_cast<int>(plan.group)) >= p.rows);
      break;
    case QuantizeKernel::kRows:
      CHECK(p.per_row);
      CHECK(plan.grid <= p.rows);
      CHECK(plan.hold == 1 || plan.hold == quantize_max_hold(p.element_bytes));
      break;
    case QuantizeKernel::kSlices: {
      const std::int64_t unit = p.per_row ? row_blocks : blocks;
      CHECK_EQ(plan.units, p.per_row ? p.rows : 1);
      CHECK(plan.units <= 65535);               // the grid's other dimension
      CHECK(plan.threads * plan.hold >= unit);  // every thread block reads all of it
      CHECK(plan.threads >= static_cast<int>(plan.group));
      CHECK(plan.grid * plan.group >= unit);       // the slices cover it
      CHECK((plan.grid - 1) * plan.group < unit);  // and none is empty
      CHECK(plan.hold == 1 || plan.hold == kQuantizeSliceHold);
      break;
    }
    case QuantizeKernel::kSmallGrid:
      CHECK(!p.per_row);
      CHECK(plan.grid * plan.threads >= blocks);
      CHECK(plan.grid <= device.sm_count);  // co-resident
      break;
    case QuantizeKernel::kRowsBulk:
      CHECK(runs_sm90a(device));
      CHECK_EQ(plan.grid, p.rows);
      CHECK_EQ(static_cast<std::int64_t>(plan.shared_bytes), p.row_bytes);
      break;
    case QuantizeKernel::kTensorGrid:
      CHECK(!p.per_row);
      CHECK(plan.grid <= device.sm_count);
      CHECK(plan.shared_bytes <= quantize_parking_bytes(device));
      CHECK_EQ(plan.shared_bytes, plan.parked * plan.threads * 16 * p.element_bytes);
      break;
    case QuantizeKernel::kTensorRing:
      CHECK(runs_sm90a(device));
      CHECK(p.flat);
      CHECK(plan.grid <= device.sm_count);
      CHECK(plan.grid <=
            (blocks + plan.threads - 1) / plan.threads);  // every thread block has a chunk
      break;
  }
}

}  // namespace

TEST(quantize_plans_hold_for_many_shapes) {
  const std::int64_t rows[] = {1, 2, 3, 17, 64, 128, 129, 264, 265, 1000, 8192, 1 << 20};
  const std::int64_t columns[] = {16,   32,   48,   512,   528,   2048,  4096,
                                  7168, 8192, 8208, 16384, 18432, 40000, 1 << 20};
  for (const CudaDeviceProperties& device : {kH100, kA100, kAda, kB200}) {
    for (const std::int64_t m : rows) {
      for (const std::int64_t k : columns) {
        for (int mask = 0; mask < 16; ++mask) {
          const QuantizeProblem p = problem(m, k, mask & 1, mask & 2, mask & 4, mask & 8 ? 4 : 2);
          check_plan(device, p, plan_quantize(device, p));
        }
      }
    }
  }
}

TEST(quantize_exchanges_fit_the_workspace) {
  for (int multiprocessors = 1; multiprocessors <= 200; ++multiprocessors) {
    CudaDeviceProperties device = kAda;
    device.sm_count = multiprocessors;
    for (std::int64_t blocks = 1; blocks < 200'000; blocks += 1 + blocks / 16) {
      for (const int bytes : {2, 4}) {
        for (const bool flat : {false, true}) {
          const QuantizeProblem p = problem(1, 16 * blocks, true, false, flat, bytes);
          const QuantizePlan plan = plan_quantize(device, p);
          check_plan(device, p, plan);
          if (plan.kernel == QuantizeKernel::kSmallGrid ||
              plan.kernel == QuantizeKernel::kTensorGrid) {
            CHECK(grid_exchange_bytes(plan.grid) <= quantize_exchange_bytes(device));
            CHECK(quantize_exchange_bytes(device) <= kWorkspaceGridBytes);
          }
        }
      }
    }
  }
}

TEST(quantize_kernels_by_shape) {
  const auto kernel = [](const CudaDeviceProperties& d, const QuantizeProblem& p) {
    return static_cast<int>(plan_quantize(d, p).kernel);
  };
  CHECK_EQ(kernel(kH100, problem(8192, 7168, false, false)),
           static_cast<int>(QuantizeKernel::kGiven));
  CHECK_EQ(kernel(kH100, problem(8192, 7168, true, true)),
           static_cast<int>(QuantizeKernel::kRowsBulk));
  CHECK_EQ(kernel(kA100, problem(8192, 7168, true, true)), static_cast<int>(QuantizeKernel::kRows));
  CHECK_EQ(kernel(kH100, problem(8192, 7168, true, false)),
           static_cast<int>(QuantizeKernel::kTensorRing));
  CHECK_EQ(kernel(kH100, problem(8192, 7168, true, false, false)),
           static_cast<int>(QuantizeKernel::kTensorGrid));
  CHECK_EQ(kernel(kB200, problem(8192, 7168, true, false)),
           static_cast<int>(QuantizeKernel::kTensorGrid));
  CHECK_EQ(kernel(kH100, problem(1, 7168, true, false)), static_cast<int>(QuantizeKernel::kSlices));
  CHECK_EQ(kernel(kH100, problem(4, 7168, true, false)), static_cast<int>(QuantizeKernel::kSlices));
  CHECK_EQ(kernel(kH100, problem(64, 7168, true, false)),
           static_cast<int>(QuantizeKernel::kSmallGrid));
  CHECK_EQ(kernel(kH100, problem(64, 7168, true, true)), static_cast<int>(QuantizeKernel::kSlices));
  CHECK_EQ(kernel(kH100, problem(1000, 512, true, true)),
           static_cast<int>(QuantizeKernel::kShortRows));
}

// The GPU tests run these cases, also under compute-sanitizer: none of the kernels may be left out.
TEST(the_kernel_cases_reach_every_kernel) {
  for (CudaDeviceProperties device : {kH100, kA100}) {
    device.sm_count = test::kFewMultiprocessors;
    for (const int element_bytes : {2, 4}) {
      for (const bool computed : {false, true}) {
        std::set<QuantizeKernel> reached;
        for (const test::QuantizeKernelCase& c : test::kQuantizeKernelCases) {
          const QuantizeProblem p = test::problem_of(c, element_bytes, computed);
          CHECK_EQ(p.computed(), computed);
          reached.insert(plan_quantize(device, p).kernel);
        }
        int kernels = 0;
        for (; test::kernel_name(static_cast<QuantizeKernel>(kernels)) != nullptr; ++kernels) {
          const auto kernel = static_cast<QuantizeKernel>(kernels);
          check::equal(__FILE__, __LINE__, test::kernel_name(kernel), reached.count(kernel) != 0,
                       test::has_kernel(device, kernel, computed));
        }
      }
    }
  }
}

TEST(quantize_refuses_old_devices) {
  CudaDeviceProperties turing = kA100;
  turing.major = 7;
  turing.minor = 5;
  CHECK(quantize_refusal(turing) != nullptr);
  CHECK(quantize_refusal(kA100) == nullptr);
  CudaDeviceProperties alone = kA100;
  alone.cooperative_launch = 0;
  CHECK(quantize_refusal(alone) != nullptr);
  CHECK(runs_sm90a(kH100));
  CHECK(!runs_sm90a(kB200));
}

TEST(fast_division_is_division) {
  std::uint32_t state = 1;
  for (std::uint32_t divisor = 1; divisor < 5000; ++divisor) {
    const FastDivision f = FastDivision::of(divisor * (divisor % 7 == 0 ? 4099u : 1u));
    for (int i = 0; i < 200; ++i) {
      state = state * 1664525u + 1013904223u;
      std::uint32_t n = state >> 1;
      if (i % 4 == 0) n = n / f.divisor * f.divisor;                        // exact multiples
      if (i % 4 == 1 && n >= f.divisor) n = n / f.divisor * f.divisor - 1;  // and one below
      if (i == 0) n = 0x7fffffffu;
      const auto product =
          static_cast<std::uint32_t>(static_cast<std::uint64_t>(n) * f.multiplier >> 32);
      CHECK_EQ(f.multiplier == 0 ? n : product >> f.shift, n / f.divisor);
    }
  }
}

TEST(offsets_past_two_to_the_31) {
  // 2^20 rows of 2^14 columns: 2^34 elements, 2^30 scales; 2^22 rows of them pass 2^32.
  const std::int64_t tiles = (1 << 14) / 64;
  CHECK_EQ(swizzled_offset(0, 0, tiles), 0);
  CHECK_EQ(swizzled_offset((std::int64_t{1} << 22) - 1, (1 << 10) - 1, tiles),
           (std::int64_t{1} << 32) - 1);
  CHECK_EQ(swizzled_offset(std::int64_t{1} << 22, 0, tiles), std::int64_t{1} << 32);
  CHECK_EQ(plan_quantize(kH100, problem(std::int64_t{1} << 22, 1 << 14, false, false)).grid,
           std::int64_t{1} << 25);
  CHECK_EQ(plan_dequantize(std::int64_t{1} << 22, 1 << 14).grid, std::int64_t{1} << 24);
}

TEST(swiglu_plans) {
  CHECK(plan_swiglu(8, 48, true).blocks);
  CHECK(!plan_swiglu(8, 50, true).blocks);
  CHECK(!plan_swiglu(8, 48, false).blocks);
  CHECK_EQ(plan_swiglu(8192, 3072, true).grid, 8192 * 192 / kSwigluThreads);
  CHECK_EQ(plan_swiglu(1, 7, false).grid, 1);
  CHECK(plan_swiglu(std::int64_t{1} << 31, 1 << 14, false).grid <= 0x7fffffff);
}

int main(int count, char** arguments) { return check::main(count, arguments); }
