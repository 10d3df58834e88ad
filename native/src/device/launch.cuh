// SPDX-License-Identifier: Apache-2.0
// How kernels are loaded and launched. Host code for the .cu files of all ops.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>

#include "common/cuda_launch.hpp"

namespace nvfp4j {

namespace launch_detail {

inline cudaError_t launch(const void* kernel, const CudaLaunch& l,
                          const cudaLaunchAttribute* attributes, int count, dim3 grid, int threads,
                          int shared_bytes, void** arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes);
  config.stream = l.stream;
  config.attrs = const_cast<cudaLaunchAttribute*>(attributes);
  config.numAttrs = static_cast<unsigned>(count);
  return cudaLaunchKernelExC(&config, kernel, arguments);
}

}  // namespace launch_detail

// For a kernel that calls device::await_predecessor() before it reads or writes global memory: it may start while the kernel before it in the stream still runs. The stream may be capturing.
inline cudaError_t launch_programmatic(const void* kernel, const CudaLaunch& l, dim3 grid,
                                       int threads, int shared_bytes, void** arguments) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  return launch_detail::launch(kernel, l, &attribute, l.programmatic ? 1 : 0, grid, threads,
                               shared_bytes, arguments);
}

// For a kernel with a grid exchange: all its thread blocks are resident, or the launch fails. It starts when the kernel before it has ended.
inline cudaError_t launch_cooperative(const void* kernel, const CudaLaunch& l, dim3 grid,
                                      int threads, int shared_bytes, void** arguments) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeCooperative;
  attribute.val.cooperative = 1;
  return launch_detail::launch(kernel, l, &attribute, 1, grid, threads, shared_bytes, arguments);
}

// The same for a kernel as launch_programmatic() has it.
inline cudaError_t launch_cooperative_programmatic(const void* kernel, const CudaLaunch& l,
                                                   dim3 grid, int threads, int shared_bytes,
                                                   void** arguments) {
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeCooperative;
  attributes[0].val.cooperative = 1;
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  return launch_detail::launch(kernel, l, attributes, l.programmatic ? 2 : 1, grid, threads,
                               shared_bytes, arguments);
}

// As launch_programmatic(), in clusters of `cluster` thread blocks.
inline cudaError_t launch_clusters(const void* kernel, const CudaLaunch& l, dim3 grid, int threads,
                                   int shared_bytes, int cluster, void** arguments) {
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim.x = static_cast<unsigned>(cluster);
  attributes[0].val.clusterDim.y = 1;
  attributes[0].val.clusterDim.z = 1;
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  return launch_detail::launch(kernel, l, attributes, l.programmatic ? 2 : 1, grid, threads,
                               shared_bytes, arguments);
}

inline dim3 grid_of(std::int64_t blocks) { return dim3(static_cast<unsigned>(blocks)); }

// Asking for a kernel's attributes loads it.
inline cudaError_t load_kernel(const void* kernel) {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, kernel);
}

}  // namespace nvfp4j
