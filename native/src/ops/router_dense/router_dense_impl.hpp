// SPDX-License-Identifier: Apache-2.0
// The launchers of router_dense's kernels, and what they hand to them.
#pragma once
#include "common/cuda_launch.hpp"
#include "nvfp4j/base.h"
#include "ops/router_dense/router_dense_args.hpp"
#include "ops/router_dense/router_dense_plan.hpp"
#include "ops/router_dense/router_target.cuh"

namespace nvfp4j {

inline RouterTarget router_target(const CudaLaunch& launch, const RouterDenseArgs& args,
                                  const RouterPlan& plan) {
  RouterTarget t{};
  t.x = args.x;
  t.gate = args.gate;
  t.choice = args.choice;
  t.bias = args.bias;
  t.logits = args.logits;
  t.logits_stride = args.logits_stride;
  t.status = launch.status;
  t.op = NVFP4J_OP_ROUTER_DENSE;
  char* workspace = static_cast<char*>(launch.workspace);
  t.tagged = workspace + kWorkspaceTaggedAt;
  t.exchange = reinterpret_cast<RouterExchange*>(workspace + kWorkspaceRouterAt);
  t.launch_tokens = plan.launch_tokens;
  t.units = (args.x.columns + kRouterUnit - 1) / kRouterUnit;
  t.units_of_slice = plan.units_of_slice;
  t.slices = plan.slices;
  return t;
}

// Both kernels of any device, from compute capability 8.0 on.
int router_dense_generic(const CudaLaunch& launch, const RouterDenseArgs& args,
                         const RouterPlan& plan);
int router_dense_generic_warm_up();
// Compute capability 9.0.
int router_dense_wgmma(const CudaLaunch& launch, const RouterDenseArgs& args,
                       const RouterPlan& plan);
int router_dense_wgmma_warm_up();

}  // namespace nvfp4j
