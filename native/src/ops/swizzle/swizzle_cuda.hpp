// SPDX-License-Identifier: Apache-2.0
// swizzle and unswizzle on a CUDA device, for host code: no CUDA header. Integers returned are cudaError_t, 0 is success.
#pragma once
#include <cstdint>

#include "common/cuda_launch.hpp"
#include "ops/swizzle/swizzle_args.hpp"

namespace nvfp4j {

// Enqueue one kernel; none where there are no elements. The device of `launch` is current.
int swizzle_cuda(const CudaLaunch& launch, const SwizzleArgs& args);
int unswizzle_cuda(const CudaLaunch& launch, const SwizzleArgs& args);

// The implementation that a device gets and why, or nullptr; then the refusal says why not.
const char* swizzle_cuda_path(const CudaDeviceProperties& device);
const char* swizzle_cuda_refusal(const CudaDeviceProperties& device);
const char* unswizzle_cuda_path(const CudaDeviceProperties& device);
const char* unswizzle_cuda_refusal(const CudaDeviceProperties& device);

// Load the kernels onto the current device. Once per device, before the first launch.
int swizzle_cuda_warm_up(const CudaDeviceProperties& device);
int unswizzle_cuda_warm_up(const CudaDeviceProperties& device);

std::int64_t swizzle_cuda_workspace_bytes(const CudaDeviceProperties& device, std::int64_t rows,
                                          std::int64_t columns);
std::int64_t unswizzle_cuda_workspace_bytes(const CudaDeviceProperties& device, std::int64_t rows,
                                            std::int64_t columns);

}  // namespace nvfp4j
