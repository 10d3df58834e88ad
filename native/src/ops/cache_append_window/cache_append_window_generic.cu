// SPDX-License-Identifier: Apache-2.0
// cache_append_window on any device from compute capability 8.0 on. Few rows: bound by latency, two loads side by side (position and data) and a store behind the launch. Many: by memory bandwidth; each byte of the last rows is read once and written once.
// Rows are cut into units as large as alignment allows, a thread a unit; up to 256 threads share a row, and what they leave of a thread block takes further rows.
// NVIDIA H200, commit 508c04d40ccf, rows of 512 BF16: 1 row 1.1 us, 128 rows 1.4 us; cache_append 1.1 and 2.2 us.
#include "device/status.cuh"
#include "ops/cache_append/cache_rows.cuh"
#include "ops/cache_append_window/cache_append_window_cuda.hpp"
#include "ops/cache_append_window/cache_append_window_slot.hpp"

namespace nvfp4j {
namespace {

using namespace device;

struct WindowTarget {
  CacheTarget cache;
  CacheCounter position;
  DeviceStatus* status;
  std::uint32_t skipped;
  std::uint32_t slots;
};

template <typename Unit>
__global__ void __launch_bounds__(kCacheThreads) cache_append_window_kernel(const WindowTarget t) {
  await_predecessor();
  const std::int64_t position = load_counter(t.position);
  CacheWalk<Unit> walk(t.cache);
  if (position < 0) {
    if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) {
      report(t.status, NVFP4J_OP_CACHE_APPEND_WINDOW, NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, -1, -1);
    }
    return;
  }
  const std::uint32_t first = first_slot(position, t.skipped, t.slots);
  walk.store([&](std::int64_t i) { return slot_of(first, i, t.slots); });
}

const void* kernel_of(int unit) { return NVFP4J_CACHE_KERNEL(cache_append_window_kernel, unit); }

}  // namespace

int cache_append_window_cuda(const CudaLaunch& launch, const CacheAppendWindowArgs& args) {
  const CachePlan plan = plan_cache(args.copy, args.written);
  WindowTarget t = {cache_target(args.copy, args.written, plan), args.position, launch.status,
                    args.skipped, args.slots};
  void* arguments[] = {&t};
  return launch_programmatic(
      kernel_of(plan.unit), launch,
      dim3(static_cast<unsigned>(plan.grid_x), static_cast<unsigned>(plan.grid_y)), plan.threads, 0,
      arguments);
}

const char* cache_append_window_cuda_path(const CudaDeviceProperties& device) {
  return device.major < 8 ? nullptr
                          : "generic: cache_append_window_generic, compute capability 8.0 or newer";
}
const char* cache_append_window_cuda_refusal(const CudaDeviceProperties& device) {
  return device.major < 8 ? "the CUDA kernels need compute capability 8.0 or newer" : nullptr;
}

int cache_append_window_cuda_warm_up(const CudaDeviceProperties&) {
  for (const int unit : {1, 2, 4, 8, 16}) {
    const cudaError_t status = load_kernel(kernel_of(unit));
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

std::int64_t cache_append_window_cuda_workspace_bytes(const CudaDeviceProperties&, std::int64_t,
                                                      std::int64_t) {
  return 0;
}

}  // namespace nvfp4j
