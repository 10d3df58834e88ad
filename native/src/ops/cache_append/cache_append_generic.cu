// SPDX-License-Identifier: Apache-2.0
// cache_append on any device from compute capability 8.0 on. Bound and cut as cache_append_window is. The length is read by every thread block and advanced once, by the last thread block that has read it:
// they count themselves in the workspace. A grid of one thread block needs no count. Nobody waits for anybody.
#include "common/workspace_layout.hpp"
#include "device/status.cuh"
#include "ops/cache_append/cache_append_cuda.hpp"
#include "ops/cache_append/cache_rows.cuh"

namespace nvfp4j {
namespace {

using namespace device;

struct AppendTarget {
  CacheTarget cache;
  CacheCounter length;
  std::int64_t capacity;
  DeviceStatus* status;
  std::uint32_t* arrived;  // 0 between launches
};

template <typename Unit>
__global__ void __launch_bounds__(kCacheThreads) cache_append_kernel(const AppendTarget t) {
  await_predecessor();
  const std::int64_t n = load_counter(t.length);
  CacheWalk<Unit> walk(t.cache);
  const bool in_range = n >= 0 && n <= t.capacity;
  // The same in all threads of the grid, so that nobody counts where somebody does not.
  if (!in_range || t.cache.count > t.capacity - n) {
    if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) {
      report(t.status, NVFP4J_OP_CACHE_APPEND,
             in_range ? NVFP4J_CAUSE_CACHE_OVERFLOW : NVFP4J_CAUSE_INDEX_OUT_OF_RANGE,
             in_range ? t.capacity : -1, -1);
    }
    return;
  }
  walk.store([&](std::int64_t i) { return n + i; });
  __syncthreads();  // all threads have read the length
  if (threadIdx.x != 0) return;
  const std::uint32_t blocks = gridDim.x * gridDim.y;
  if (blocks > 1) {
    __threadfence();
    if (atomicAdd(t.arrived, 1u) != blocks - 1) return;
    __threadfence();
    *t.arrived = 0u;
  }
  const std::int64_t next = n + t.cache.count;
  if (t.length.wide) {
    *static_cast<std::int64_t*>(t.length.data) = next;
  } else {
    *static_cast<std::int32_t*>(t.length.data) = static_cast<std::int32_t>(next);
  }
}

const void* kernel_of(int unit) { return NVFP4J_CACHE_KERNEL(cache_append_kernel, unit); }

}  // namespace

int cache_append_cuda(const CudaLaunch& launch, const CacheAppendArgs& args) {
  const CachePlan plan = plan_cache(args.copy, args.tokens);
  AppendTarget t = {cache_target(args.copy, args.tokens, plan), args.length, args.capacity,
                    launch.status,
                    reinterpret_cast<std::uint32_t*>(static_cast<char*>(launch.workspace) +
                                                     kWorkspaceCacheAppendAt)};
  void* arguments[] = {&t};
  return launch_programmatic(
      kernel_of(plan.unit), launch,
      dim3(static_cast<unsigned>(plan.grid_x), static_cast<unsigned>(plan.grid_y)), plan.threads, 0,
      arguments);
}

const char* cache_append_cuda_path(const CudaDeviceProperties& device) {
  return device.major < 8 ? nullptr
                          : "generic: cache_append_generic, compute capability 8.0 or newer";
}
const char* cache_append_cuda_refusal(const CudaDeviceProperties& device) {
  return device.major < 8 ? "the CUDA kernels need compute capability 8.0 or newer" : nullptr;
}

int cache_append_cuda_warm_up(const CudaDeviceProperties&) {
  for (const int unit : {1, 2, 4, 8, 16}) {
    const cudaError_t status = load_kernel(kernel_of(unit));
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

std::int64_t cache_append_cuda_workspace_bytes(const CudaDeviceProperties&, std::int64_t,
                                               std::int64_t) {
  return kWorkspaceCountersAt + kWorkspaceCounterBytes;
}

}  // namespace nvfp4j
