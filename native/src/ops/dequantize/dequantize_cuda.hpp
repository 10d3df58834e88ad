// SPDX-License-Identifier: Apache-2.0
// dequantize on a CUDA device, for host code: no CUDA header. Integers returned are cudaError_t, 0 is success.
#pragma once
#include <cstdint>

#include "common/cuda_launch.hpp"
#include "ops/dequantize/dequantize_args.hpp"

namespace nvfp4j {

// Enqueues one kernel; none where there are no elements. The device of `launch` is current.
int dequantize_cuda(const CudaLaunch& launch, const DequantizeArgs& args);

// The implementation that a device gets and why, or nullptr; then dequantize_cuda_refusal says why not.
const char* dequantize_cuda_path(const CudaDeviceProperties& device);
const char* dequantize_cuda_refusal(const CudaDeviceProperties& device);

// Loads the kernels onto the current device. Once per device, before the first launch.
int dequantize_cuda_warm_up(const CudaDeviceProperties& device);

std::int64_t dequantize_cuda_workspace_bytes(const CudaDeviceProperties& device, std::int64_t rows,
                                             std::int64_t columns);

}  // namespace nvfp4j
