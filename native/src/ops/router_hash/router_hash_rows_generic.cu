// SPDX-License-Identifier: Apache-2.0
// router_hash, a thread block a token: its id, the experts of that id, their rows of W; each thread multiplies the same columns of all rows with what it has of x. Of few tokens bound by loads that wait for each other. So id and experts are looked up before the kernel before has ended, and
// what they lead to is brought to L2, or to registers where W and the table are settled. Behind the wait rows are read by these experts while id and entries are read again; where another expert comes out, its row is read as well. Of many tokens bound by reading k rows of W a token from L2.
// NVIDIA H200, commit 508c04d40ccf, 6 of 384 x 7168, W settled: 1 token 2.7 us, 64 tokens 3.3 us.
#include <type_traits>

#include "device/launch.cuh"
#include "device/packet.cuh"
#include "ops/router_hash/router_hash_impl.hpp"
#include "ops/router_hash/router_hash_slots.cuh"

namespace nvfp4j {
namespace {

using namespace device;

constexpr int kWarps = kRouterHashThreads / 32;

// The experts of a token's id, in the lanes' places.
template <bool EARLY>
__device__ __forceinline__ int expert_of_lane(const RouterHashTarget& t, std::int64_t id) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return (lane < t.choice.topk) & within(id, t.vocabulary)
             ? expert_of(t, entry_of<EARLY>(t, id, lane))
             : -1;
}

// Bring x and the experts' rows to L2. What the kernel before still writes may be old here: nothing is used but addresses within the tensors.
constexpr int kLine = 128;
__device__ __forceinline__ void prefetch_x(const RouterHashTarget& t, std::int64_t token) {
  const int x_bytes = t.x.dtype == NVFP4J_DTYPE_F32 ? 4 : 2;
  const auto* x = static_cast<const char*>(t.x.data) + token * t.x.stride * x_bytes;
  for (std::int64_t at = std::int64_t{kLine} * threadIdx.x; at < t.x.columns * x_bytes;
       at += kLine * kRouterHashThreads)
    prefetch_l2(x + at);
}
__device__ __forceinline__ void prefetch_rows(const RouterHashTarget& t, int expert) {
  const int gate_bits = t.gate.scales != nullptr ? 4 : t.gate.dtype == NVFP4J_DTYPE_F32 ? 32 : 16;
  const std::int64_t bytes = (t.x.columns * gate_bits + 7) / 8;
  for (int j = 0; j < t.choice.topk; ++j) {
    const int row = __shfl_sync(0xffffffffu, expert, j);
    if (row < 0) continue;
    const auto* w = static_cast<const char*>(t.gate.data) + row * t.gate.stride * gate_bits / 8;
    for (std::int64_t at = std::int64_t{kLine} * threadIdx.x; at < bytes;
         at += kLine * kRouterHashThreads)
      prefetch_l2(w + at);
  }
}

// 8 columns of x and of kRouterHashRows rows of W, on their way from memory.
template <RouterOperands O>
struct HashPackets {
  using Gate = std::conditional_t<O == RouterOperands::kNvfp4, RouterCodes, uint4>;
  uint4 x;
  Gate w[kRouterHashRows];

  __device__ __forceinline__ void fetch_x(const RouterHashTarget& t, std::int64_t token,
                                          std::int64_t column) {
    x = router_packet(t.x.data, t.x.stride, token, column, column < t.x.columns);
  }
  __device__ __forceinline__ void fetch_rows(const RouterHashTarget& t,
                                             const int (&experts)[kRouterHashRows],
                                             std::int64_t column) {
    const bool there = column < t.x.columns;
#pragma unroll
    for (int j = 0; j < kRouterHashRows; ++j) {
      if constexpr (O == RouterOperands::kNvfp4) {
        w[j] = router_codes(t.gate, t.x.columns, experts[j], column, there & (experts[j] >= 0));
      } else {
        w[j] = router_packet(t.gate.data, t.gate.stride, experts[j], column,
                             there & (experts[j] >= 0));
      }
    }
  }

