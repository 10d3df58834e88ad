// SPDX-License-Identifier: Apache-2.0
// hc_pre, hc_head and hc_post_pre on sm_90 (hc_pre_split.cuh).
#include "common/workspace_layout.hpp"
#include "ops/hc_pre/hc_pre_cuda_impl.hpp"
#include "ops/hc_pre/hc_pre_split.cuh"

namespace nvfp4j {
namespace {

const void* kernel_of(HcKind kind) {
  switch (kind) {
    case HcKind::kHead:
      return reinterpret_cast<const void*>(&device::hc_pre_split_kernel<HcKind::kHead>);
    case HcKind::kPre:
      return reinterpret_cast<const void*>(&device::hc_pre_split_kernel<HcKind::kPre>);
    case HcKind::kPostPre:
      return reinterpret_cast<const void*>(&device::hc_pre_split_kernel<HcKind::kPostPre>);
    default:
      return reinterpret_cast<const void*>(&device::hc_pre_split_kernel<HcKind::kPostPreTail>);
  }
}

}  // namespace

int hc_pre_split(const CudaLaunch& launch, const HcPreArgs& args, const HcPrePlan& plan) {
  HcSplitArgs a{};
  static_cast<HcPreTarget&>(a) = HcPreTarget::of(launch, args);
  a.slice = plan.slice;
  a.slices = plan.slices;
  a.groups = plan.groups;
  a.workers = plan.workers;
  a.gatherers = plan.gatherers;
  a.layout = plan.layout;
  a.exchange = static_cast<char*>(launch.workspace) + kWorkspaceHcAt;
  void* arguments[] = {&a};
  return launch_cooperative_programmatic(kernel_of(plan.kind), launch, grid_of(plan.grid),
                                         plan.threads, plan.shared_bytes, arguments);
}

int hc_pre_split_warm_up(const CudaDeviceProperties& device) {
  for (const HcKind kind : {HcKind::kHead, HcKind::kPre, HcKind::kPostPre, HcKind::kPostPreTail}) {
    const cudaError_t status =
        cudaFuncSetAttribute(kernel_of(kind), cudaFuncAttributeMaxDynamicSharedMemorySize,
                             device.shared_memory_per_block_optin);
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

}  // namespace nvfp4j
