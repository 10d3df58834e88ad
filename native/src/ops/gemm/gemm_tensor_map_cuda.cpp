// SPDX-License-Identifier: Apache-2.0
#if NVFP4J_WITH_CUDA
#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>

#include <atomic>
#include <cstdint>

#include "nvfp4j/gemm.h"
#include "ops/gemm/gemm_tensor_map.hpp"

namespace nvfp4j {
namespace {

// cuTensorMapEncodeTiled, which the driver has and the runtime finds.
std::atomic<PFN_cuTensorMapEncodeTiled_v12000> encode_tiled{nullptr};

struct Box {
  cuuint32_t columns, rows;
  CUtensorMapSwizzle swizzle;
  CUtensorMapL2promotion promotion;
};

// Boxes of [planes][rows][columns], whose rows and planes are that many bytes apart.
bool map_boxes(CUtensorMapDataType type, const void* data, std::int64_t columns, std::int64_t rows,
               std::int64_t planes, std::int64_t row_bytes, std::int64_t plane_bytes,
               const Box& box, CUtensorMap* map) {
  const cuuint64_t dims[3] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows),
                              static_cast<cuuint64_t>(planes)};
  const cuuint64_t strides[2] = {static_cast<cuuint64_t>(row_bytes),
                                 static_cast<cuuint64_t>(plane_bytes)};
  const cuuint32_t extent[3] = {box.columns, box.rows, 1};
  const cuuint32_t steps[3] = {1, 1, 1};
  return encode_tiled.load(std::memory_order_acquire)(
             map, type, plane_bytes == 0 ? 2 : 3, const_cast<void*>(data), dims, strides, extent,
             steps, CU_TENSOR_MAP_INTERLEAVE_NONE, box.swizzle, box.promotion,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

// (The stride of a single row means nothing.)
std::int64_t stride_of(const GemmArgs& args) {
  return args.m > 1 ? args.a.stride : a_columns(args);
}

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

bool map_tokens(const GemmArgs& args, int box_rows, CUtensorMap* map) {
  return map_boxes(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, args.a.data, a_columns(args), args.m, 1,
                   2 * stride_of(args), 0,
                   {64, static_cast<cuuint32_t>(box_rows), CU_TENSOR_MAP_SWIZZLE_128B,
                    CU_TENSOR_MAP_L2_PROMOTION_L2_256B},
                   map);
}

bool map_linear_weights(const GemmArgs& args, int box_rows, CUtensorMap* codes,
                        CUtensorMap* scales) {
  const auto rows = static_cast<cuuint32_t>(box_rows);
  return map_boxes(CU_TENSOR_MAP_DATA_TYPE_UINT8, args.w.codes, args.k / 2, args.n, args.groups,
                   args.k / 2, args.n * (args.k / 2),
                   {128, rows, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B},
                   codes) &&
         map_boxes(CU_TENSOR_MAP_DATA_TYPE_UINT8, args.w.scales, args.k / 16, args.n, args.groups,
                   args.k / 16, args.n * (args.k / 16),
                   {16, rows, CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_L2_128B},
                   scales);
}

}  // namespace nvfp4j
#endif
