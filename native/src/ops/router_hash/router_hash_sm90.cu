// SPDX-License-Identifier: Apache-2.0
// router_hash of few tokens on Hopper: a cluster of thread blocks a token, each with a part of the columns. Bound by loads that wait for each other: id, experts, rows. So the addresses are looked at once before the kernel before has ended, for nothing but to bring what they lead to to L2; and a row is read by eight multiprocessors. Their
// sums go to the first of them, whose barrier counts the bytes.
// NVIDIA H200, 6ba2b34, 6 of 384 x 7168: 1 token 5.4 us, 64 tokens 6.8 us, all of it from memory (1 token with ids and table in L2: 2.4 us).
#include "device/cluster.cuh"
#include "device/launch.cuh"
#include "ops/router_hash/router_hash_impl.hpp"
#include "ops/router_hash/router_hash_rows.cuh"

namespace nvfp4j {
namespace {

using namespace device;

template <RouterOperands O>
__global__ void __launch_bounds__(kRouterHashClusterThreads)
    router_hash_cluster(RouterHashTarget t) {
  constexpr int kWarps = kRouterHashClusterThreads / 32;
  __shared__ RouterChooser room;
  __shared__ float sums[kWarps][NVFP4J_MAX_TOPK];
  __shared__ __align__(16) float parts[kRouterHashCluster][NVFP4J_MAX_TOPK];
  __shared__ __align__(16) float mine[NVFP4J_MAX_TOPK];
  __shared__ std::uint64_t arrived;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const std::uint32_t rank = cluster_rank();
  const std::int64_t token = blockIdx.x / kRouterHashCluster;
  // Packets of 8 columns, of NVFP4 whole blocks.
  const std::int64_t share =
      (t.x.columns + 16 * kRouterHashCluster - 1) / (16 * kRouterHashCluster) * 16;
  const std::int64_t begin = min(rank * share, t.x.columns);
  const std::int64_t end = min(begin + share, t.x.columns);
  const int quads = (t.choice.topk + 3) / 4;
  if (rank == 0 && threadIdx.x == 0) {
    mbarrier_init(&arrived, 1);
    mbarrier_init_fence();
    mbarrier_expect(&arrived, static_cast<std::uint32_t>(kRouterHashCluster * quads * 16));
  }
  __syncwarp();
  cluster_arrive_relaxed();
  if (t.early) prefetch_rows(t, token, begin, end, kRouterHashClusterThreads);
  await_predecessor();
  if (blockIdx.x == 0 && threadIdx.x == 0) report_bad_global_scale(t);
  const std::int64_t id = integer(t.ids, t.ids_are_64_bit, token);
  const int expert = expert_of_lane(t, id);
  for (int first = 0; first < t.choice.topk; first += kRouterHashRows) {
    int experts[kRouterHashRows];
#pragma unroll
    for (int j = 0; j < kRouterHashRows; ++j)
      experts[j] = __shfl_sync(0xffffffffu, expert, first + j);
    float sum[kRouterHashRows];
    row_sums<O>(t, token, experts, begin, end, kRouterHashClusterThreads, sum);
    const float s = sum_of_lanes(sum);
    if (lane % 4 == 0) sums[warp][first + lane / 4] = s;
  }
  __syncthreads();
  cluster_wait();  // all are there, and the barrier
  if (warp != 0) return;
  if (lane < 4 * quads) {
    float s = sums[0][lane];
#pragma unroll
    for (int w = 1; w < kWarps; ++w) s = __fadd_rn(s, sums[w][lane]);
    mine[lane] = s;
  }
  __syncwarp();
  if (lane < quads)
    store_cluster_async(cluster_address(smem_address(&parts[rank][4 * lane]), 0), mine + 4 * lane,
                        cluster_address(smem_address(&arrived), 0));
  if (rank != 0) return;
  report_bad_ids(t, token, id, expert);
  mbarrier_wait(&arrived, 0);
  float score = 0.0f;
  if (expert >= 0) {
    float z = parts[0][lane];
#pragma unroll
    for (int r = 1; r < kRouterHashCluster; ++r) z = __fadd_rn(z, parts[r][lane]);
    score = score_of_logit(t, token, expert, z);
  }
  write_choice(t.choice, token, lane, expert, score, room);
}

const void* kernel_of(RouterOperands operands) {
  return operands == RouterOperands::kBf16
             ? reinterpret_cast<const void*>(&router_hash_cluster<RouterOperands::kBf16>)
             : reinterpret_cast<const void*>(&router_hash_cluster<RouterOperands::kNvfp4>);
}

}  // namespace

int router_hash_cluster_sm90(const CudaLaunch& launch, const RouterHashArgs& args,
                             const RouterHashPlan& plan) {
  RouterHashTarget t = router_hash_target(launch, args, plan);
  void* arguments[] = {&t};
  return launch_clusters(kernel_of(plan.operands), launch, grid_of(plan.grid),
                         kRouterHashClusterThreads, 0, kRouterHashCluster, arguments);
}

int router_hash_cluster_warm_up() {
  for (const RouterOperands operands : {RouterOperands::kBf16, RouterOperands::kNvfp4}) {
    const cudaError_t status = load_kernel(kernel_of(operands));
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

}  // namespace nvfp4j