  __device__ __forceinline__ void add(const RouterHashTarget& t,
                                      const int (&experts)[kRouterHashRows], std::int64_t column,
                                      float (&sum)[kRouterHashRows]) const {
    float a[8];
    unpack<Bf16>(x, a);
#pragma unroll
    for (int j = 0; j < kRouterHashRows; ++j) {
      uint4 row;
      if constexpr (O == RouterOperands::kNvfp4) {
        if (bad_block_scale(w[j].scale))
          report_here(t.status, t.op, NVFP4J_CAUSE_BAD_BLOCK_SCALE, experts[j], column / 16 * 16);
        row = expand(w[j]);
      } else {
        row = w[j];
      }
      float b[8];
      unpack<Bf16>(row, b);
      if (experts[j] >= 0) {
#pragma unroll
        for (int i = 0; i < 8; ++i) sum[j] = __fmaf_rn(a[i], b[i], sum[j]);
      }
    }
  }
};

__device__ __forceinline__ void spread(int expert, int first, int (&experts)[kRouterHashRows]) {
#pragma unroll
  for (int j = 0; j < kRouterHashRows; ++j)
    experts[j] = __shfl_sync(0xffffffffu, expert, first + j);
}

// Sums over the warp of kRouterHashRows numbers a lane: that of number lane / 4, in every lane.
__device__ __forceinline__ float sum_of_lanes(float (&v)[kRouterHashRows]) {
  static_assert(kRouterHashRows == 8);
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int step = 16, count = 4; count >= 1; step /= 2, count /= 2) {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const bool upper = (lane & step) != 0;
      const float kept = upper ? v[i + count] : v[i];
      const float given = upper ? v[i] : v[i + count];
      v[i] = __fadd_rn(kept, __shfl_xor_sync(0xffffffffu, given, step));
    }
  }
#pragma unroll
  for (int step = 2; step >= 1; step /= 2)
    v[0] = __fadd_rn(v[0], __shfl_xor_sync(0xffffffffu, v[0], step));
  return v[0];
}

// A token's id and the experts of it in the lanes' places, -1 where there is none.
struct HashExperts {
  std::int64_t id;
  int expert;
};

// Before the wait: x is brought to L2, and by what id and table are now rows of W are, or, where W and the table are settled, to registers.
template <RouterOperands O>
__device__ __forceinline__ HashExperts fetch_early(const RouterHashTarget& t, std::int64_t token,
                                                   HashPackets<O>& packets) {
  HashExperts guess = {id_of<true>(t, token), -1};
  prefetch_x(t, token);
  guess.expert = expert_of_lane<true>(t, guess.id);
  if constexpr (O != RouterOperands::kAny) {
    if (t.settled) {
      int experts[kRouterHashRows];
      spread(guess.expert, 0, experts);
      packets.fetch_rows(t, experts, std::int64_t{8} * threadIdx.x);
      return guess;
    }
  }
  prefetch_rows(t, guess.expert);
  return guess;
}

// Behind the wait: the first kRouterHashRows rows and x, and then what `guess` has to be. It is read while rows by it are on their way, or have come (fetch_early).
template <RouterOperands O>
__device__ __forceinline__ void fetch_guessed(const RouterHashTarget& t, std::int64_t token,
                                              HashExperts& guess, HashPackets<O>& packets) {
  const std::int64_t column = std::int64_t{8} * threadIdx.x;
  int experts[kRouterHashRows];
  packets.fetch_x(t, token, column);
  const std::int64_t id = id_of(t, token);
  if (!t.settled) {
    spread(guess.expert, 0, experts);
    packets.fetch_rows(t, experts, column);
  }
  // Of the same id a settled table says the same.
  const int expert = t.settled & (id == guess.id) ? guess.expert : expert_of_lane<false>(t, id);
  const bool other = __any_sync(0xffffffffu, expert != guess.expert);
  guess = {id, expert};
  if (other) {
    spread(expert, 0, experts);
    packets.fetch_rows(t, experts, column);
  }
}

