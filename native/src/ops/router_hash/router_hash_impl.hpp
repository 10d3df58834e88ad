// SPDX-License-Identifier: Apache-2.0
// The launchers of router_hash's kernels.
#pragma once
#include "common/cuda_launch.hpp"
#include "ops/router_hash/router_hash_args.hpp"
#include "ops/router_hash/router_hash_plan.hpp"

namespace nvfp4j {

// Both on any device from compute capability 8.0 on.
int router_hash_rows(const CudaLaunch& launch, const RouterHashArgs& args,
                     const RouterHashPlan& plan);
int router_hash_rows_warm_up();
int router_hash_tiles(const CudaLaunch& launch, const RouterHashArgs& args,
                      const RouterHashPlan& plan);
int router_hash_tiles_warm_up(const CudaDeviceProperties& device);

}  // namespace nvfp4j
