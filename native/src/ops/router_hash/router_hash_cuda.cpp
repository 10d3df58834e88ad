// SPDX-License-Identifier: Apache-2.0
#include "ops/router_hash/router_hash_cuda.hpp"

#if NVFP4J_WITH_CUDA
#include "ops/router_hash/router_hash_impl.hpp"

namespace nvfp4j {

int router_hash_cuda(const CudaLaunch& launch, const RouterHashArgs& args) {
  const RouterHashPlan plan = plan_router_hash(*launch.device, args);
  return plan.kernel == RouterHashKernel::kTiles ? router_hash_tiles(launch, args, plan)
                                                 : router_hash_rows(launch, args, plan);
}

const char* router_hash_cuda_path(const CudaDeviceProperties& device) {
  return device.major < 8
             ? nullptr
             : "generic: router_hash_tiles for many tokens where x, and W unless it is NVFP4, are "
               "BF16 at multiples of 16 bytes and shared memory holds 256 columns of all of W, "
               "else router_hash_rows; compute capability 8.0 or newer";
}
const char* router_hash_cuda_refusal(const CudaDeviceProperties& device) {
  return device.major < 8 ? "the CUDA kernels need compute capability 8.0 or newer" : nullptr;
}

int router_hash_cuda_warm_up(const CudaDeviceProperties& device) {
  const int status = router_hash_rows_warm_up();
  return status != 0 ? status : router_hash_tiles_warm_up(device);
}

std::int64_t router_hash_cuda_workspace_bytes(const CudaDeviceProperties& device, std::int64_t rows,
                                              std::int64_t columns) {
  return router_hash_workspace_bytes(device, rows, columns);
}

}  // namespace nvfp4j
#endif
