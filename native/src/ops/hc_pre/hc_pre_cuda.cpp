// SPDX-License-Identifier: Apache-2.0
#include "ops/hc_pre/hc_pre_cuda.hpp"

#if NVFP4J_WITH_CUDA
#include <algorithm>

#include "common/workspace_layout.hpp"
#include "ops/hc_pre/hc_pre_cuda_impl.hpp"

namespace nvfp4j {

// Of both kernels that have one.
constexpr std::int64_t kExchangeBytes = std::max(HcExchange::kBytes, HcWgmmaExchange::kBytes);
static_assert(kExchangeBytes <= kWorkspaceHcBytes);

int hc_pre_cuda(const CudaLaunch& launch, const HcPreArgs& args) {
  const HcPrePlan plan = plan_hc_pre(*launch.device, args);
  switch (plan.kernel) {
    case HcPreKernel::kSplit:
      return hc_pre_split(launch, args, plan);
    case HcPreKernel::kWgmma:
      return hc_pre_wgmma(launch, args, plan);
    default:
      return hc_pre_generic(launch, args, plan);
  }
}

const char* hc_pre_cuda_path(const CudaDeviceProperties& device) {
  if (hc_has_sm90(device)) {
    return "sm_90: hc_pre_split, of many tokens hc_pre_wgmma, where n is 4 and x is BF16 at "
           "multiples of 16 bytes, else hc_pre_generic; compute capability 9.0";
  }
  return device.major < 8 ? nullptr : "generic: hc_pre_generic, compute capability 8.0 or newer";
}
const char* hc_pre_cuda_refusal(const CudaDeviceProperties& device) {
  return device.major < 8 ? "the CUDA kernels need compute capability 8.0 or newer" : nullptr;
}

int hc_pre_cuda_warm_up(const CudaDeviceProperties& device) {
  int status = hc_pre_generic_warm_up();
  if (status != 0 || !hc_has_sm90(device)) return status;
  status = hc_pre_split_warm_up(device);
  return status != 0 ? status : hc_pre_wgmma_warm_up(device);
}

std::int64_t hc_pre_cuda_workspace_bytes(const CudaDeviceProperties& device, std::int64_t,
                                         std::int64_t) {
  return hc_has_sm90(device) ? kWorkspaceHcAt + kExchangeBytes : 0;
}

}  // namespace nvfp4j
#endif
