// SPDX-License-Identifier: Apache-2.0
// router_dense on any device from compute capability 8.0 on.
//
// router_split, few tokens: bound by reading W once. Thread blocks share out experts (8, 16 or 24) and columns; a warp takes 32 columns at a time, as tensor core operands straight from memory, all that it has to read under way at once. Sums go to the thread block that finishes a token as
// words that carry the launch's tag: the data is its own flag, and nothing is fenced. All thread blocks are resident.
// router_tiles, many: a tile of tokens and 24 experts to a thread block, all columns; bound by the way from L2 to the multiprocessors, since operands meet in registers. The last thread block of a tile chooses for its tokens.
// NVIDIA H200, commit 508c04d40ccf, 384 x 7168: 1 and 8 tokens 6.0 us, half the speed of reading W, 64 tokens 12.3 us; W NVFP4, 1 token 6.9 us. Of few tokens much of it is the way of sums to another thread block, and the choice there. Where W was read to registers before the wait, as settled weights may be, it was slower: the loads of one launch got in the way of what the one before still waited for.
#include "device/launch.cuh"
#include "device/tagged_words.cuh"
#include "ops/router_dense/router_choose.cuh"
#include "ops/router_dense/router_dense_impl.hpp"
#include "ops/router_dense/router_dense_plan.hpp"
#include "ops/router_dense/router_sums.cuh"

