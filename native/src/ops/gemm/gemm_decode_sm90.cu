// SPDX-License-Identifier: Apache-2.0
// Launching the kernels of gemm_decode.cuh.
#include "device/launch.cuh"
#include "ops/gemm/gemm_cuda_impl.hpp"
#include "ops/gemm/gemm_decode.cuh"

namespace nvfp4j {
namespace {

struct DecodeKernel {
  const void* kernel;  // NULL: there is none
  int threads;
  int (*shared_bytes)(int rows, bool grouped);
};

template <class C, bool GROUPED, bool SWIGLU>
DecodeKernel kernel_of() {
  return {reinterpret_cast<const void*>(&device::gemm_decode_kernel<C, GROUPED, SWIGLU>),
          C::kThreads, &C::bytes};
}
template <int WN, int WK, int NT, int STAGES, int PIECES, bool NVFP4>
DecodeKernel kernel_of(bool grouped, bool swiglu) {
  using C = DecodeConfig<WN, WK, NT, STAGES, PIECES, NVFP4>;
  if constexpr (WN % 2 == 0) {
    if (grouped && swiglu) return kernel_of<C, true, true>();
    if (swiglu) return kernel_of<C, false, true>();
    if (grouped) return kernel_of<C, true, false>();
  }
  return grouped || swiglu ? DecodeKernel{} : kernel_of<C, false, false>();
}

DecodeKernel kernel_of(int config, const GemmVariant& v) {
  switch (config) {
#define NVFP4J_CASE(i, wn, wk, nt, stages, pieces)                                    \
  case i:                                                                             \
    return v.nvfp4 ? kernel_of<wn, wk, nt, stages, pieces, true>(v.grouped, v.swiglu) \
                   : kernel_of<wn, wk, nt, stages, pieces, false>(v.grouped, v.swiglu);
    NVFP4J_GEMM_DECODE_CONFIGS(NVFP4J_CASE)
#undef NVFP4J_CASE
    default:
      return {};
  }
}

}  // namespace

int gemm_decode_sm90(const CudaLaunch& l, const GemmArgs& args, const GemmPlan& plan) {
  const GemmVariant variant = variant_of(args);
  const DecodeKernel kernel = kernel_of(plan.config, variant);
  GemmProblem p = GemmProblem::of(args, l.status);
  const int block_tiles = kDecodeShapes[plan.config].wn / (args.swiglu ? 2 : 1);
  const int tiles = static_cast<int>(args.n / (args.swiglu ? 32 : 16));
  int row_blocks = (tiles + block_tiles - 1) / block_tiles;
  int token_tiles = static_cast<int>((args.m + plan.token_tile - 1) / plan.token_tile);
  int piece_rows = static_cast<int>(args.m < plan.token_tile ? args.m : plan.token_tile);
  std::int64_t jobs =
      static_cast<std::int64_t>(row_blocks) * token_tiles * (p.batched ? args.groups : 1);
  // How many tiles the groups' rows make only the device knows.
  const std::int64_t resident = 2 * l.device->sm_count;
  if (variant.grouped || jobs > resident) jobs = resident;
  void* arguments[] = {&p, &row_blocks, &token_tiles, &piece_rows};
  return launch_programmatic(kernel.kernel, l, grid_of(jobs), kernel.threads,
                             kernel.shared_bytes(piece_rows, variant.grouped), arguments);
}

int gemm_decode_sm90_warm_up() {
  for (int config = 0; config < kDecodeConfigs; ++config) {
    for (int i = 0; i < 8; ++i) {
      const GemmVariant variant = {(i & 1) != 0, (i & 2) != 0, (i & 4) != 0};
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
