// SPDX-License-Identifier: Apache-2.0
#include "ops/router_hash/router_hash_cuda.hpp"

#if NVFP4J_WITH_CUDA
#include "ops/router_hash/router_hash_impl.hpp"

namespace nvfp4j {

int router_hash_cuda(const CudaLaunch& launch, const RouterHashArgs& args) {
  const RouterHashPlan plan = plan_router_hash(*launch.device, args);
  return plan.cluster ? router_hash_cluster_sm90(launch, args, plan)
                      : router_hash_generic(launch, args, plan);
}

const char* router_hash_cuda_path(const CudaDeviceProperties& device) {
  if (router_has_sm90(device)) {
    return "sm_90: router_hash_cluster for few tokens where x, and W unless it is NVFP4, are BF16 "
           "at "
           "multiples of 16 bytes, else router_hash_generic; compute capability 9.0";
  }
  return device.major < 8 ? nullptr
                          : "generic: router_hash_generic, compute capability 8.0 or newer";
}
const char* router_hash_cuda_refusal(const CudaDeviceProperties& device) {
  return device.major < 8 ? "the CUDA kernels need compute capability 8.0 or newer" : nullptr;
}

int router_hash_cuda_warm_up(const CudaDeviceProperties& device) {
  const int status = router_hash_generic_warm_up();
  return status != 0 || !router_has_sm90(device) ? status : router_hash_cluster_warm_up();
}

std::int64_t router_hash_cuda_workspace_bytes(const CudaDeviceProperties&, std::int64_t,
                                              std::int64_t) {
  return 0;
}

}  // namespace nvfp4j
#endif
