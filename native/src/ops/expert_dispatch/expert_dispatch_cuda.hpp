// SPDX-License-Identifier: Apache-2.0
// expert_dispatch on a CUDA device, for host code: no CUDA header. Integers returned are cudaError_t, 0 is success.
#pragma once
#include <cstdint>

#include "common/cuda_launch.hpp"
#include "ops/expert_dispatch/expert_dispatch_args.hpp"

namespace nvfp4j {

// Enqueues one kernel. The device of `launch` is current.
int expert_dispatch_cuda(const CudaLaunch& launch, const ExpertDispatchArgs& args);

// The implementation that a device gets and why, or nullptr; then expert_dispatch_cuda_refusal says why not.
const char* expert_dispatch_cuda_path(const CudaDeviceProperties& device);
const char* expert_dispatch_cuda_refusal(const CudaDeviceProperties& device);

// Loads the kernels onto the current device. Once per device, before the first launch.
int expert_dispatch_cuda_warm_up(const CudaDeviceProperties& device);

std::int64_t expert_dispatch_cuda_workspace_bytes(const CudaDeviceProperties& device,
                                                  std::int64_t rows, std::int64_t columns);

}  // namespace nvfp4j
