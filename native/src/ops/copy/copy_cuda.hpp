// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "common/cuda_launch.hpp"
#include "ops/copy/copy_args.hpp"

namespace nvfp4j {

/// Enqueues a validated copy of at least one byte; with `wait` returns when it is done. A
/// cudaError_t.
int copy_cuda(const CudaLaunch& launch, const CopyArgs& args, bool wait);

const char* copy_cuda_path(const CudaDeviceProperties& device);

}  // namespace nvfp4j
