// SPDX-License-Identifier: Apache-2.0
// indexer_topk for many queries from the first word to the last, with scores of any kind (indexer_topk_score.cuh).
#pragma once
#include "ops/indexer_topk/indexer_topk_rank.cuh"
#include "ops/indexer_topk/indexer_topk_select.cuh"
#include "ops/indexer_topk/indexer_topk_sort.cuh"

namespace nvfp4j::device {

// A group's queries in a thread block whose scores are there: writes or reports what is to be told of these, sorts the best rows and sends them.
struct IndexerGroup {
  const IndexerTarget& a;
  const IndexerPlace place;
  char* const shared;
  const std::uint32_t* const rows;
  const std::int64_t first;
  const int count;
  const int me = static_cast<int>(threadIdx.x);

  // Of each query, how many of the thread block's rows it sees.
  __device__ __forceinline__ int* seen() const {
    return reinterpret_cast<int*>(shared + IndexerLayout::kSeen);
  }
  __device__ __forceinline__ IndexerEntries entries() const {
    auto* keys = reinterpret_cast<std::uint32_t*>(shared + a.layout.stage);
    return {keys, keys + a.group * a.list};
  }
  // Each entry of all queries: f(query, place in its list, place among all).
  template <typename F>
  __device__ __forceinline__ void for_entries(const F& f) const {
    const int shift = __ffs(a.list) - 1;
#pragma unroll 1
    for (int i = me; i < count << shift; i += kIndexerThreads) f(i >> shift, i & (a.list - 1), i);
  }

  __device__ __forceinline__ void show() const {
#pragma unroll 1
    for (int q = 0; q < count; ++q) show_rows(a, place, first + q, seen()[q], rows + q * a.rows);
  }

  __device__ __forceinline__ void gather() const {
    const IndexerEntries to = entries();
    if (a.rows > a.list) {
      auto* counters = reinterpret_cast<std::uint32_t*>(shared + IndexerLayout::kCounters);
      show();
#pragma unroll 1
      for (int q = 0; q < count; ++q)
        gather_rows(a, place, seen()[q], rows + q * a.rows, to.from(q * a.list), counters);
      __syncthreads();
      return;
    }
    // All rows have a place in the list.
    bool faults = false;
    for_entries([&](int q, int at, int i) {
      const bool there = at < seen()[q];
      const std::uint32_t key = there ? rows[q * a.rows + at] : 0u;
      faults = faults || (there && !indexer_key_is_finite(key));
      to.put(i, there ? indexer_entry(key, static_cast<std::uint32_t>(place.row(at))) : 0ull);
    });
    if (__syncthreads_or(faults) != 0 || a.scores != nullptr) show();
  }

  __device__ __forceinline__ void write() const {
    const IndexerEntries from = entries();
    if (place.blocks == 1) {
#pragma unroll 1
      for (int q = 0; q < count; ++q) {
        std::int32_t* out = a.indices + (first + q) * a.indices_row;
        for (int i = me; i < a.k; i += kIndexerThreads)
          out[i] = i < seen()[q] ? indexer_row(from.entry(q * a.list + i)) : -1;
      }
      return;
    }
    std::uint64_t* to = a.lists + (first * place.blocks + place.block) * a.list;
    for_entries([&](int q, int at, int i) {
      // Up to a whole 32 of zeros: readers take 32 at a time, and stop where not all are before theirs.
      if (at < (seen()[q] + 31) / 32 * 32 + 32)
        to[q * (place.blocks * a.list) + at] = from.entry(i);
    });
  }

  __device__ __forceinline__ void run() const {
    if (me < count) seen()[me] = place.places(visible_rows(a, first + me));
    __syncthreads();
    gather();
    sort_runs(entries(), count * a.list, a.list);
    write();
    __syncthreads();
  }
};

template <typename Sweep>
__device__ __forceinline__ void indexer_topk_many(const IndexerTarget& a, char* shared) {
  const IndexerPlace place = {static_cast<int>(blockIdx.x % static_cast<unsigned>(a.blocks)),
                              a.blocks};
  // (Of a launch: numbers of 32 bits. Registers are short.)
  const int first = static_cast<int>(
      static_cast<std::int64_t>(blockIdx.x / static_cast<unsigned>(a.blocks)) * a.set_queries);
  const int end = static_cast<int>(min(first + a.set_queries, a.queries));
  Sweep(a, place, shared, nullptr, first, 0, 0, 0).prefetch();
  await_predecessor();
  const std::uint32_t epoch = a.blocks > 1 ? grid_epoch(a.exchange) : 0u;
  std::uint32_t* rows = a.rows_of_blocks != nullptr
                            ? a.rows_of_blocks + static_cast<std::int64_t>(blockIdx.x) * a.rows
                            : reinterpret_cast<std::uint32_t*>(shared + a.layout.keys);

  if (place.block == 0) report_valid(a, first, end, kIndexerThreads);
  for (int query = first; query < end; query += a.group) {
    const int count = min(a.group, end - query);
    for (int head = 0; head < a.all_heads; head += a.heads) {
      Sweep(a, place, shared, rows, query, count, head, min(a.heads, a.all_heads - head)).run();
    }
    IndexerGroup{a, place, shared, rows, query, count}.run();
  }
  if (a.blocks == 1) return;

  grid_sync(a.exchange, epoch);
  // Of many queries each has warps of its own; few are done by all warps together.
  const int queries = min(end - first, kIndexerWarps);
  if (queries >= kIndexerRankQueries) {
    const int warps = kIndexerWarps / queries;  // of a query
    const int warp = static_cast<int>(threadIdx.x) / 32;
    for (int query = first + warp / warps; query < end; query += kIndexerWarps / warps)
      IndexerWarpRanks{a, place, query}.run(warp % warps, warps);
  } else {
    for (int query = first; query < end; ++query) {
      const IndexerRanks<kIndexerWarps> ranks = {a, place, shared, query};
      for (int i = 0; ranks.run(i); i += 32) {
      }
    }
  }
  if (place.block != 0) return;
  for (int query = first; query < end; ++query) {
    std::int32_t* out = a.indices + query * a.indices_row;
    for (int i = visible_rows(a, query) + static_cast<int>(threadIdx.x); i < a.k;
         i += kIndexerThreads)
      out[i] = -1;
  }
}

}  // namespace nvfp4j::device
