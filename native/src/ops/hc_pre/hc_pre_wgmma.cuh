// SPDX-License-Identifier: Apache-2.0
// hc_pre and hc_post_pre for n = 4, BF16 and many tokens: thread blocks share tokens, as in hc_pre_split.cuh, and multiply by warpgroups.
//
// A group of thread blocks works through tiles of 64 tokens; each has a slice of the columns, of all four streams, and keeps its part of `fn` in shared memory for the whole launch, in three parts of BF16. So the streams are read once from
// memory and stay in shared memory until they are mixed: a ring of slots, a stream of a tile each. Roles, each in warps of its own:
//   loader      fetches slot after slot
//   makers      add up squares; of hc_post_pre they make the new residual, in place
//   multipliers streams times fn: 24 sums a token and slice, sent to the thread block that finishes the token
//   gatherers   add up the slices' sums of such a token, make its mixing weights, and send `pre` to the group
//   balancer    makes comb of them
//   mixers      make the collapsed rows, when `pre` has come, and free the slots
//   normer      (norm, quantisation) the same way through the group for rows: squares and largest magnitudes of collapsed rows
//   writers     (norm, quantisation) rows and codes
// All words go through global memory (hc_pre_exchange.cuh): the grid is cooperative.
//
// Products: a step is 16 columns. The products of a step with fn's first parts are a sum of their own, which is added to the others with rounding, as in hc_pre_split; those with the two smaller parts stay in the tensor core's sums.
//
// What bounds it (H200, 1024 tokens of 7168 columns): memory would take some 3000 cycles for a tile of whole lines of L2; but slices of 112 columns share lines, of which each of two thread blocks writes a part, and a kernel that only copies 940 MB in such slices takes 362 us, of 128
// columns. And a tile's way, about 14000, of which shared memory holds two tiles and a half: 2300 until its last slot has come, 1500 until it is multiplied,
// 4000 until all slices' sums are there, 1300 for its mixing weights, 2000 until they are there in all thread blocks, 1600 to mix. Tried and slower: slices of 64 columns (six tiles in flight, but twice the words; the ways get longer); asynchronous copies of
// threads (two warps get half of what the tensor loads do); tensor stores of the new residual (of 32-byte rows: they hold up the loads behind them).
#pragma once
#include "ops/hc_pre/hc_pre_balance.cuh"
#include "ops/hc_pre/hc_pre_wgmma_finish.cuh"
#include "ops/hc_pre/hc_pre_wgmma_load.cuh"
#include "ops/hc_pre/hc_pre_wgmma_make.cuh"
#include "ops/hc_pre/hc_pre_wgmma_mix.cuh"
#include "ops/hc_pre/hc_pre_wgmma_multiply.cuh"
#include "ops/hc_pre/hc_pre_wgmma_write.cuh"

namespace nvfp4j::device {

// Of the kernel with a tail, whose five warpgroups need registers of different numbers: all together, what the thread block begins with.
struct HcTailRegisters {
  static constexpr int kMultiplier = 112;
  static constexpr int kMaker = 120;
  static constexpr int kMixer = 64;
  static constexpr int kOthers = 104;
  static constexpr int kWriter = 80;
  static constexpr int kAtFirst = 96;
  static_assert(kMultiplier + kMaker + kMixer + kOthers + kWriter == 5 * kAtFirst);
};

// Registers of a warpgroup's threads from here on.
template <int N>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

template <HcKind KIND>
__global__ void __launch_bounds__(hc_wgmma_threads(KIND), 1)
    hc_pre_wgmma_kernel(const __grid_constant__ HcWgmmaArgs a,
                        const __grid_constant__ HcWgmmaMaps maps) {
  extern __shared__ __align__(256) char smem[];
  const HcWgmmaPlaces<KIND> places(a, maps, smem);
  const HcWgmmaSetUp<KIND> set_up{places};
  if (places.warp == 0) places.make_barriers();
  await_predecessor();
  if (threadIdx.x == 0) {
    *places.shared_tag() = places.first_tag();
  }
  set_up.load_fn();
  if constexpr (places.kTail) {
    if (a.norm_weight != nullptr) set_up.load_norm();
    if (a.quantize) zero_padding_rows(a.quantized);
  }
  fence_for_wgmma();
  __syncthreads();
  const int warpgroup = places.warp >> 2;
  const int quarter = places.warp & 3;
  // The first warpgroup multiplies: a warp's tokens are those of its number.
  if (warpgroup == 0) {
    if constexpr (places.kTail) take_registers<HcTailRegisters::kMultiplier>();
    HcWgmmaMultiplier<KIND>{places}.run();
  } else if (warpgroup == 1) {
    if constexpr (places.kTail) take_registers<HcTailRegisters::kMaker>();
    HcWgmmaMaker<KIND>{places}.run(quarter);
  } else if (warpgroup == 2) {
    if constexpr (places.kTail) give_registers<HcTailRegisters::kMixer>();
    HcWgmmaMixer<KIND>{places}.run(quarter);
  } else if (warpgroup == 3) {
    if constexpr (places.kTail) take_registers<HcTailRegisters::kOthers>();
    if (quarter == 0) {
      if (elect_one()) HcWgmmaLoader<KIND>{places}.run();
    } else if (quarter <= places.kGatherers) {
      HcWgmmaGatherer<KIND>{places}.run(quarter - 1);
    } else if (quarter == places.kGatherers + 1) {
      HcBalancer<HcWgmmaPlaces<KIND>>{places}.run();
    } else if constexpr (places.kTail) {
      HcWgmmaNormer<KIND>{places}.run();
    }
  } else if constexpr (places.kTail) {
    give_registers<HcTailRegisters::kWriter>();
    HcWgmmaWriter<KIND>{places}.run(quarter);
  }
}

}  // namespace nvfp4j::device
