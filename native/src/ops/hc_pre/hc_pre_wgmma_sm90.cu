// SPDX-License-Identifier: Apache-2.0
// hc_pre and hc_post_pre of many tokens on sm_90 (hc_pre_wgmma.cuh).
#include "common/tensor_map.hpp"
#include "common/workspace_layout.hpp"
#include "ops/hc_pre/hc_pre_cuda_impl.hpp"
#include "ops/hc_pre/hc_pre_wgmma.cuh"

namespace nvfp4j {
namespace {

template <HcKind KIND>
const void* kernel_of_slice(int slice) {
  return slice == kHcGranule ? reinterpret_cast<const void*>(&device::hc_pre_wgmma_kernel<KIND, 1>)
                             : reinterpret_cast<const void*>(&device::hc_pre_wgmma_kernel<KIND, 2>);
}
const void* kernel_of(HcKind kind, int slice) {
  switch (kind) {
    case HcKind::kPre:
      return kernel_of_slice<HcKind::kPre>(slice);
    case HcKind::kPostPre:
      return kernel_of_slice<HcKind::kPostPre>(slice);
    default:
      return kernel_of_slice<HcKind::kPostPreTail>(slice);
  }
}

// Streams, or rows of the module before.
bool map_granules(const void* data, const HcShape& shape, std::int64_t token_stride, int streams,
                  std::int64_t stream_stride, CUtensorMap* map) {
  return make_tensor_map(
      {CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
       data,
       3u,
       {static_cast<cuuint64_t>(shape.columns), static_cast<cuuint64_t>(shape.tokens),
        static_cast<cuuint64_t>(streams)},
       {static_cast<cuuint64_t>(token_stride * 2), static_cast<cuuint64_t>(stream_stride * 2)},
       {kHcGranule, kHcWgmmaTile, 1u},
       CU_TENSOR_MAP_SWIZZLE_128B,
       CU_TENSOR_MAP_L2_PROMOTION_L2_128B},
      map);
}

bool map_streams(const HcStreams& s, const HcShape& shape, CUtensorMap* map) {
  return map_granules(s.data, shape, s.token_stride, kHcStreams, s.stream_stride, map);
}

bool map_all(const HcPreArgs& args, HcWgmmaMaps* maps) {
  if (args.op != NVFP4J_OP_HC_POST_PRE) return map_streams(args.x, args.shape, &maps->x);
  const HcRows& sub = args.before.sub;
  return map_streams(args.before.x, args.shape, &maps->x) &&
         map_granules(sub.data, args.shape, sub.stride, 1, args.shape.columns, &maps->sub);
}

}  // namespace

int hc_pre_wgmma(const CudaLaunch& launch, const HcPreArgs& args, const HcPrePlan& plan) {
  HcWgmmaArgs a{};
  static_cast<HcPreTarget&>(a) = HcPreTarget::of(launch, args);
  a.slice = plan.slice;
  a.slices = plan.slices;
  a.groups = plan.groups;
  a.layout = plan.wgmma;
  a.exchange = static_cast<char*>(launch.workspace) + kWorkspaceHcAt;
  HcWgmmaMaps maps = {};
  if (!map_all(args, &maps)) return cudaErrorInvalidValue;
  void* arguments[] = {&a, &maps};
  return launch_cooperative_programmatic(kernel_of(plan.kind, plan.slice), launch,
                                         grid_of(plan.grid), plan.threads, plan.shared_bytes,
                                         arguments);
}

int hc_pre_wgmma_warm_up(const CudaDeviceProperties& device) {
  const int maps = load_tensor_maps();
  if (maps != cudaSuccess) return maps;
  for (const HcKind kind : {HcKind::kPre, HcKind::kPostPre, HcKind::kPostPreTail}) {
    for (const int slice : {kHcGranule, kHcWgmmaMaxSlice}) {
      const void* const kernel = kernel_of(kind, slice);
      cudaError_t status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                device.shared_memory_per_block_optin);
      if (status != cudaSuccess) return status;
      // With another number at first, some would wait for registers that nobody gives.
      cudaFuncAttributes attributes;
      status = cudaFuncGetAttributes(&attributes, kernel);
      if (status != cudaSuccess) return status;
      if (attributes.numRegs != device::HcWgmmaRegisters::of(kind, slice / kHcGranule).at_first)
        return cudaErrorInvalidKernelImage;
    }
  }
  return cudaSuccess;
}

}  // namespace nvfp4j
