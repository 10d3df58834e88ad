// SPDX-License-Identifier: Apache-2.0
// The kernels of gemm_wgmma.cuh for BF16 tokens of one matrix, and launching all of them.
#include <cudaTypedefs.h>

#include <atomic>

#include "device/launch.cuh"
#include "ops/gemm/gemm_wgmma_kernels.cuh"

namespace nvfp4j {
namespace {

// cuTensorMapEncodeTiled, which the driver has and the runtime finds. Set by the warm-up.
std::atomic<PFN_cuTensorMapEncodeTiled_v12000> encode_tiled{nullptr};

// A of BF16 rows, in boxes of 64 columns with the 128-byte swizzle. Beyond its ends it is zero.
bool map_tokens(const GemmArgs& args, int box_rows, CUtensorMap* map) {
  const std::int64_t columns = args.op == NVFP4J_OP_BATCHED_GEMM ? args.groups * args.k : args.k;
  const cuuint64_t dims[2] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(args.m)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(args.m > 1 ? args.a.stride : columns) * 2};
  const cuuint32_t box[2] = {64, static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[2] = {1, 1};
  return encode_tiled.load(std::memory_order_acquire)(
             map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<void*>(args.a.data), dims,
             strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

WgmmaKernel kernel_of(int config, const GemmVariant& v) {
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
  if (!variant.nvfp4 && !map_tokens(args, shape.bm / shape.cn, &map)) return cudaErrorInvalidValue;
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
  void* arguments[] = {&p, &map, &jobs};
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
    for (int i = 0; i < 8; ++i) {
      const WgmmaKernel kernel = kernel_of(config, {(i & 1) != 0, (i & 2) != 0, (i & 4) != 0});
      if (kernel.kernel == nullptr) continue;
      const cudaError_t status = cudaFuncSetAttribute(
          kernel.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kernel.shared_bytes);
      if (status != cudaSuccess) return status;
    }
  }
  return cudaSuccess;
}

}  // namespace nvfp4j