namespace nvfp4j {
namespace {

using namespace device;

// Of the warps of a thread block, in their order.
template <int COUNT>
__device__ __forceinline__ float sum_of_warps(const float (&sums)[kRouterWarps][COUNT], int i) {
  float s = sums[0][i];
#pragma unroll
  for (int w = 1; w < kRouterWarps; ++w) s = __fadd_rn(s, sums[w][i]);
  return s;
}

// ---- few tokens ----------------------------------------------------------------------------------------------------------

// [token][slice of the columns][expert]: sums.
__device__ __forceinline__ std::uint64_t* split_words(const RouterTarget& t, std::int64_t token,
                                                      int slice) {
  return tagged_words(t.tagged) + (token * t.slices + slice) * t.gate.experts;
}

// A thread block's room in shared memory while it chooses.
struct SplitChooser {
  RouterChooser warp;
  float scores[NVFP4J_MAX_EXPERTS];
  std::uint32_t best[2 * kRouterWarps];
  int count;
};

// A token's sums as they come in, and its choice, by a thread block.
__device__ __forceinline__ void finish_token(const RouterTarget& t, std::int64_t token,
                                             std::uint32_t tag, SplitChooser& room) {
  constexpr int kSideBySide = 2;  // experts of a thread
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const float factor = scale_of_gate(t);
  std::uint64_t keys[kRouterKeysOfThread] = {};
  float scores[kRouterKeysOfThread] = {};
  std::uint32_t best = 0;
#pragma unroll
  for (int first = 0; first < kRouterKeysOfThread; first += kSideBySide) {
    if (first * kRouterThreads >= t.gate.experts) break;
    float bias[kSideBySide];
    std::uint64_t words[kSideBySide][kRouterSlices];
    int expert[kSideBySide];
    bool there[kSideBySide];
#pragma unroll
    for (int i = 0; i < kSideBySide; ++i) {
      expert[i] = (first + i) * kRouterThreads + static_cast<int>(threadIdx.x);
      there[i] = expert[i] < t.gate.experts;
      bias[i] = there[i] ? load(t.bias + expert[i]) : 0.0f;
#pragma unroll
      for (int s = 0; s < kRouterSlices; ++s) words[i][s] = 0;
    }
    // All words are asked for at once, and then those again that had not come.
    bool all;
    do {
      all = true;
#pragma unroll
      for (int i = 0; i < kSideBySide; ++i) {
#pragma unroll
        for (int s = 0; s < kRouterSlices; ++s) {
          if (there[i] & (s < t.slices) & !has_tag(words[i][s], tag))
            words[i][s] = load_shared_word(split_words(t, token, s) + expert[i]);
        }
      }
#pragma unroll
      for (int i = 0; i < kSideBySide; ++i) {
#pragma unroll
        for (int s = 0; s < kRouterSlices; ++s)
          all = all & (!there[i] | (s >= t.slices) | has_tag(words[i][s], tag));
      }
    } while (!all);
    float z[kSideBySide];
#pragma unroll
    for (int i = 0; i < kSideBySide; ++i) {
      z[i] = __uint_as_float(static_cast<std::uint32_t>(words[i][0]));
      // Of slices that there are not, zeros.
#pragma unroll
      for (int s = 1; s < kRouterSlices; ++s)
        z[i] = __fadd_rn(z[i], __uint_as_float(static_cast<std::uint32_t>(words[i][s])));
      z[i] = math::canonical_nan(__fmul_rn(z[i], factor));
      scores[first + i] = score_of(z[i]);
      const std::uint64_t key = router_key(__fadd_rn(scores[first + i], bias[i]), expert[i]);
      keys[first + i] = there[i] ? key : 0;
      best = max(best, upper_word(keys[first + i]));
    }
#pragma unroll
    for (int i = 0; i < kSideBySide; ++i) {
      if (there[i]) {
        room.scores[expert[i]] = scores[first + i];
        if (t.logits != nullptr) t.logits[token * t.logits_stride + expert[i]] = z[i];
        if (!math::is_finite(z[i]))
          report_here(t.status, t.op, NVFP4J_CAUSE_NON_FINITE_RESULT, token, expert[i]);
      }
    }
  }
  // The maxima of half warps, as many as k can be at most.
  const std::uint32_t low = __reduce_max_sync(0xffffffffu, lane < 16 ? best : 0u);
  const std::uint32_t high = __reduce_max_sync(0xffffffffu, lane < 16 ? 0u : best);
  if (lane < 2) room.best[2 * warp + lane] = lane == 0 ? low : high;
  if (threadIdx.x == 0) room.count = 0;
  __syncthreads();
  // The k-th largest of them.
  constexpr int kHalves = 2 * kRouterWarps;
  static_assert(kHalves == NVFP4J_MAX_TOPK);
  best = room.best[lane % kHalves];
  int ahead = 0;
#pragma unroll
  for (int h = 0; h < kHalves; ++h) {
    const std::uint32_t other = room.best[h];
    ahead += (other > best) | ((other == best) & (h < lane % kHalves)) ? 1 : 0;
  }
  const std::uint32_t least =
      __reduce_max_sync(0xffffffffu, ahead == t.choice.topk - 1 ? best : 0u);
#pragma unroll
  for (int i = 0; i < kRouterKeysOfThread; ++i) {
    if ((keys[i] != 0) & (upper_word(keys[i]) >= least)) {
      const int at = atomicAdd(&room.count, 1);
      if (at < 32) {
        room.warp.candidates[at] = keys[i];
        room.warp.of_candidates[at] = scores[i];
      }
    }
  }
  __syncthreads();
  if (warp == 0) {
    RouterChooser& r = room.warp;
    if (room.count <= 32) {
      if (lane < room.count) {
        const std::uint64_t mine = r.candidates[lane];
        const int place = place_of_candidate(r, room.count, mine);
        if (place < t.choice.topk) {
          r.experts[place] = router_expert(mine);
          r.scores[place] = r.of_candidates[lane];
        }
      }
    } else {
      choose_among_many(room.scores, true, t.bias, t.gate.experts, t.choice.topk, r.experts);
      if (lane < t.choice.topk) r.scores[lane] = room.scores[r.experts[lane]];
    }
    __syncwarp();
    const bool here = lane < t.choice.topk;
    write_slots<NVFP4J_MAX_TOPK>(t.choice, token, here, here ? r.experts[lane] : 0,
                                 here ? r.scores[lane] : 0.0f);
  }
}

// What a thread block reads of W is on its way to L2 while the kernel before still runs.
template <RouterOperands O, int EXPERTS>
__device__ __forceinline__ void prefetch_gate(const RouterTarget& t, int expert0,
                                              std::int64_t begin, std::int64_t end) {
  constexpr int kLine = 128;
  const int bits = O == RouterOperands::kNvfp4 ? 4 : 16;
  if (O == RouterOperands::kAny) return;
  const std::int64_t first = begin * kRouterUnit * bits / 8;
  const std::int64_t last = min(end * kRouterUnit, t.x.columns) * bits / 8;
  const int lines = static_cast<int>((last - first + kLine - 1) / kLine);
  for (int i = static_cast<int>(threadIdx.x); i < lines * EXPERTS; i += kRouterThreads) {
    const int expert = expert0 + i / lines;
    if (expert < t.gate.experts)
      prefetch_l2(static_cast<const char*>(t.gate.data) + expert * (t.gate.stride * bits / 8) +
                  first + i % lines * kLine);
  }
}

// And x, where it is not there already: of few tokens a line to a thread of the grid.
__device__ __forceinline__ void prefetch_x(const RouterTarget& t) {
  constexpr int kLine = 128;
  const int size = t.x.dtype == NVFP4J_DTYPE_F32 ? 4 : 2;
  const auto lines = static_cast<int>((t.x.columns * size + kLine - 1) / kLine);
  const int at = static_cast<int>(blockIdx.x * kRouterThreads + threadIdx.x);
  if (at < lines * t.launch_tokens)
    prefetch_l2(static_cast<const char*>(t.x.data) + at / lines * t.x.stride * size +
                static_cast<std::int64_t>(at % lines) * kLine);
}

template <RouterOperands O, int TOKENS, int EXPERTS, int UNITS>
__global__ void __launch_bounds__(kRouterThreads, 2) router_split(RouterTarget t) {
  __shared__ union {
    float sums[kRouterWarps][TOKENS * EXPERTS];
    SplitChooser chooser;
  } shared;
  __shared__ std::uint32_t tag_of_launch;
  const int group = static_cast<int>(blockIdx.x) / t.slices;
  const int slice = static_cast<int>(blockIdx.x) % t.slices;
  const int expert0 = group * EXPERTS;
  const std::int64_t begin = slice * t.units_of_slice;
  const std::int64_t end = min(begin + t.units_of_slice, t.units);
  prefetch_gate<O, EXPERTS>(t, expert0, begin, end);
  prefetch_x(t);
  await_predecessor();
  char* tagged = t.tagged;
  if (threadIdx.x == 0) {
    tag_of_launch = next_tag(tagged);
    if (blockIdx.x == 0) report_bad_global_scale(t);
  }
  for (std::int64_t token0 = 0; token0 < t.launch_tokens; token0 += TOKENS) {
    router_sums<O, TOKENS, EXPERTS, UNITS>(t, token0, expert0, begin, end,
                                           shared.sums[threadIdx.x / 32]);
    __syncthreads();
    const std::uint32_t tag = tag_of_launch;
    for (int i = static_cast<int>(threadIdx.x); i < TOKENS * EXPERTS; i += kRouterThreads) {
      const std::int64_t token = token0 + i / EXPERTS;
      const int expert = expert0 + i % EXPERTS;
      if (token < t.launch_tokens && expert < t.gate.experts) {
        const float sum = sum_of_warps(shared.sums, i);
        store_shared_word(split_words(t, token, slice) + expert,
                          tagged_word(tag, __float_as_uint(sum)));
      }
    }
    __syncthreads();
  }
  const std::uint32_t tag = tag_of_launch;
  for (std::int64_t token = blockIdx.x; token < t.launch_tokens; token += gridDim.x) {
    finish_token(t, token, tag, shared.chooser);
    // Words of every thread block have come.
    if (token == 0 && threadIdx.x == 0) end_tag(tagged, tag);
    __syncthreads();
  }
}

// ---- many tokens -----------------------------------------------------------------------------------------------------------

// A token whose logits are there, for the warp that chooses.
struct TileToken {
  const RouterTarget& t;
  std::int64_t at;
  const float* logits;

