// SPDX-License-Identifier: Apache-2.0
#include "ops/router_dense/router_dense_cuda.hpp"

#if NVFP4J_WITH_CUDA
#include "ops/router_dense/router_dense_impl.hpp"

namespace nvfp4j {

int router_dense_cuda(const CudaLaunch& launch, const RouterDenseArgs& args) {
  const RouterPlan plan = plan_router_dense(*launch.device, args);
  return plan.kernel == RouterKernel::kWgmma ? router_dense_wgmma(launch, args, plan)
                                             : router_dense_generic(launch, args, plan);
}

const char* router_dense_cuda_path(const CudaDeviceProperties& device) {
  if (runs_sm90a(device)) {
    return "sm_90: router_wgmma for more than 64 tokens and up to 512 experts where x is BF16 at "
           "multiples of 16 bytes and W is too, or NVFP4, else router_dense_generic; compute "
           "capability 9.0";
  }
  return device.major < 8 ? nullptr
                          : "generic: router_dense_generic, compute capability 8.0 or newer";
}
const char* router_dense_cuda_refusal(const CudaDeviceProperties& device) {
  return device.major < 8 ? "the CUDA kernels need compute capability 8.0 or newer" : nullptr;
}

int router_dense_cuda_warm_up(const CudaDeviceProperties& device) {
  const int status = router_dense_generic_warm_up();
  return status != 0 || !runs_sm90a(device) ? status : router_dense_wgmma_warm_up();
}

std::int64_t router_dense_cuda_workspace_bytes(const CudaDeviceProperties&, std::int64_t rows,
                                               std::int64_t) {
  const std::int64_t logits =
      std::min<std::int64_t>(rows, kRouterScratchBytes) * (4 * NVFP4J_MAX_EXPERTS);
  return kWorkspaceExchangeBytes + std::min(logits, kRouterScratchBytes);
}

}  // namespace nvfp4j
#endif
