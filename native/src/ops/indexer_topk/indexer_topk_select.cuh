// SPDX-License-Identifier: Apache-2.0
// The best of a thread block's rows.
#pragma once
#include "device/status.cuh"
#include "ops/indexer_topk/indexer_topk_sort.cuh"
#include "ops/indexer_topk/indexer_topk_target.cuh"

namespace nvfp4j::device {

// The k highest of `count` keys, of equal ones the first: those above `key`, and those equal to it in places below `end`.
struct IndexerCut {
  std::uint32_t key;
  int end;

  __device__ __forceinline__ bool takes(std::uint32_t other, int place) const {
    return other > key || (other == key && place < end);
  }
};

// By halving intervals: their ends are counted, so that no pattern of the keys makes it slow. count > k.
__device__ __forceinline__ IndexerCut cut_rows(const std::uint32_t* keys, int count, int k,
                                               std::uint32_t* counters) {
  const int me = static_cast<int>(threadIdx.x);
  for (int i = me; i < kIndexerCounters; i += kIndexerThreads) counters[i] = 0u;
  __syncthreads();
  int used = 0;
  // Keys that satisfy f, in every thread. Each has a counter of its own, so that one barrier does.
  const auto count_if = [&](const auto& f) {
    unsigned n = 0u;
    for (int i = me; i < count; i += kIndexerThreads) n += f(keys[i], i) ? 1u : 0u;
    n = __reduce_add_sync(0xffffffffu, n);
    if ((me & 31) == 0) atomicAdd(&counters[used], n);
    __syncthreads();
    return static_cast<int>(counters[used++]);
  };
  // The highest key that k keys reach.
  std::uint64_t low = 0;
  std::uint64_t high = 1ull << 32;
  int reach = count;
  while (reach != k && high - low > 1) {
    const std::uint64_t middle = (low + high) / 2;
    const int n = count_if([&](std::uint32_t key, int) { return key >= middle; });
    if (n >= k) {
      low = middle;
      reach = n;
    } else {
      high = middle;
    }
  }
  const auto key = static_cast<std::uint32_t>(low);
  if (reach == k) return {key, count};
  const int above = count_if([&](std::uint32_t other, int) { return other > key; });
  // The first place that k - above of the equal ones are below.
  int first = 0;
  int end = count;
  while (end - first > 1) {
    const int middle = (first + end) / 2;
    const int n =
        count_if([&](std::uint32_t other, int place) { return other == key && place < middle; });
    if (n >= k - above) {
      end = middle;
    } else {
      first = middle;
    }
  }
  return {key, end};
}

// What a query's scores show, once: reports, and the scores themselves where they are asked for.
__device__ __forceinline__ void show_rows(const IndexerTarget& a, const IndexerPlace& place,
                                          std::int64_t query, int seen, const std::uint32_t* keys) {
  const int all = a.scores != nullptr ? place.places(a.all_rows) : seen;
  for (int i = static_cast<int>(threadIdx.x); i < all; i += kIndexerThreads) {
    const int row = place.row(i);
    const std::uint32_t key = i < seen ? keys[i] : kIndexerLowestKey;
    if (a.scores != nullptr) a.scores[query * a.scores_row + row] = indexer_score(key);
    if (i < seen && !indexer_key_is_finite(key)) {
      report_here(a.status, NVFP4J_OP_INDEXER_TOPK, NVFP4J_CAUSE_NON_FINITE_RESULT,
                  a.first_query + query, row);
    }
  }
}

// The entries of the best of `count` rows of a query, in the order of rows, and zeros behind them.
__device__ __forceinline__ void gather_rows(const IndexerTarget& a, const IndexerPlace& place,
                                            int count, const std::uint32_t* keys,
                                            const IndexerEntries& entries,
                                            std::uint32_t* counters) {
  const int me = static_cast<int>(threadIdx.x);
  const int lane = me & 31;
  const int warp = me >> 5;
  const auto entry = [&](int i) {
    return indexer_entry(keys[i], static_cast<std::uint32_t>(place.row(i)));
  };
  if (count <= a.list) {
    for (int i = me; i < a.list; i += kIndexerThreads) entries.put(i, i < count ? entry(i) : 0ull);
    return;
  }
  // (A list has room for k then.)
  const IndexerCut cut = cut_rows(keys, count, a.k, counters);
  int taken = 0;
  for (int base = 0; base < count; base += kIndexerThreads) {
    const int i = base + me;
    const bool mine = i < count && cut.takes(keys[i], i);
    const unsigned lanes = __ballot_sync(0xffffffffu, mine);
    // What the warps take, and with it where each begins.
    __syncthreads();
    if (lane == 0) counters[warp] = static_cast<std::uint32_t>(__popc(lanes));
    __syncthreads();
    const int of_lane = lane < kIndexerWarps ? static_cast<int>(counters[lane]) : 0;
    const int before = static_cast<int>(
        __reduce_add_sync(0xffffffffu, static_cast<unsigned>(lane < warp ? of_lane : 0)));
    if (mine) entries.put(taken + before + __popc(lanes & ((1u << lane) - 1u)), entry(i));
    taken += static_cast<int>(__reduce_add_sync(0xffffffffu, static_cast<unsigned>(of_lane)));
  }
  for (int i = a.k + me; i < a.list; i += kIndexerThreads) entries.put(i, 0ull);
  __syncthreads();
}

}  // namespace nvfp4j::device