  __device__ __forceinline__ std::int64_t token(int) const { return at; }
  __device__ __forceinline__ bool there(int) const { return true; }
  __device__ __forceinline__ const float* values(int) const { return logits; }
  __device__ __forceinline__ float logit(int, int i) const {
    const int expert = 32 * i + static_cast<int>(threadIdx.x) % 32;
    return expert < t.gate.experts ? __ldcg(logits + expert) : 0.0f;
  }
  __device__ __forceinline__ float bias(int i) const {
    const int expert = 32 * i + static_cast<int>(threadIdx.x) % 32;
    return expert < t.gate.experts ? load(t.bias + expert) : __uint_as_float(0xFF800000u);
  }
};
template <int KEYS>
__device__ __forceinline__ void choose_token(const RouterTarget& t, std::int64_t token,
                                             RouterRoom<1>& room) {
  choose<KEYS, 1>(t, TileToken{t, token, t.logits + (token - t.scratch_token) * t.logits_stride},
                  room);
}

template <RouterOperands O, int TOKENS, int EXPERTS, int UNITS>
__global__ void __launch_bounds__(kRouterThreads, 1) router_tiles(RouterTarget t) {
  __shared__ union {
    float sums[kRouterWarps][TOKENS * EXPERTS];
    RouterRoom<1> rooms[kRouterWarps];
  } shared;
  const int expert0 = static_cast<int>(blockIdx.x) * EXPERTS;
  const std::int64_t token0 = t.first_token + static_cast<std::int64_t>(blockIdx.y) * TOKENS;
  const std::int64_t end_token = min(token0 + TOKENS, t.first_token + t.launch_tokens);
  await_predecessor();
  if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) report_bad_global_scale(t);
  router_sums<O, TOKENS, EXPERTS, UNITS>(t, token0, expert0, 0, t.units,
                                         shared.sums[threadIdx.x / 32]);
  __syncthreads();
  const float factor = scale_of_gate(t);
  for (int i = static_cast<int>(threadIdx.x); i < TOKENS * EXPERTS; i += kRouterThreads) {
    const std::int64_t token = token0 + i / EXPERTS;
    const int expert = expert0 + i % EXPERTS;
    if (token < end_token && expert < t.gate.experts) {
      t.logits[(token - t.scratch_token) * t.logits_stride + expert] =
          math::canonical_nan(__fmul_rn(sum_of_warps(shared.sums, i), factor));
    }
  }
  // Its logits are visible before it counts; what the last one reads comes after all have counted.
  __threadfence();
  __syncthreads();
  std::uint32_t* counter = t.exchange->counters + blockIdx.y;
  bool last = false;
  if (threadIdx.x == 0) {
    last = atomicAdd(counter, 1u) == gridDim.x - 1;
    if (last) *counter = 0u;
    __threadfence();
  }
  if (!__syncthreads_or(last)) return;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  for (std::int64_t token = token0 + warp; token < end_token; token += kRouterWarps) {
    if (t.gate.experts <= 256) {
      choose_token<8>(t, token, shared.rooms[warp]);
    } else if (t.gate.experts <= 512) {
      choose_token<16>(t, token, shared.rooms[warp]);
    } else {
      choose_token<32>(t, token, shared.rooms[warp]);
    }
  }
}

// ---- launches --------------------------------------------------------------------------------------------------------------

template <RouterOperands O>
const void* kernel_with(const RouterPlan& plan) {
  if (plan.kernel == RouterKernel::kSplit) {
    if constexpr (O == RouterOperands::kAny) {
      return reinterpret_cast<const void*>(&router_split<O, 8, 8, 1>);
    } else {
      if (plan.tokens == 8) return reinterpret_cast<const void*>(&router_split<O, 8, 16, 6>);
      return plan.experts == 16 ? reinterpret_cast<const void*>(&router_split<O, 16, 16, 3>)
                                : reinterpret_cast<const void*>(&router_split<O, 16, 24, 2>);
    }
  }
  if constexpr (O == RouterOperands::kAny) {
    return reinterpret_cast<const void*>(&router_tiles<O, 8, 8, 1>);
  } else {
    return plan.tokens == 16 ? reinterpret_cast<const void*>(&router_tiles<O, 16, 24, 2>)
                             : reinterpret_cast<const void*>(&router_tiles<O, 64, 24, 1>);
  }
}

const void* kernel_of(const RouterPlan& plan) {
  switch (plan.operands) {
    case RouterOperands::kBf16:
      return kernel_with<RouterOperands::kBf16>(plan);
    case RouterOperands::kNvfp4:
      return kernel_with<RouterOperands::kNvfp4>(plan);
    default:
      return kernel_with<RouterOperands::kAny>(plan);
  }
}

}  // namespace

