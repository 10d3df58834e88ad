// SPDX-License-Identifier: Apache-2.0
#if NVFP4J_WITH_CUDA
#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>

#include <atomic>

#include "common/tensor_map.hpp"

namespace nvfp4j {
namespace {

// cuTensorMapEncodeTiled, which the driver has and the runtime finds.
std::atomic<PFN_cuTensorMapEncodeTiled_v12000> encode_tiled{nullptr};

}  // namespace

int load_tensor_maps() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                             12000, cudaEnableDefault, &found);
  if (error != cudaSuccess) return error;
  if (found != cudaDriverEntryPointSuccess) return cudaErrorNotSupported;
  encode_tiled.store(reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function),
                     std::memory_order_release);
  return cudaSuccess;
}

bool make_tensor_map(const TensorMapShape& shape, CUtensorMap* map) {
  const cuuint32_t steps[4] = {1, 1, 1, 1};
  return encode_tiled.load(std::memory_order_acquire)(
             map, shape.type, shape.dimensions, const_cast<void*>(shape.data), shape.sizes,
             shape.strides, shape.box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, shape.swizzle,
             shape.promotion, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace nvfp4j
#endif
