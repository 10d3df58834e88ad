// SPDX-License-Identifier: Apache-2.0
// The matrix products on a CUDA device, for host code: no CUDA header. Integers returned are cudaError_t, 0 is success.
#pragma once
#include <cstdint>

#include "common/cuda_launch.hpp"
#include "ops/gemm/gemm_args.hpp"
#include "ops/gemm/gemm_plan.hpp"

namespace nvfp4j {

// Enqueues the kernel of `plan` = plan_gemm(*launch.device, gemm_shape(args)), which refused nothing; one more before it for each plan.packed_rows rows, if that is not 0; none where there are no rows. The device of `launch` is current.
int gemm_cuda(const CudaLaunch& launch, const GemmArgs& args, const GemmPlan& plan);

// The implementation that a device gets and why, or nullptr; then gemm_cuda_refusal says why not.
const char* gemm_cuda_path(const CudaDeviceProperties& device);
const char* gemm_cuda_refusal(const CudaDeviceProperties& device);

// Loads the kernels onto the current device. Once per device, before the first launch.
int gemm_cuda_warm_up(const CudaDeviceProperties& device);

// For NVFP4 A with `rows` rows of `columns` elements in all; other kinds need none.
std::int64_t gemm_cuda_workspace_bytes(const CudaDeviceProperties& device, std::int64_t rows,
                                       std::int64_t columns);

}  // namespace nvfp4j
