// SPDX-License-Identifier: Apache-2.0
// hc_pre, hc_head and hc_post_pre for n = 4 and BF16: thread blocks share tokens. (hc_pre_wgmma.cuh does so with many tokens, but for hc_head.)
//
// A group of thread blocks works through tiles of 16 tokens; each has a slice of the columns, of all four streams, and keeps its part of `fn` in registers for the whole launch. So the streams are read once from
// memory and stay in shared memory until they are mixed, and `fn` is read once a group. Each warp has its work, and none waits for all others:
//   fetcher    asks for the weights of the module before, fetches `pre`
//   balancer   makes comb of the tokens that this thread block finishes
//   workers    have 16 columns of the slice each, of which nobody else reads: ask for them some tiles ahead, (hc_post_pre: make the new residual, in place,) multiply by fn, add up squares; add up the workers' sums of a token and send them: 25 numbers a token and slice;
//              some tiles later, when `pre` has come, mix and write
//   gatherers  add up the slices' sums of the tokens that this thread block finishes (they go round in the group), make the mixing weights, send `pre` to the group
//   tailers    (norm, quantisation) a further way through the group: sums of squares and maxima of the rows, then the normalised row and its codes
// All words go through global memory (hc_pre_exchange.cuh): the grid is cooperative.
//
// Products: x is BF16; a number of fn is the sum of three, h + m + l, to 2^-27 of it. A tensor core adds 16 products and what it is given, and cuts what does not fit F32: so those with h of one step of 16 columns are a sum of their own, to which the smaller ones are not added,
// and a worker's four such sums are added as a tree, so that what is alike is added without rounding; across slices sums are in F64. What is cut is on average kHcCut of a step's sum, and given back on average.
//
// Bound by the chain: fn, sums, a way through another thread block, Sinkhorn. So fn is on its way to L2 before the kernel before this one has ended.
#pragma once
#include "ops/hc_pre/hc_pre_balance.cuh"
#include "ops/hc_pre/hc_pre_split_fetcher.cuh"
#include "ops/hc_pre/hc_pre_split_gatherer.cuh"
#include "ops/hc_pre/hc_pre_split_tailer.cuh"
#include "ops/hc_pre/hc_pre_split_worker.cuh"

namespace nvfp4j::device {

template <HcKind KIND>
__global__ void __launch_bounds__(kHcSplitThreads, 1)
    hc_pre_split_kernel(const __grid_constant__ HcSplitArgs a) {
  extern __shared__ __align__(128) char smem[];
  const HcSplitPlaces<KIND> places(a, smem);
  const HcSplitWorker<KIND> worker{places};
  const int role = places.warp - a.workers;  // negative: a worker
  if (role < 0) worker.prefetch_fn();
  if (role == 0) places.make_barriers();
  if (places.width < a.slice) places.clear_behind_width();
  await_predecessor();
  typename HcSplitWorker<KIND>::Raw raw;
  if (role < 0) {
    worker.load_fn(raw);
    worker.ask_for(0, 0);
  }
  if constexpr (places.kTail) {
    if (a.quantize) zero_padding_rows(a.quantized);
  }
  __syncthreads();
  if (role < 0) {
    worker.run(raw);
  } else if (role == 0) {
    HcSplitFetcher<KIND>{places}.run();
  } else if (role <= a.gatherers) {
    HcSplitGatherer<KIND>{places}.run(role - 1);
  } else if (role == a.gatherers + 1 && !places.kHead) {
    HcBalancer<HcSplitPlaces<KIND>>{places}.run();
  } else if constexpr (places.kTail) {
    HcSplitTailer<KIND>{places}.run(role - 2 - a.gatherers);
  }
}

}  // namespace nvfp4j::device
