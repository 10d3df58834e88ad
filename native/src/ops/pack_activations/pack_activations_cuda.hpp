// SPDX-License-Identifier: Apache-2.0
// pack_activations on a CUDA device, for host code: no CUDA header. Integers returned are cudaError_t, 0 is success.
#pragma once
#include <cstdint>

#include "common/cuda_launch.hpp"
#include "ops/pack_activations/pack_activations_args.hpp"

namespace nvfp4j {

// Enqueues one kernel. The device of `launch` is current.
int pack_activations_cuda(const CudaLaunch& launch, const PackActivationsArgs& args);

// The implementation that a device gets and why, or nullptr; then pack_activations_cuda_refusal says why not.
const char* pack_activations_cuda_path(const CudaDeviceProperties& device);
const char* pack_activations_cuda_refusal(const CudaDeviceProperties& device);

// Loads the kernels onto the current device. Once per device, before the first launch.
int pack_activations_cuda_warm_up(const CudaDeviceProperties& device);

std::int64_t pack_activations_cuda_workspace_bytes(const CudaDeviceProperties& device,
                                                   std::int64_t rows, std::int64_t columns);

}  // namespace nvfp4j
