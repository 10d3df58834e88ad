// SPDX-License-Identifier: Apache-2.0
// hc_pre, hc_head and hc_post_pre on sm_90 (hc_pre_split.cuh).
#include "common/workspace_layout.hpp"
#include "device/launch.cuh"
#include "nvfp4j/hyper_connections.h"
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
  const HcShape& shape = args.shape;
  const bool post = args.op == NVFP4J_OP_HC_POST_PRE;
  const HcStreams& x = post ? args.before.x : args.x;
  HcSplitArgs a{};
  a.x = static_cast<const char*>(x.data);
  a.x_token = x.token_stride * 2;
  a.x_stream = x.stream_stride * 2;
  if (post) {
    a.sub = static_cast<const char*>(args.before.sub.data);
    a.sub_token = args.before.sub.stride * 2;
    a.post_before = args.before.post.data;
    a.post_before_token = args.before.post.stride;
    a.comb_before = args.before.comb.data;
    a.comb_before_token = args.before.comb.stride;
    a.out = static_cast<char*>(args.x.data);
    a.out_token = args.x.token_stride * 2;
    a.out_stream = args.x.stream_stride * 2;
  }
  a.fn = args.module.fn;
  a.fn_row = args.module.fn_stride;
  a.base = args.module.base;
  a.scale = args.module.scale;
  a.inverse_count = 1.0 / static_cast<double>(shape.n * shape.columns);
  a.inverse_columns = 1.0 / static_cast<double>(shape.columns);
  a.hc_eps = args.module.hc_eps;
  a.rms_eps = args.module.rms_eps;
  a.iterations = args.module.iterations;
  a.collapsed = static_cast<char*>(args.collapsed.data);
  a.collapsed_token = args.collapsed.stride * 2;
  a.post = args.post.data;
  a.post_token = args.post.stride;
  a.comb = args.comb.data;
  a.comb_token = args.comb.stride;
  a.norm_weight = static_cast<const char*>(args.norm_weight);
  a.norm_f32 = args.norm_dtype == NVFP4J_DTYPE_F32;
  a.quantize = args.quantize;
  if (args.quantize) {
    a.recipe = args.recipe.recipe;
    a.quantized = QuantizeTarget::of(args.quantized, args.recipe, args.op, shape.tokens,
                                     shape.columns, launch.status);
  }
  a.tokens = shape.tokens;
  a.columns = static_cast<int>(shape.columns);
  a.slice = plan.slice;
  a.slices = plan.slices;
  a.groups = plan.groups;
  a.workers = plan.workers;
  a.gatherers = plan.gatherers;
  a.layout = plan.layout;
  a.exchange = static_cast<char*>(launch.workspace) + kWorkspaceGridBytes;
  a.status = launch.status;
  a.op = args.op;
  void* arguments[] = {&a};
  return launch_cooperative(kernel_of(plan.kind), launch, grid_of(plan.grid), plan.threads,
                            plan.shared_bytes, arguments);
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
