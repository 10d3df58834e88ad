// SPDX-License-Identifier: Apache-2.0
#include "ops/hc_pre/hc_pre_cuda.hpp"

#if NVFP4J_WITH_CUDA
#include "common/workspace_layout.hpp"
#include "ops/hc_pre/hc_pre_cuda_impl.hpp"

namespace nvfp4j {

static_assert(HcExchange::kBytes <= kWorkspaceHcBytes);

int hc_pre_cuda(const CudaLaunch& launch, const HcPreArgs& args) {
  const HcPrePlan plan = plan_hc_pre(*launch.device, args);
  return plan.kernel == HcPreKernel::kSplit ? hc_pre_split(launch, args, plan)
                                            : hc_pre_generic(launch, args, plan);
}

const char* hc_pre_cuda_path(const CudaDeviceProperties& device) {
  if (hc_has_split(device)) {
    return "sm_90: hc_pre_sm90 where n is 4 and x is BF16 at multiples of 16 bytes, else "
           "hc_pre_generic; compute capability 9.0";
  }
  return device.major < 8 ? nullptr : "generic: hc_pre_generic, compute capability 8.0 or newer";
}
const char* hc_pre_cuda_refusal(const CudaDeviceProperties& device) {
  return device.major < 8 ? "the CUDA kernels need compute capability 8.0 or newer" : nullptr;
}

int hc_pre_cuda_warm_up(const CudaDeviceProperties& device) {
  const int status = hc_pre_generic_warm_up();
  return status != 0 || !hc_has_split(device) ? status : hc_pre_split_warm_up(device);
}

std::int64_t hc_pre_cuda_workspace_bytes(const CudaDeviceProperties& device, std::int64_t,
                                         std::int64_t) {
  return hc_has_split(device) ? kWorkspaceGridBytes + HcExchange::kBytes : 0;
}

}  // namespace nvfp4j
#endif
