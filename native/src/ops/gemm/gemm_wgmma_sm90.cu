// SPDX-License-Identifier: Apache-2.0
// The kernels of gemm_wgmma.cuh for BF16 tokens of one matrix and prepared weights, and launching all of them.
#include "device/launch.cuh"
#include "ops/gemm/gemm_tensor_map.hpp"
#include "ops/gemm/gemm_wgmma_kernels.cuh"

namespace nvfp4j {
namespace {

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
  bool mapped = variant.nvfp4 ? map_nvfp4_tokens(args, TokenPieces::kRows, &map, next++)
                              : map_tokens(args, shape.bm, &map);
  if (variant.linear) {
    mapped =
        mapped && map_linear_weights(args, 64 * shape.wgn / (args.swiglu ? 2 : 1), next, next + 1);
  }
  if (!mapped) return cudaErrorInvalidValue;
  const int rows = 64 * shape.wgn / (args.swiglu ? 2 : 1);  // of D's columns
  const int columns = static_cast<int>(args.swiglu ? args.n / 2 : args.n);
  device::WgmmaJobs jobs = {(columns + rows - 1) / rows,
                            static_cast<int>((args.m + shape.bm - 1) / shape.bm)};
  std::int64_t clusters =
      static_cast<std::int64_t>(jobs.row_groups) * jobs.token_tiles * (p.batched ? args.groups : 1);
  const std::int64_t resident = l.device->sm_count / shape.ck;
  // A cluster that cuts K has one job.
  if (shape.ck == 1 && (variant.grouped || clusters > resident)) clusters = resident;
  void* arguments[] = {&p, &map, &more, &jobs};
  return launch_clusters(kernel.kernel, l, grid_of(clusters * shape.ck), kernel.threads,
                         kernel.shared_bytes, shape.ck, arguments);
}

int gemm_wgmma_sm90_warm_up() {
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
