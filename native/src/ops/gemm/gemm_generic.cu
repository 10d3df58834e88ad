// SPDX-License-Identifier: Apache-2.0
// The kernel for any shape (gemm_generic.cuh), and the way to it and to those for Hopper.
#include "common/workspace_layout.hpp"
#include "device/launch.cuh"
#include "ops/gemm/gemm_cuda_impl.hpp"
#include "ops/gemm/gemm_generic.cuh"
#include "ops/gemm/gemm_tensor_map.hpp"

namespace nvfp4j {
namespace {

template <int NT, bool NVFP4, bool TILED>
const void* kernel_of(bool swiglu) {
  return swiglu
             ? reinterpret_cast<const void*>(&device::gemm_generic_kernel<NT, NVFP4, TILED, true>)
             : reinterpret_cast<const void*>(&device::gemm_generic_kernel<NT, NVFP4, TILED, false>);
}
template <int NT>
const void* kernel_of(bool nvfp4, bool tiled, bool swiglu) {
  if (nvfp4) return tiled ? kernel_of<NT, true, true>(swiglu) : kernel_of<NT, true, false>(swiglu);
  return tiled ? kernel_of<NT, false, true>(swiglu) : kernel_of<NT, false, false>(swiglu);
}

cudaError_t launch_generic(const CudaLaunch& l, const GemmArgs& args, const GemmPlan& plan) {
  GemmProblem p = GemmProblem::of(args, l.status);
  const bool tiled =
      args.w.layout == NVFP4J_SCALE_LAYOUT_PREPARED && prepared::is_tiled(args.n, args.k);
  const bool nvfp4 = args.a.kind == NVFP4J_GEMM_A_NVFP4;
  int row_tiles = static_cast<int>((args.swiglu ? args.n / 2 : args.n) + 15) / 16;
  std::int64_t token_tiles = (args.m + plan.token_tile - 1) / plan.token_tile;
  if (args.op == NVFP4J_OP_GROUPED_GEMM)
    token_tiles += args.groups;  // at most: each group's last is not full
  const std::int64_t jobs = token_tiles * row_tiles * (p.batched ? args.groups : 1);
  void* arguments[] = {&p, &row_tiles, &token_tiles};
  return launch_programmatic(plan.token_tile == 8 ? kernel_of<1>(nvfp4, tiled, args.swiglu)
                                                  : kernel_of<4>(nvfp4, tiled, args.swiglu),
                             l, grid_of(jobs < INT32_MAX ? jobs : INT32_MAX), kGenericThreads, 0,
                             arguments);
}

}  // namespace

int gemm_cuda(const CudaLaunch& launch, const GemmArgs& args, const GemmPlan& plan) {
  if (args.m == 0) return cudaSuccess;
  switch (plan.kernel) {
    case GemmKernel::kDecode:
      return gemm_decode_sm90(launch, args, plan);
    case GemmKernel::kWgmma:
      return gemm_wgmma_sm90(launch, args, plan);
    default:
      return launch_generic(launch, args, plan);
  }
}

const char* gemm_cuda_path(const CudaDeviceProperties& device) {
  if (device.major < 8) return nullptr;
  return runs_sm90a(device) ? "sm_90: gemm_decode_sm90, gemm_wgmma_sm90 or gemm_generic, by shape "
                              "(nvfp4j_gemm_path), compute "
                              "capability 9.0"
                            : "generic: gemm_generic, compute capability 8.0 or newer";
}
const char* gemm_cuda_refusal(const CudaDeviceProperties& device) {
  return device.major < 8 ? "the CUDA kernels need compute capability 8.0 or newer" : nullptr;
}

int gemm_cuda_warm_up(const CudaDeviceProperties& device) {
  for (int i = 0; i < 16; ++i) {
    const bool nvfp4 = (i & 1) != 0, tiled = (i & 2) != 0, swiglu = (i & 4) != 0;
    const cudaError_t status = load_kernel((i & 8) != 0 ? kernel_of<4>(nvfp4, tiled, swiglu)
                                                        : kernel_of<1>(nvfp4, tiled, swiglu));
    if (status != cudaSuccess) return status;
  }
  if (!runs_sm90a(device)) return cudaSuccess;
  int status = load_tensor_maps();
  if (status == cudaSuccess) status = gemm_decode_sm90_warm_up();
  return status != cudaSuccess ? status : gemm_wgmma_sm90_warm_up();
}

std::int64_t gemm_cuda_workspace_bytes(const CudaDeviceProperties& device, std::int64_t rows,
                                       std::int64_t columns) {
  if (!runs_sm90a(device) || rows == 0 || columns == 0) return 0;
  return kWorkspaceExchangeBytes + packed_token_bytes(rows, columns);
}

}  // namespace nvfp4j
