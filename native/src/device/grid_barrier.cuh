// SPDX-License-Identifier: Apache-2.0
// A maximum over all thread blocks of a cooperative grid: barrier and reduction in one exchange. And the barrier alone.
//
// Each thread block stores (epoch, its maximum) in its slot, one 64-bit word, and waits until all slots carry this launch's epoch. No atomics and no fences: the data is its own flag.
// The epoch is one more than the word in memory, which thread block 0 advances after it has seen every slot, hence after every block has read it. So the state is reusable after every
// launch, also by grids of other sizes and other ops, and in graph replays; all zeros is a valid start. (Launches on one workspace are ordered: a context is one stream.)
#pragma once
#include <cstdint>

#include "device/grid_barrier_layout.hpp"
#include "device/ptx.cuh"
#include "device/reduce.cuh"

namespace nvfp4j {

namespace device {

// To be read before the first grid_max or grid_sync of a launch, early, so that its latency is hidden. (There is one grid_max a launch.)
__device__ __forceinline__ std::uint32_t grid_epoch(const GridExchange* x) {
  return static_cast<std::uint32_t>(load_shared_word(&x->epoch)) + 1u;
}

// Maximum of v over the grid, in every thread. `scratch` has 64 words. Needs a co-resident grid.
__device__ __forceinline__ std::uint32_t grid_max(std::uint32_t v, GridExchange* x,
                                                  std::uint32_t epoch, std::uint32_t* scratch) {
  v = block_max(v, scratch);
  // Words that other launches left behind, in whatever layout, carry older epochs.
  const std::uint32_t stride = (gridDim.x + 15u) / 16u * 16u;
  const std::uint64_t word = static_cast<std::uint64_t>(epoch) << 32 | v;
  if (threadIdx.x < kGridExchangeCopies) {
    store_shared_word(&x->slots[threadIdx.x * stride + blockIdx.x], word);
  }
  const std::uint64_t* slots = &x->slots[blockIdx.x % kGridExchangeCopies * stride];
  for (std::uint32_t i = threadIdx.x; i < gridDim.x; i += blockDim.x) {
    std::uint64_t other = load_shared_word(&slots[i]);
    while (static_cast<std::uint32_t>(other >> 32) != epoch) other = load_shared_word(&slots[i]);
    v = max(v, static_cast<std::uint32_t>(other));
  }
  v = block_max(v, scratch + 32);
  if (blockIdx.x == 0 && threadIdx.x == 0) store_shared_word(&x->epoch, epoch);
  return v;
}

// All thread blocks of the grid: what any thread wrote before, every thread reads behind it. The words are fenced, since the data are others. There may be several a launch, each with an epoch one higher: a thread block that is there already for the next one has been there for this one.
__device__ __forceinline__ void grid_sync(GridExchange* x, std::uint32_t epoch) {
  __syncthreads();
  const std::uint32_t stride = (gridDim.x + 15u) / 16u * 16u;
  if (threadIdx.x < kGridExchangeCopies) {
    asm volatile("fence.acq_rel.gpu;" ::: "memory");
    store_shared_word(&x->slots[threadIdx.x * stride + blockIdx.x],
                      static_cast<std::uint64_t>(epoch) << 32);
  }
  const std::uint64_t* slots = &x->slots[blockIdx.x % kGridExchangeCopies * stride];
  for (std::uint32_t i = threadIdx.x; i < gridDim.x; i += blockDim.x) {
    while (upper_word(load_shared_word(&slots[i])) - epoch > 1u) {
    }
  }
  if (threadIdx.x < gridDim.x) asm volatile("fence.acq_rel.gpu;" ::: "memory");
  __syncthreads();
  if (blockIdx.x == 0 && threadIdx.x == 0) store_shared_word(&x->epoch, epoch);
}

}  // namespace device
}  // namespace nvfp4j
