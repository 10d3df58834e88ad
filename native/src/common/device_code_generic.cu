// SPDX-License-Identifier: Apache-2.0
// Which of the architectures that generic kernels are built for a device runs: the driver chooses, and an environment variable can make it choose PTX.
#include <cuda_runtime_api.h>

#include "common/device_code.hpp"

namespace nvfp4j {
namespace {

__global__ void probe() {}

}  // namespace

int device_code_architecture(int* architecture) {
  cudaFuncAttributes attributes;
  const cudaError_t error =
      cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(&probe));
  if (error == cudaSuccess) *architecture = attributes.ptxVersion;
  return error;
}

}  // namespace nvfp4j
