// SPDX-License-Identifier: Apache-2.0
// Tensor maps, for the tensor loads and stores (TMA) of Hopper.
#pragma once
#include <cuda.h>

namespace nvfp4j {

// Finds the driver's function that makes the maps; a cudaError_t. Before the first map.
int load_tensor_maps();

// The tensor's first dimension is contiguous; strides, in bytes, are of the others.
struct TensorMapShape {
  CUtensorMapDataType type;
  const void* data;
  unsigned dimensions;
  cuuint64_t sizes[3];
  cuuint64_t strides[2];
  cuuint32_t box[3];
  CUtensorMapSwizzle swizzle;
  CUtensorMapL2promotion promotion;
};

// Beyond the tensor's ends loads give zeros. False: there can be no such map.
bool make_tensor_map(const TensorMapShape& shape, CUtensorMap* map);

}  // namespace nvfp4j
