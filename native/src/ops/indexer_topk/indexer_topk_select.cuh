// SPDX-License-Identifier: Apache-2.0
// The best of a thread block's rows, in order.
#pragma once
#include "device/status.cuh"
#include "ops/indexer_topk/indexer_topk_target.cuh"

namespace nvfp4j::device {

// Sorts descending: as many runs as fill `total` entries, each of `run` entries, a power of two from 32 on.
__device__ __forceinline__ void sort_runs(std::uint64_t* entries, int total, int run) {
  const int me = static_cast<int>(threadIdx.x);
  // In the lanes of a warp, neighbours up to 16 apart.
  const auto exchange = [&](std::uint64_t& v, int i, int size, int stride) {
    const std::uint64_t other = __shfl_xor_sync(0xffffffffu, v, stride);
    const bool larger = ((i & stride) == 0) == ((i & (run - 1) & size) == 0);
    v = (v > other) == larger ? v : other;
  };
  for (int i = me; i < total; i += kIndexerThreads) {
    std::uint64_t v = entries[i];
#pragma unroll
    for (int size = 2; size <= 32; size *= 2) {
#pragma unroll
      for (int stride = size / 2; stride > 0; stride /= 2) exchange(v, i, size, stride);
    }
    entries[i] = v;
  }
  __syncthreads();
  for (int size = 64; size <= run; size *= 2) {
    for (int stride = size / 2; stride > 16; stride /= 2) {
      for (int p = me; p < total / 2; p += kIndexerThreads) {
        const int i = 2 * p - (p & (stride - 1));
        const bool descending = (i & (run - 1) & size) == 0;
        const std::uint64_t v = entries[i];
        const std::uint64_t other = entries[i + stride];
        if ((v > other) != descending) {
          entries[i] = other;
          entries[i + stride] = v;
        }
      }
      __syncthreads();
    }
    for (int i = me; i < total; i += kIndexerThreads) {
      std::uint64_t v = entries[i];
#pragma unroll
      for (int stride = 16; stride > 0; stride /= 2) exchange(v, i, size, stride);
      entries[i] = v;
    }
    __syncthreads();
  }
}

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
                                          std::int64_t query, int visible,
                                          const std::uint32_t* keys) {
  const int seen = place.places(visible);
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

// The entries of a query's best rows, in no order, and zeros behind them; how many.
__device__ __forceinline__ int gather_rows(const IndexerTarget& a, const IndexerPlace& place,
                                           int visible, const std::uint32_t* keys,
                                           std::uint64_t* entries, std::uint32_t* counters) {
  const int me = static_cast<int>(threadIdx.x);
  const int count = place.places(visible);
  if (count <= a.list) {
    for (int i = me; i < a.list; i += kIndexerThreads)
      entries[i] =
          i < count ? indexer_entry(keys[i], static_cast<std::uint32_t>(place.row(i))) : 0ull;
    return count;
  }
  // (A list has room for k then.)
  const IndexerCut cut = cut_rows(keys, count, a.k, counters);
  __syncthreads();
  if (me == 0) counters[0] = 0u;
  __syncthreads();
  for (int base = 0; base < count; base += kIndexerThreads) {
    const int i = base + me;
    const bool taken = i < count && cut.takes(keys[i], i);
    const unsigned lanes = __ballot_sync(0xffffffffu, taken);
    unsigned at = 0u;
    if ((me & 31) == 0 && lanes != 0u)
      at = atomicAdd(&counters[0], static_cast<unsigned>(__popc(lanes)));
    at = __shfl_sync(0xffffffffu, at, 0) +
         static_cast<unsigned>(__popc(lanes & ((1u << (me & 31)) - 1u)));
    if (taken) entries[at] = indexer_entry(keys[i], static_cast<std::uint32_t>(place.row(i)));
  }
  for (int i = a.k + me; i < a.list; i += kIndexerThreads) entries[i] = 0ull;
  __syncthreads();
  return a.k;
}

}  // namespace nvfp4j::device