// Sums of this thread's columns with the rows of experts `first` and on. `fetched`: of x and these rows the first packets have been.
template <RouterOperands O>
__device__ __forceinline__ void row_sums(const RouterHashTarget& t, std::int64_t token, int first,
                                         int expert, bool fetched, HashPackets<O>& packets,
                                         float (&sum)[kRouterHashRows]) {
#pragma unroll
  for (int j = 0; j < kRouterHashRows; ++j) sum[j] = 0.0f;
  int experts[kRouterHashRows];
  spread(expert, first, experts);
  if constexpr (O == RouterOperands::kAny) {
    for (std::int64_t column = threadIdx.x; column < t.x.columns; column += kRouterHashThreads) {
      const float x = element(t.x.data, t.x.dtype, token * t.x.stride + column);
#pragma unroll
      for (int j = 0; j < kRouterHashRows; ++j) {
        if (experts[j] >= 0) sum[j] = __fmaf_rn(x, gate_element(t, experts[j], column), sum[j]);
      }
    }
  } else {
    std::int64_t column = std::int64_t{8} * threadIdx.x;
    if (fetched) {
      packets.add(t, experts, column, sum);
      column += 8 * kRouterHashThreads;
    }
    for (; column < t.x.columns; column += 8 * kRouterHashThreads) {
      packets.fetch_x(t, token, column);
      packets.fetch_rows(t, experts, column);
      packets.add(t, experts, column, sum);
    }
  }
}

template <RouterOperands O>
__global__ void __launch_bounds__(kRouterHashThreads, 1)
    router_hash_rows_kernel(RouterHashTarget t) {
  __shared__ float sums[kWarps][NVFP4J_MAX_TOPK];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  HashPackets<O> packets;
  HashExperts experts = {-1, -1};
  if (t.early) experts = fetch_early(t, blockIdx.x, packets);
  await_predecessor();
  if (blockIdx.x == 0 && threadIdx.x == 0) report_bad_global_scale(t);
  for (std::int64_t token = blockIdx.x; token < t.x.tokens; token += gridDim.x) {
    if (O != RouterOperands::kAny && t.early) {
      fetch_guessed(t, token, experts, packets);
    } else {
      experts.id = id_of(t, token);
      experts.expert = expert_of_lane<false>(t, experts.id);
    }
    for (int first = 0; first < t.choice.topk; first += kRouterHashRows) {
      float sum[kRouterHashRows];
      row_sums<O>(t, token, first, experts.expert, t.early & (first == 0), packets, sum);
      const float s = sum_of_lanes(sum);
      if (lane % 4 == 0) sums[warp][first + lane / 4] = s;
    }
    __syncthreads();
    if (warp == 0) {
      if (lane < t.choice.topk) report_bad_ids(t, token, experts.id, lane, experts.expert);
      // A slot to two lanes, which have every other warp's sums each.
      const int slot = lane % NVFP4J_MAX_TOPK;
      const int half = lane / NVFP4J_MAX_TOPK;
      float z = sums[half][slot];
#pragma unroll
      for (int w = 2; w < kWarps; w += 2) z = __fadd_rn(z, sums[w + half][slot]);
      z = __fadd_rn(z, __shfl_xor_sync(0xffffffffu, z, NVFP4J_MAX_TOPK));
      const float score = experts.expert >= 0 ? score_of_logit(t, token, experts.expert, z) : 0.0f;
      write_slots<NVFP4J_MAX_TOPK>(t.choice, token, lane < NVFP4J_MAX_TOPK, experts.expert, score);
    }
    __syncthreads();
  }
}

const void* kernel_of(RouterOperands operands) {
  return operands == RouterOperands::kBf16
             ? reinterpret_cast<const void*>(&router_hash_rows_kernel<RouterOperands::kBf16>)
         : operands == RouterOperands::kNvfp4
             ? reinterpret_cast<const void*>(&router_hash_rows_kernel<RouterOperands::kNvfp4>)
             : reinterpret_cast<const void*>(&router_hash_rows_kernel<RouterOperands::kAny>);
}

}  // namespace

int router_hash_rows(const CudaLaunch& launch, const RouterHashArgs& args,
                     const RouterHashPlan& plan) {
  RouterHashTarget t = router_hash_target(launch, args, plan);
  void* arguments[] = {&t};
  return launch_programmatic(kernel_of(plan.operands), launch, grid_of(plan.grid),
                             kRouterHashThreads, 0, arguments);
}

int router_hash_rows_warm_up() {
  for (const RouterOperands operands :
       {RouterOperands::kBf16, RouterOperands::kNvfp4, RouterOperands::kAny}) {
    const cudaError_t status = load_kernel(kernel_of(operands));
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

}  // namespace nvfp4j
