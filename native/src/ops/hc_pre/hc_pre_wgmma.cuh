// SPDX-License-Identifier: Apache-2.0
// hc_pre and hc_post_pre for n = 4, BF16 and many tokens: thread blocks share tokens, as in hc_pre_split.cuh, and multiply by warpgroups.
//
// A group of thread blocks works through tiles of 64 tokens; each has a slice of the columns, one or two lines of L2 of all four streams, and keeps its part of `fn` in shared memory for the whole launch, in three parts of BF16. The streams are read
// once from memory, into a ring of slots, a stream of a tile each; hc_pre reads them again from L2. Roles, each in warps of its own:
//   loader      fetches slot after slot (tensor loads with the 128-byte swizzle)
//   multipliers streams times fn: 24 sums a token and slice, sent to the thread block that finishes the token. Of hc_post_pre with a norm or codes they also write rows, two tiles later
//   mixers      of hc_pre add up a tile's squares, which frees its slots, and three tiles later read it again and make its collapsed rows. Of hc_post_pre they make the new residual in its slots first, take it to registers when they are done with the tile before, which
//               frees its slots, and make its collapsed rows as soon as `pre` has come
//   gatherers   add up the slices' sums of a token, make its mixing weights, and send `pre` to the group
//   balancer    makes comb of them
//   normer      (norm, quantisation) the same way through the group for rows: squares and largest magnitudes of collapsed rows
// All words go through global memory (hc_pre_exchange.cuh): the grid is cooperative.
//
// Products: a step is 16 columns. Those of a step with fn's first parts are a sum of their own (of two steps, one sum would lose what the second cancels of the first), and all of these are added as a tree, so that what is alike is added without rounding. Those with the two smaller parts stay in the tensor core's sums.
//
// What bounds it (H200, 8192 tokens of 7168 columns): a tile's way. Of hc_pre, which takes 208 us, a tile 6200 cycles, a multiplier is at work nearly all of the time (ncu, of a version that took 224 us: 85 %, and a quarter of that waiting for the tensor core); mixers wait
// for `pre` and for slots. More tiles under way would be more than L2 keeps until they are read again (two groups' tiles are 7.3 MB; ncu counts 1.13 times the streams as they are): with a fifth slot it is 223 us, with a ring of six tiles' words 221; rows four tiles later
// made 264 of 223, when words were not yet the last to leave L2. Of hc_post_pre mixers are at work nearly all of the time.
// In both, thread blocks wait for each other twice a tile, for the slowest of 56.
// Slices that share lines of L2 are worse: a kernel that only copies 940 MB takes 362 us in slices of 112 columns, 250 us in slices of 128. Tried without gain: streams kept in L2 as the last to leave (222 us); fn to L2 before the kernel before this one
// has ended; squares by wgmma (registers; 80 cycles a step instead of the 33 that it takes alone) and by mma.sync in mixers and in multipliers (it waits for wgmma); gatherers that share a token; slices of one line for many tokens (six tiles under way, but twice the words).
#pragma once
#include "ops/hc_pre/hc_pre_balance.cuh"
#include "ops/hc_pre/hc_pre_wgmma_finish.cuh"
#include "ops/hc_pre/hc_pre_wgmma_load.cuh"
#include "ops/hc_pre/hc_pre_wgmma_mix.cuh"
#include "ops/hc_pre/hc_pre_wgmma_multiply.cuh"
#include "ops/hc_pre/hc_pre_wgmma_read.cuh"

namespace nvfp4j::device {

// A thread's registers: at first, and of warpgroups that multiply, do the rest, and mix. As many as ptxas needs, and together no more than the thread block begins with.
struct HcWgmmaRegisters {
  int at_first, multiplier, others, mixer;

  static constexpr HcWgmmaRegisters of(HcKind kind, int granules) {
    switch (kind) {
      case HcKind::kPre:
        return {80, 120, 104, 64};
      case HcKind::kPostPre:
        return {128, 152, 88, 136};
      default:
        return granules == 1 ? HcWgmmaRegisters{128, 144, 128, 120}
                             : HcWgmmaRegisters{128, 144, 80, 144};
    }
  }
};
template <HcKind KIND, int GRANULES>
inline constexpr HcWgmmaRegisters kHcWgmmaRegisters = HcWgmmaRegisters::of(KIND, GRANULES);

// From here on, of a warpgroup's threads, which had so many.
template <int HAD, int N>
__device__ __forceinline__ void set_registers() {
  if constexpr (N > HAD)
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
  else if constexpr (N < HAD)
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

template <HcKind KIND, int GRANULES>
__global__ void __launch_bounds__(kHcWgmmaThreads<KIND>, 1)
    hc_pre_wgmma_kernel(const __grid_constant__ HcWgmmaArgs a,
                        const __grid_constant__ HcWgmmaMaps maps) {
  extern __shared__ __align__(1024) char smem[];
  constexpr HcWgmmaRegisters kRegisters = kHcWgmmaRegisters<KIND, GRANULES>;
  constexpr int kAtFirst = kRegisters.at_first;
  static_assert(128 * (kRegisters.multiplier + kRegisters.others) +
                    32 * kHcWgmmaMixers<KIND> * kRegisters.mixer <=
                kHcWgmmaThreads<KIND> * kAtFirst);
  const HcWgmmaPlaces<KIND, GRANULES> places(a, maps, smem);
  const HcWgmmaSetUp<KIND, GRANULES> set_up{places};
  const HcWgmmaLoader<KIND, GRANULES> loader{places};
  const int warpgroup = places.warp >> 2;
  const int quarter = places.warp & 3;
  const bool loads = warpgroup == 1 && quarter == 0;
  if (loads) places.make_barriers();
  await_predecessor();
  if (loads && elect_one()) loader.begin();
  if (threadIdx.x == 0) {
    *places.shared_tag() = places.first_tag();
  }
  set_up.load_fn();
  if constexpr (places.kTail) {
    if (a.norm_weight != nullptr) set_up.load_norm();
    if (a.quantize) zero_padding_rows(a.quantized);
  }
  fence_async_proxy();
  __syncthreads();
  // The first warpgroup multiplies: a warp's tokens are those of its number.
  if (warpgroup == 0) {
    set_registers<kAtFirst, kRegisters.multiplier>();
    HcWgmmaMultiplier<KIND, GRANULES>{places}.run();
  } else if (warpgroup == 1) {
    set_registers<kAtFirst, kRegisters.others>();
    if (quarter == 0) {
      if (elect_one()) loader.run();
    } else if (quarter <= places.kGatherers) {
      HcWgmmaGatherer<KIND, GRANULES>{places}.run(quarter - 1);
    } else if (quarter == places.kGatherers + 1) {
      HcBalancer<HcWgmmaPlaces<KIND, GRANULES>>{places}.run();
    } else if constexpr (places.kTail) {
      HcWgmmaNormer<KIND, GRANULES>{places}.run();
    }
  } else {
    set_registers<kAtFirst, kRegisters.mixer>();
    if constexpr (places.kPost)
      HcWgmmaMixer<KIND, GRANULES>{places}.run(places.warp - 8);
    else
      HcWgmmaReader<GRANULES>{places}.run(places.warp - 8);
  }
}

}  // namespace nvfp4j::device
