// SPDX-License-Identifier: Apache-2.0
// The kernels of gemm_wgmma.cuh for one matrix and prepared weights, and launching all of them.
#include <algorithm>

#include "common/workspace_layout.hpp"
#include "device/launch.cuh"
#include "ops/gemm/gemm_tensor_map.hpp"
#include "ops/gemm/gemm_wgmma_kernels.cuh"

namespace nvfp4j {
namespace {

WgmmaKernel kernel_of(int config, const GemmVariant& v) {
  if (v.linear) return wgmma_kernel_linear(config, v.grouped, v.swiglu);
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

namespace {

// Rows `first` to `end` - 1 of A, whose BF16 tokens are `tokens`.
cudaError_t launch_rows(const CudaLaunch& l, const GemmArgs& args, const GemmPlan& plan,
                        const GemmArgs& tokens, std::int64_t first, std::int64_t end, bool early) {
  const GemmVariant variant = variant_of(args);
  const WgmmaKernel kernel = kernel_of(plan.config, variant);
  const WgmmaShape& shape = kWgmmaShapes[plan.config];
  GemmProblem p = GemmProblem::of(args, l.status);
  CUtensorMap map = {};
  device::WgmmaMaps<true> w_maps =
      {};  // of linear weights; the others' kernels take one byte of it
  const int rows = 64 * shape.wgn / (args.swiglu ? 2 : 1);  // of D's columns
  if (!map_tokens(tokens, shape.bm, &map)) return cudaErrorInvalidValue;
  const int box_rows = args.swiglu ? 32 : rows;  // of linear W
  if (variant.linear && !map_linear_weights(args, box_rows, &w_maps.codes, &w_maps.scales))
    return cudaErrorInvalidValue;
  const int columns = static_cast<int>(args.swiglu ? args.n / 2 : args.n);
  device::WgmmaJobs jobs = {(columns + rows - 1) / rows,
                            static_cast<int>((end - first + shape.bm - 1) / shape.bm),
                            static_cast<int>(first),
                            static_cast<int>(end),
                            early,
                            (variant.grouped ? args.m / args.groups : args.m) > shape.bm};
  std::int64_t clusters =
      static_cast<std::int64_t>(jobs.row_groups) * jobs.token_tiles * (p.batched ? args.groups : 1);
  const std::int64_t resident = l.device->sm_count / shape.ck;
  // A cluster that cuts K has one job.
  if (shape.ck == 1 && (variant.grouped || clusters > resident)) clusters = resident;
  void* arguments[] = {&p, &map, &w_maps, &jobs};
  return launch_clusters(kernel.kernel, l, grid_of(clusters * shape.ck), kernel.threads,
                         kernel.shared_bytes, shape.ck, arguments);
}

}  // namespace

int gemm_wgmma_sm90(const CudaLaunch& l, const GemmArgs& args, const GemmPlan& plan) {
  if (plan.packed_rows == 0) return launch_rows(l, args, plan, args, 0, args.m, false);
  GemmArgs tokens = args;
  tokens.a.kind = NVFP4J_GEMM_A_PACKED;
  tokens.a.data = static_cast<std::uint8_t*>(l.workspace) + kWorkspaceExchangeBytes;
  tokens.a.stride = a_columns(args);
  // The kernel before is the one that decodes tokens, on a foreign stream too.
  CudaLaunch next = l;
  next.programmatic = l.device->programmatic_launch != 0;
  for (std::int64_t first = 0; first < args.m; first += plan.packed_rows) {
    tokens.m = std::min(plan.packed_rows, args.m - first);
    int status = gemm_pack_tokens(l, args, first, tokens.m, const_cast<void*>(tokens.a.data));
    if (status == cudaSuccess)
      status = launch_rows(next, args, plan, tokens, first, first + tokens.m, next.programmatic);
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

int gemm_wgmma_sm90_warm_up() {
  for (int config = 0; config < kWgmmaConfigs; ++config) {
    for (int i = 0; i < 8; ++i) {
      const WgmmaKernel kernel =
          kernel_of(config, {(i & 1) != 0, (i & 2) != 0, false, (i & 4) != 0});
      if (kernel.kernel == nullptr) continue;
      const cudaError_t status = cudaFuncSetAttribute(
          kernel.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kernel.shared_bytes);
      if (status != cudaSuccess) return status;
    }
  }
  return gemm_pack_tokens_warm_up();
}

}  // namespace nvfp4j
