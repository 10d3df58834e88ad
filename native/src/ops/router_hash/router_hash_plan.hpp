// SPDX-License-Identifier: Apache-2.0
// How a launch of router_hash is shaped.
#pragma once
#include <algorithm>
#include <cstdint>

#include "ops/router_dense/router_dense_plan.hpp"
#include "ops/router_hash/router_hash_args.hpp"

namespace nvfp4j {

// 7168 columns in two packets of 8 a thread.
inline constexpr int kRouterHashThreads = 448;
// Rows of W that a thread has under way at a time.
inline constexpr int kRouterHashRows = 8;

// Thread blocks of a cluster, which share a token (few tokens, Hopper).
inline constexpr int kRouterHashCluster = 8;
// 7168 columns in a packet of 8 a thread.
inline constexpr int kRouterHashClusterThreads = 128;

struct RouterHashPlan {
  RouterOperands operands;
  bool cluster;
  std::int64_t grid;  // a token each, or more than one in turn; of clusters all of them
  bool early;         // rows are on their way to L2 before the kernel before has ended
};

inline RouterHashPlan plan_router_hash(const CudaDeviceProperties& device,
                                       const RouterHashArgs& args) {
  RouterHashPlan plan{};
  plan.operands = router_operands(args.x, args.gate);
  // While a multiprocessor has no more than a few thread blocks of clusters to hold.
  plan.cluster = router_has_sm90(device) && plan.operands != RouterOperands::kAny &&
                 args.x.tokens <= device.sm_count;
  plan.grid = plan.cluster ? args.x.tokens * kRouterHashCluster
                           : std::min<std::int64_t>(args.x.tokens, 0x7fffffff);
  // Thread blocks that are not resident when the kernel before ends have nothing to gain.
  plan.early = plan.cluster || args.x.tokens <= 2 * std::int64_t{device.sm_count};
  return plan;
}

}  // namespace nvfp4j
