// SPDX-License-Identifier: Apache-2.0
// How kernels are loaded and launched. Host code for the .cu files of all ops.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>

#include "common/cuda_launch.hpp"

namespace nvfp4j {

enum class LaunchKind {
  // May start while the kernel before it in the stream still runs: it begins with device::await_predecessor().
  kProgrammatic,
  kCooperative,  // all thread blocks are resident, or the launch fails
};

// One kernel launch; the stream may be capturing.
inline cudaError_t launch_kernel(const void* kernel, const CudaLaunch& launch, LaunchKind kind,
                                 dim3 grid, int threads, int shared_bytes, void** arguments) {
  cudaLaunchAttribute attribute = {};
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes);
  config.stream = launch.stream;
  config.attrs = &attribute;
  if (kind == LaunchKind::kCooperative) {
    attribute.id = cudaLaunchAttributeCooperative;
    attribute.val.cooperative = 1;
    config.numAttrs = 1;
  } else if (launch.device->programmatic_launch != 0) {
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    config.numAttrs = 1;
  }
  return cudaLaunchKernelExC(&config, kernel, arguments);
}

inline cudaError_t launch_kernel(const void* kernel, const CudaLaunch& launch, std::int64_t grid,
                                 int threads, void** arguments) {
  return launch_kernel(kernel, launch, LaunchKind::kProgrammatic, dim3(static_cast<unsigned>(grid)),
                       threads, 0, arguments);
}

// Asking for a kernel's attributes loads it.
inline cudaError_t load_kernel(const void* kernel) {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, kernel);
}

inline bool aligned16(const void* p, std::int64_t stride_bytes) {
  return reinterpret_cast<std::uintptr_t>(p) % 16 == 0 && stride_bytes % 16 == 0;
}

}  // namespace nvfp4j
