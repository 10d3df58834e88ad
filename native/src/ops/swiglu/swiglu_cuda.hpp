// SPDX-License-Identifier: Apache-2.0
// swiglu on a CUDA device, for host code: no CUDA header. Integers returned are cudaError_t, 0 is success.
#pragma once
#include <cstdint>

#include "common/cuda_launch.hpp"
#include "ops/swiglu/swiglu_args.hpp"

namespace nvfp4j {

// Enqueues one kernel; none where there are no elements. The device of `launch` is current.
int swiglu_cuda(const CudaLaunch& launch, const SwigluArgs& args);

// The implementation that a device gets and why, or nullptr; then swiglu_cuda_refusal says why not.
const char* swiglu_cuda_path(const CudaDeviceProperties& device);
const char* swiglu_cuda_refusal(const CudaDeviceProperties& device);

// Loads the kernels onto the current device. Once per device, before the first launch.
int swiglu_cuda_warm_up(const CudaDeviceProperties& device);

std::int64_t swiglu_cuda_workspace_bytes(const CudaDeviceProperties& device, std::int64_t rows,
                                         std::int64_t columns);

}  // namespace nvfp4j
