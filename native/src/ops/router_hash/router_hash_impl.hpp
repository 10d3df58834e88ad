// SPDX-License-Identifier: Apache-2.0
// The launchers of router_hash's kernels.
#pragma once
#include "common/cuda_launch.hpp"
#include "ops/router_hash/router_hash_args.hpp"
#include "ops/router_hash/router_hash_plan.hpp"

namespace nvfp4j {

// Any device from compute capability 8.0 on.
int router_hash_generic(const CudaLaunch& launch, const RouterHashArgs& args,
                        const RouterHashPlan& plan);
int router_hash_generic_warm_up();
// Compute capability 9.0.
int router_hash_cluster_sm90(const CudaLaunch& launch, const RouterHashArgs& args,
                             const RouterHashPlan& plan);
int router_hash_cluster_warm_up();

}  // namespace nvfp4j
