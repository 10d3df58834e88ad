// SPDX-License-Identifier: Apache-2.0
// The kernels of gemm_wgmma.cuh for BF16 tokens of one matrix and prepared weights, and launching all of them.
#include <cudaTypedefs.h>

#include <atomic>

#include "device/launch.cuh"
#include "ops/gemm/gemm_wgmma_kernels.cuh"

namespace nvfp4j {
namespace {

// cuTensorMapEncodeTiled, which the driver has and the runtime finds. Set by the warm-up.
std::atomic<PFN_cuTensorMapEncodeTiled_v12000> encode_tiled{nullptr};

// Boxes of `columns` x `rows` of a matrix of bytes or BF16. Beyond its ends it is zero.
bool map_matrix(CUtensorMapDataType type, const void* data, std::int64_t width, std::int64_t height,
                std::int64_t stride_bytes, int columns, int rows, CUtensorMapSwizzle swizzle,
                CUtensorMapL2promotion promotion, CUtensorMap* map) {
  const cuuint64_t dims[2] = {static_cast<cuuint64_t>(width), static_cast<cuuint64_t>(height)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(stride_bytes)};
  const cuuint32_t box[2] = {static_cast<cuuint32_t>(columns), static_cast<cuuint32_t>(rows)};
  const cuuint32_t steps[2] = {1, 1};
  return encode_tiled.load(std::memory_order_acquire)(
             map, type, 2, const_cast<void*>(data), dims, strides, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, promotion,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

// A: of BF16 boxes of 64 columns with the 128-byte swizzle; of NVFP4 those of TokenPieces, codes with the 32-byte swizzle.
bool map_tokens(const GemmArgs& args, int box_rows, CUtensorMap* map) {
  const std::int64_t columns = args.op == NVFP4J_OP_BATCHED_GEMM ? args.groups * args.k : args.k;
  const std::int64_t stride = args.m > 1 ? args.a.stride : columns;
  if (args.a.kind == NVFP4J_GEMM_A_NVFP4) {
    return map_matrix(CU_TENSOR_MAP_DATA_TYPE_UINT8, args.a.data, columns / 2, args.m, stride / 2,
                      32, TokenPieces::kRows, CU_TENSOR_MAP_SWIZZLE_32B,
                      CU_TENSOR_MAP_L2_PROMOTION_L2_128B, map);
  }
  return map_matrix(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, args.a.data, columns, args.m, 2 * stride, 64,
                    box_rows, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, map);
}
bool map_token_scales(const GemmArgs& args, CUtensorMap* map) {
  const std::int64_t columns = args.op == NVFP4J_OP_BATCHED_GEMM ? args.groups * args.k : args.k;
  const std::int64_t stride = args.m > 1 ? args.a.stride : columns;
  return map_matrix(CU_TENSOR_MAP_DATA_TYPE_UINT8, args.a.scales, columns / 16, args.m, stride / 16,
                    16, TokenPieces::kRows, CU_TENSOR_MAP_SWIZZLE_NONE,
                    CU_TENSOR_MAP_L2_PROMOTION_L2_128B, map);
}

// Boxes of `columns` bytes x `rows` of one group of linear weights, codes or block scales. Beyond the group's ends it is zero.
bool map_weights(const GemmArgs& args, const std::uint8_t* data, std::int64_t row_bytes,
                 int columns, int rows, CUtensorMapSwizzle swizzle,
                 CUtensorMapL2promotion promotion, CUtensorMap* map) {
  const cuuint64_t dims[3] = {static_cast<cuuint64_t>(row_bytes), static_cast<cuuint64_t>(args.n),
                              static_cast<cuuint64_t>(args.groups)};
  const cuuint64_t strides[2] = {static_cast<cuuint64_t>(row_bytes),
                                 static_cast<cuuint64_t>(args.n * row_bytes)};
  const cuuint32_t box[3] = {static_cast<cuuint32_t>(columns), static_cast<cuuint32_t>(rows), 1};
  const cuuint32_t steps[3] = {1, 1, 1};
  return encode_tiled.load(std::memory_order_acquire)(
             map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 3, const_cast<std::uint8_t*>(data), dims, strides,
             box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, promotion,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

WgmmaKernel kernel_of(int config, const GemmVariant& v) {
  if (v.linear) {
    return v.nvfp4 ? wgmma_kernel_linear_nvfp4(config, v.grouped, v.swiglu)
                   : wgmma_kernel_linear(config, v.grouped, v.swiglu);
  }
  if (v.nvfp4) return wgmma_kernel_nvfp4(config, v.grouped, v.swiglu);
  if (v.grouped) return wgmma_kernel_grouped(config, v.swiglu);
  return v.swiglu ? wgmma_kernel_swiglu(config) : wgmma_kernel(config);
}

}  // namespace

WgmmaKernel wgmma_kernel(int config) {
  switch (config) {
#define NVFP4J_CASE(i, ...) \
  case i:                   \
    return wgmma_kernel_of<WgmmaConfig<__VA_ARGS__>, false, false>();
    NVFP4J_GEMM_WGMMA_CONFIGS(NVFP4J_CASE)
#undef NVFP4J_CASE
    default:
      return {};
  }
}

int gemm_wgmma_sm90(const CudaLaunch& l, const GemmArgs& args, const GemmPlan& plan) {
  const GemmVariant variant = variant_of(args);
  const WgmmaKernel kernel = kernel_of(plan.config, variant);
  const WgmmaShape& shape = kWgmmaShapes[plan.config];
  GemmProblem p = GemmProblem::of(args, l.status);
  CUtensorMap map = {};
  device::MoreMaps<3> more = {};
  CUtensorMap* next = more.map;
  bool mapped = map_tokens(args, shape.bm / shape.cn, &map);
  if (variant.nvfp4) mapped = mapped && map_token_scales(args, next++);
  if (variant.linear) {
    const int box_rows = 64 * shape.wgn / (args.swiglu ? 2 : 1);
    mapped = mapped &&
             map_weights(args, args.w.codes, args.k / 2, 128, box_rows, CU_TENSOR_MAP_SWIZZLE_128B,
                         CU_TENSOR_MAP_L2_PROMOTION_L2_256B, next++) &&
             map_weights(args, args.w.scales, args.k / 16, 16, box_rows, CU_TENSOR_MAP_SWIZZLE_NONE,
                         CU_TENSOR_MAP_L2_PROMOTION_L2_128B, next++);
  }
  if (!mapped) return cudaErrorInvalidValue;
  const int cluster = shape.cn * shape.ck;
  const int rows =
      64 * shape.wgn * shape.cn / (args.swiglu ? 2 : 1);  // of D's columns, a cluster's
  const int columns = static_cast<int>(args.swiglu ? args.n / 2 : args.n);
  device::WgmmaJobs jobs = {(columns + rows - 1) / rows,
                            static_cast<int>((args.m + shape.bm - 1) / shape.bm)};
  std::int64_t clusters =
      static_cast<std::int64_t>(jobs.row_groups) * jobs.token_tiles * (p.batched ? args.groups : 1);
  const std::int64_t resident = l.device->sm_count / cluster;
  // A cluster that cuts K has one job.
  if (shape.ck == 1 && (variant.grouped || clusters > resident)) clusters = resident;
  void* arguments[] = {&p, &map, &more, &jobs};
  return launch_clusters(kernel.kernel, l, grid_of(clusters * cluster), kernel.threads,
                         kernel.shared_bytes, cluster, arguments);
}

int gemm_wgmma_sm90_warm_up() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                             12000, cudaEnableDefault, &found);
  if (error != cudaSuccess) return error;
  if (found != cudaDriverEntryPointSuccess) return cudaErrorNotSupported;
  encode_tiled.store(reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function),
                     std::memory_order_release);
  for (int config = 0; config < kWgmmaConfigs; ++config) {
    for (int i = 0; i < 16; ++i) {
      const WgmmaKernel kernel =
          kernel_of(config, {(i & 1) != 0, (i & 2) != 0, (i & 4) != 0, (i & 8) != 0});
      if (kernel.kernel == nullptr) continue;
      const cudaError_t status = cudaFuncSetAttribute(
          kernel.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kernel.shared_bytes);
      if (status != cudaSuccess) return status;
    }
  }
  return cudaSuccess;
}

}  // namespace nvfp4j
