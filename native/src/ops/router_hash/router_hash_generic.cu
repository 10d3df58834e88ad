// SPDX-License-Identifier: Apache-2.0
// router_hash on any device from compute capability 8.0 on. A thread block a token: its id, the experts of that id, their rows of W; each thread multiplies the same columns of all rows with what it has of x. Bound by reading k rows of W a token from L2.
// NVIDIA H200, 6ba2b34, 6 of 384 x 7168: 8192 tokens 147 us, 5.6 TB/s from L2 to the multiprocessors.
#include "device/launch.cuh"
#include "ops/router_hash/router_hash_impl.hpp"
#include "ops/router_hash/router_hash_rows.cuh"

namespace nvfp4j {
namespace {

using namespace device;

template <RouterOperands O>
__global__ void __launch_bounds__(kRouterHashThreads, 2) router_hash_rows(RouterHashTarget t) {
  constexpr int kWarps = kRouterHashThreads / 32;
  __shared__ RouterChooser room;
  __shared__ float sums[kWarps][NVFP4J_MAX_TOPK];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  if (t.early) prefetch_rows(t, blockIdx.x, 0, t.x.columns, kRouterHashThreads);
  await_predecessor();
  if (blockIdx.x == 0 && threadIdx.x == 0) report_bad_global_scale(t);
  for (std::int64_t token = blockIdx.x; token < t.x.tokens; token += gridDim.x) {
    const std::int64_t id = integer(t.ids, t.ids_are_64_bit, token);
    const int expert = expert_of_lane(t, id);
    if (warp == 0) report_bad_ids(t, token, id, expert);
    for (int first = 0; first < t.choice.topk; first += kRouterHashRows) {
      int experts[kRouterHashRows];
#pragma unroll
      for (int j = 0; j < kRouterHashRows; ++j)
        experts[j] = __shfl_sync(0xffffffffu, expert, first + j);
      float sum[kRouterHashRows];
      row_sums<O>(t, token, experts, 0, t.x.columns, kRouterHashThreads, sum);
      const float s = sum_of_lanes(sum);
      if (lane % 4 == 0) sums[warp][first + lane / 4] = s;
    }
    __syncthreads();
    if (warp == 0) {
      float score = 0.0f;
      if (expert >= 0) {
        float z = sums[0][lane];
#pragma unroll
        for (int w = 1; w < kWarps; ++w) z = __fadd_rn(z, sums[w][lane]);
        score = score_of_logit(t, token, expert, z);
      }
      write_choice(t.choice, token, lane, expert, score, room);
    }
    __syncthreads();
  }
}

const void* kernel_of(RouterOperands operands) {
  return operands == RouterOperands::kBf16
             ? reinterpret_cast<const void*>(&router_hash_rows<RouterOperands::kBf16>)
         : operands == RouterOperands::kNvfp4
             ? reinterpret_cast<const void*>(&router_hash_rows<RouterOperands::kNvfp4>)
             : reinterpret_cast<const void*>(&router_hash_rows<RouterOperands::kAny>);
}

}  // namespace

int router_hash_generic(const CudaLaunch& launch, const RouterHashArgs& args,
                        const RouterHashPlan& plan) {
  RouterHashTarget t = router_hash_target(launch, args, plan);
  void* arguments[] = {&t};
  return launch_programmatic(kernel_of(plan.operands), launch, grid_of(plan.grid),
                             kRouterHashThreads, 0, arguments);
}

int router_hash_generic_warm_up() {
  for (const RouterOperands operands :
       {RouterOperands::kBf16, RouterOperands::kNvfp4, RouterOperands::kAny}) {
    const cudaError_t status = load_kernel(kernel_of(operands));
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

}  // namespace nvfp4j
