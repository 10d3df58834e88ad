// SPDX-License-Identifier: Apache-2.0
// The kernels of gemm_decode.cuh for prepared weights, and launching all of them.
#include <algorithm>

#include "device/launch.cuh"
#include "ops/gemm/gemm_decode_kernels.cuh"
#include "ops/gemm/gemm_tensor_map.hpp"

namespace nvfp4j {
namespace {

DecodeKernel kernel_of(int config, const GemmVariant& variant) {
  return variant.linear ? decode_kernel_linear(config, variant) : decode_kernel(config, variant);
}

}  // namespace

DecodeKernel decode_kernel(int config, const GemmVariant& variant) {
  switch (config) {
#define NVFP4J_CASE(i, ...) \
  case i:                   \
    return decode_kernel_of<__VA_ARGS__, false>(variant);
    NVFP4J_GEMM_DECODE_CONFIGS(NVFP4J_CASE)
#undef NVFP4J_CASE
    default:
      return {};
  }
}

int gemm_decode_sm90(const CudaLaunch& l, const GemmArgs& args, const GemmPlan& plan) {
  const GemmVariant variant = variant_of(args);
  const DecodeShape& shape = kDecodeShapes[plan.config];
  const DecodeKernel kernel = kernel_of(plan.config, variant);
  GemmProblem p = GemmProblem::of(args, l.status);
  DecodeMaps<true> maps;  // of linear weights; the others' kernels take one byte of it
  if (variant.linear && !map_linear_weights(args, 16, &maps.codes, &maps.scales))
    return cudaErrorInvalidValue;
  const int block_tiles = shape.wn / (args.swiglu ? 2 : 1);
  const int tiles = static_cast<int>(args.n / (args.swiglu ? 32 : 16));
  int row_blocks = (tiles + block_tiles - 1) / block_tiles;
  int token_tiles = static_cast<int>((args.m + plan.token_tile - 1) / plan.token_tile);
  int piece_rows = static_cast<int>(std::min<std::int64_t>(args.m, plan.token_tile));
  bool early = args.weights_settled && l.programmatic;
  std::int64_t jobs =
      static_cast<std::int64_t>(row_blocks) * token_tiles * (p.batched ? args.groups : 1);
  void* arguments[] = {&p, &maps, &row_blocks, &token_tiles, &piece_rows, &early};
  const int shared_bytes = kernel.shared_bytes(piece_rows, variant.grouped);
  if (shape.ck > 1) {
    return launch_clusters(kernel.kernel, l, grid_of(jobs * shape.ck), kernel.threads, shared_bytes,
                           shape.ck, arguments);
  }
  // As many thread blocks as fit, with the same number of jobs each. How many tiles the groups' rows make only the device knows.
  const std::int64_t resident =
      static_cast<std::int64_t>(variant.linear ? 1 : shape.blocks) * l.device->sm_count;
  if (variant.grouped) {
    jobs = resident;
  } else if (jobs > resident) {
    const std::int64_t turns = (jobs + resident - 1) / resident;
    jobs = (jobs + turns - 1) / turns;
  }
  return launch_programmatic(kernel.kernel, l, grid_of(jobs), kernel.threads, shared_bytes,
                             arguments);
}

int gemm_decode_sm90_warm_up() {
  for (int config = 0; config < kDecodeConfigs; ++config) {
    for (int i = 0; i < 16; ++i) {
      const GemmVariant variant = {(i & 1) != 0, (i & 2) != 0, (i & 4) != 0, (i & 8) != 0};
      const DecodeKernel kernel = kernel_of(config, variant);
      if (kernel.kernel == nullptr) continue;
      const cudaError_t status =
          cudaFuncSetAttribute(kernel.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               kernel.shared_bytes(8 * kDecodeShapes[config].nt, variant.grouped));
      if (status != cudaSuccess) return status;
    }
  }
  return cudaSuccess;
}

}  // namespace nvfp4j
