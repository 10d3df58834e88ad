// SPDX-License-Identifier: Apache-2.0
// The exchange of indexer_topk: each thread block has sent its best rows, sorted, and finds how many of the others' are before each of them. That is their place in the result; nobody merges, and nobody waits again.
#pragma once
#include "ops/indexer_topk/indexer_topk_target.cuh"

namespace nvfp4j::device {

__device__ __forceinline__ std::uint64_t load_entry(const std::uint64_t* p) {
  const uint2 v = load(reinterpret_cast<const uint2*>(p));
  return static_cast<std::uint64_t>(v.y) << 32 | v.x;
}

// Of the lanes' values, which descend, how many `before` holds for.
template <typename T, typename Before>
__device__ __forceinline__ int search_lanes(T values, const Before& before) {
  int n = 0;
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    if (before(__shfl_sync(0xffffffffu, values, n + step - 1))) n += step;
  }
  // 31 at most until here.
  return before(__shfl_sync(0xffffffffu, values, n)) ? n + 1 : n;
}

// How many of the lanes' entries, which descend, are before this lane's `mine`.
__device__ __forceinline__ int entries_before(std::uint64_t entries, std::uint64_t mine) {
  // Mostly the keys alone tell, in half as many exchanges.
  const auto keys = static_cast<std::uint32_t>(entries >> 32);
  const auto key = static_cast<std::uint32_t>(mine >> 32);
  const int n = search_lanes(keys, [&](std::uint32_t other) { return other > key; });
  const std::uint32_t next = __shfl_sync(0xffffffffu, keys, n & 31);
  if (!__any_sync(0xffffffffu, mine != 0ull && n < 32 && next == key)) return n;
  return search_lanes(entries, [&](std::uint64_t other) { return other > mine; });
}

// Ranks of the thread block's own rows of a query, 32 at a time, against all others' lists, 32 entries at a time.
template <int WARPS>
struct IndexerRanks {
  const IndexerTarget& a;
  const IndexerPlace place;
  char* const shared;
  const std::int64_t query;
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const int warp = static_cast<int>(threadIdx.x) >> 5;

  __device__ __forceinline__ const std::uint64_t* list(int block) const {
    return a.lists + (query * place.blocks + block) * a.list;
  }

  // Of a list: the lanes whose entry is behind all that was seen of it.
  __device__ __forceinline__ std::uint32_t* saturated() const {
    return reinterpret_cast<std::uint32_t*>(shared + IndexerLayout::kSaturated);
  }
  __device__ __forceinline__ std::uint32_t* partial() const {
    return reinterpret_cast<std::uint32_t*>(shared + IndexerLayout::kPartial);
  }

  // Adds what a list's 32 entries from `depth` on say.
  __device__ __forceinline__ void add(std::uint64_t entries, int block, int depth,
                                      std::uint64_t mine, int& before) const {
    const int n = entries_before(entries, mine);
    before += n;
    const std::uint32_t all = __ballot_sync(0xffffffffu, n == 32 && mine != 0ull);
    __syncwarp();  // others have read what it was
    if (lane == 0) saturated()[block] = depth + 32 < a.list ? all : 0u;
  }

  // Adds what the first 32 entries of the warp's lists say.
  __device__ __forceinline__ int compare(std::uint64_t mine) const {
    constexpr int kAhead = 4;
    int before = 0;
    for (int from = warp; from < place.blocks; from += kAhead * WARPS) {
      std::uint64_t entries[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int block = from + i * WARPS;
        entries[i] = block < place.blocks ? load_entry(list(block) + lane) : 0ull;
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int block = from + i * WARPS;
        if (block < place.blocks && block != place.block) add(entries[i], block, 0, mine, before);
      }
    }
    return before;
  }

  // With the sums over the first 32 entries of all lists in `before` of the warps: deeper into lists of which all entries were before one that may still have a rank. Whether entries behind `first` + 31 may have one.
  __device__ __forceinline__ bool finish(int first, std::uint64_t mine, int before) const {
    for (int depth = 32;; depth += 32) {
      std::uint32_t* sums = partial();
      sums[warp * 32 + lane] = static_cast<std::uint32_t>(before);
      __syncthreads();
      int rank = first + lane;
#pragma unroll
      for (int w = 0; w < WARPS; ++w) rank += static_cast<int>(sums[w * 32 + lane]);
      const bool ranked = mine != 0ull && rank < a.k;
      const std::uint32_t live = __ballot_sync(0xffffffffu, ranked);
      bool deeper = false;
      for (int block = warp; block < place.blocks; block += WARPS) {
        // The own list has no word: it is in `rank`.
        if (block == place.block || (saturated()[block] & live) == 0u) continue;
        deeper = true;
        add(load_entry(list(block) + depth + lane), block, depth, mine, before);
      }
      if (__syncthreads_or(deeper) == 0) {
        if (warp == 0 && ranked) a.indices[query * a.indices_row + rank] = indexer_row(mine);
        return live == 0xffffffffu && first + 32 < a.list;
      }
    }
  }

  // Entries `first` and on of the own list. Whether there may be more with a rank.
  __device__ __forceinline__ bool run(int first) const {
    const std::uint64_t mine = load_entry(list(place.block) + first + lane);
    return finish(first, mine, compare(mine));
  }
};

}  // namespace nvfp4j::device