int router_dense_generic(const CudaLaunch& launch, const RouterDenseArgs& args,
                         const RouterPlan& plan) {
  RouterTarget t = router_target(launch, args, plan);
  void* arguments[] = {&t};
  if (plan.kernel == RouterKernel::kSplit) {
    return launch_cooperative_programmatic(kernel_of(plan), launch,
                                           grid_of(std::int64_t{plan.groups} * plan.slices),
                                           kRouterThreads, 0, arguments);
  }
  if (args.logits == nullptr) {
    t.logits =
        reinterpret_cast<float*>(static_cast<char*>(launch.workspace) + kWorkspaceExchangeBytes);
    t.logits_stride = args.gate.experts;
  }
  for (; t.first_token < args.x.tokens; t.first_token += plan.launch_tokens) {
    t.launch_tokens = std::min(plan.launch_tokens, args.x.tokens - t.first_token);
    if (args.logits == nullptr) t.scratch_token = t.first_token;
    const dim3 grid(static_cast<unsigned>(plan.groups),
                    static_cast<unsigned>((t.launch_tokens + plan.tokens - 1) / plan.tokens));
    const int status =
        launch_programmatic(kernel_of(plan), launch, grid, kRouterThreads, 0, arguments);
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

int router_dense_generic_warm_up() {
  for (const RouterOperands operands :
       {RouterOperands::kBf16, RouterOperands::kNvfp4, RouterOperands::kAny}) {
    for (const RouterKernel kernel : {RouterKernel::kSplit, RouterKernel::kTiles}) {
      for (const int tokens : {8, 16, 64}) {
        for (const int experts : {8, 16, 24}) {
          const cudaError_t status =
              load_kernel(kernel_of(RouterPlan{kernel, operands, tokens, experts, 0, 0, 0, 0}));
          if (status != cudaSuccess) return status;
        }
      }
    }
  }
  return cudaSuccess;
}

}  // namespace nvfp4j
