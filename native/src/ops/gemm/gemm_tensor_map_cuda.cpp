// SPDX-License-Identifier: Apache-2.0
#if NVFP4J_WITH_CUDA
#include "ops/gemm/gemm_tensor_map.hpp"

#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>

#include <atomic>

#include "nvfp4j/gemm.h"

namespace nvfp4j {
namespace {

// cuTensorMapEncodeTiled, which the driver has and the runtime finds.
std::atomic<PFN_cuTensorMapEncodeTiled_v12000> encode_tiled{nullptr};

bool map_rows(CUtensorMapDataType type, const void* data, std::int64_t columns, std::int64_t rows,
              std::int64_t stride_bytes, int box_columns, int box_rows, CUtensorMapSwizzle swizzle,
              CUtensorMap* map) {
  const cuuint64_t dims[2] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(stride_bytes)};
  const cuuint32_t box[2] = {static_cast<cuuint32_t>(box_columns),
                             static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[2] = {1, 1};
  return encode_tiled.load(std::memory_order_acquire)(
             map, type, 2, const_cast<void*>(data), dims, strides, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
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
  const std::int64_t columns = args.op == NVFP4J_OP_BATCHED_GEMM ? args.groups * args.k : args.k;
  return map_rows(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, args.a.data, columns, args.m,
                  (args.m > 1 ? args.a.stride : columns) * 2, 64, box_rows,
                  CU_TENSOR_MAP_SWIZZLE_128B, map);
}

bool map_linear_weights(const GemmArgs& args, int box_rows, CUtensorMap* codes,
                        CUtensorMap* scales) {
  const std::int64_t rows = args.groups * args.n;
  return map_rows(CU_TENSOR_MAP_DATA_TYPE_UINT8, args.w.codes, args.k / 2, rows, args.k / 2, 128,
                  box_rows, CU_TENSOR_MAP_SWIZZLE_128B, codes) &&
         map_rows(CU_TENSOR_MAP_DATA_TYPE_UINT8, args.w.scales, args.k / 16, rows, args.k / 16, 16,
                  box_rows, CU_TENSOR_MAP_SWIZZLE_NONE, scales);
}

}  // namespace nvfp4j

#endif
