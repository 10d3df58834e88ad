// SPDX-License-Identifier: Apache-2.0
// Launches of router_dense_wgmma.cuh.
#include "common/tensor_map.hpp"
#include "device/launch.cuh"
#include "ops/router_dense/router_dense_impl.hpp"
#include "ops/router_dense/router_dense_wgmma.cuh"

namespace nvfp4j {
namespace {

struct Kernel {
  const void* kernel;
  int threads;
  int shared_bytes;
  int columns;  // of a step
};

template <int CLUSTER, int WARPGROUPS, int EXPERTS, int STAGES, bool NVFP4>
Kernel kernel_with() {
  using C = RouterWgmma<CLUSTER, WARPGROUPS, EXPERTS, STAGES, NVFP4>;
  return {reinterpret_cast<const void*>(&device::router_wgmma_kernel<C>), C::kThreads, C::kBytes,
          64 * C::kGranules};
}

// As many stages as fit.
template <bool NVFP4>
Kernel kernel_with(const RouterPlan& plan) {
  if (plan.groups == 2) {
    if (plan.experts == 128)
      return plan.tokens == 64 ? kernel_with<2, 1, 128, 4, NVFP4>()
                               : kernel_with<2, 2, 128, 3, NVFP4>();
    return plan.tokens == 64 ? kernel_with<2, 1, 192, 6, NVFP4>()
                             : kernel_with<2, 2, 192, 5, NVFP4>();
  }
  switch (plan.experts) {
    case 64:
      return plan.tokens == 64 ? kernel_with<4, 1, 64, 6, NVFP4>()
                               : kernel_with<4, 2, 64, 4, NVFP4>();
    case 96:
      return plan.tokens == 64 ? kernel_with<4, 1, 96, 5, NVFP4>()
                               : kernel_with<4, 2, 96, 4, NVFP4>();
    default:
      return plan.tokens == 64 ? kernel_with<4, 1, 128, 4, NVFP4>()
                               : kernel_with<4, 2, 128, 3, NVFP4>();
  }
}

Kernel kernel_of(const RouterPlan& plan) {
  return plan.operands == RouterOperands::kNvfp4 ? kernel_with<true>(plan)
                                                 : kernel_with<false>(plan);
}

bool map_rows(const void* data, std::int64_t columns, std::int64_t rows, std::int64_t stride,
              int box_rows, CUtensorMap* map) {
  return make_tensor_map(
      {CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
       data,
       2u,
       {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows), 1},
       {static_cast<cuuint64_t>(2 * (rows > 1 ? stride : (columns + 7) / 8 * 8)), 0},
       {64, static_cast<cuuint32_t>(box_rows), 1},
       CU_TENSOR_MAP_SWIZZLE_128B,
       CU_TENSOR_MAP_L2_PROMOTION_L2_256B},
      map);
}

}  // namespace

int router_dense_wgmma(const CudaLaunch& launch, const RouterDenseArgs& args,
                       const RouterPlan& plan) {
  RouterTarget t = router_target(launch, args, plan);
  device::RouterMaps maps{};
  if (!map_rows(args.x.data, args.x.columns, args.x.tokens, args.x.stride,
                plan.tokens / plan.groups, &maps.x) ||
      (plan.operands == RouterOperands::kBf16 &&
       !map_rows(args.gate.data, args.x.columns, args.gate.experts, args.gate.stride, plan.experts,
                 &maps.w)))
    return cudaErrorInvalidValue;
  const Kernel kernel = kernel_of(plan);
  // An even number, behind the last column of zeros.
  int steps =
      static_cast<int>((args.x.columns + 2 * kernel.columns - 1) / (2 * kernel.columns)) * 2;
  const std::int64_t tiles = (args.x.tokens + plan.tokens - 1) / plan.tokens;
  void* arguments[] = {&t, &maps, &steps};
  return launch_clusters(kernel.kernel, launch, grid_of(tiles * plan.groups), kernel.threads,
                         kernel.shared_bytes, plan.groups, arguments);
}

int router_dense_wgmma_warm_up() {
  for (const RouterOperands operands : {RouterOperands::kBf16, RouterOperands::kNvfp4}) {
    for (const int cluster : {2, 4}) {
      for (const int tokens : {64, 128}) {
        for (const int experts : {64, 96, 128, 192}) {
          RouterPlan plan{};
          plan.operands = operands;
          plan.tokens = tokens;
          plan.experts = experts;
          plan.groups = cluster;
          const Kernel kernel = kernel_of(plan);
          const cudaError_t status = cudaFuncSetAttribute(
              kernel.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kernel.shared_bytes);
          if (status != cudaSuccess) return status;
        }
      }
    }
  }
  return load_tensor_maps();
}

}  // namespace nvfp4j
