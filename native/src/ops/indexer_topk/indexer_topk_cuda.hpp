// SPDX-License-Identifier: Apache-2.0
// indexer_topk on a CUDA device, for host code: no CUDA header. Integers returned are cudaError_t, 0 is success.
#pragma once
#include <cstdint>

#include "common/cuda_launch.hpp"
#include "ops/indexer_topk/indexer_topk_args.hpp"

namespace nvfp4j {

// Enqueues a kernel, several of very many queries. The device of `launch` is current.
int indexer_topk_cuda(const CudaLaunch& launch, const IndexerTopkArgs& args);

// The implementation that a device gets and why, or nullptr; then indexer_topk_cuda_refusal says why not.
const char* indexer_topk_cuda_path(const CudaDeviceProperties& device);
const char* indexer_topk_cuda_refusal(const CudaDeviceProperties& device);

// Loads the kernels onto the current device. Once per device, before the first launch.
int indexer_topk_cuda_warm_up(const CudaDeviceProperties& device);

std::int64_t indexer_topk_cuda_workspace_bytes(const CudaDeviceProperties& device,
                                               std::int64_t rows, std::int64_t columns);

}  // namespace nvfp4j
