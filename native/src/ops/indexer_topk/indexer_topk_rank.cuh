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

// The same by warps that ask nobody for what the others found: of a query each has some of the own list's entries.
struct IndexerWarpRanks {
  // That are searched side by side, while as many are on their way.
  static constexpr int kLists = 4;
  const IndexerTarget& a;
  const IndexerPlace place;
  const std::int64_t query;
  const int lane = static_cast<int>(threadIdx.x) & 31;

  // The first 64 entries of kLists lists.
  struct Ahead {
    std::uint64_t entries[kLists][2];
  };

  // This lane's entry of the first 32.
  __device__ __forceinline__ const std::uint64_t* list_lane(int block) const {
    return a.lists + (query * place.blocks + block) * a.list + lane;
  }
  // (Of the own list none.)
  __device__ __forceinline__ void fetch(int from, Ahead& ahead) const {
#pragma unroll
    for (int i = 0; i < kLists; ++i) {
      const int block = from + i;
      const bool there = (block < place.blocks) & (block != place.block);
      ahead.entries[i][0] = there ? load_entry(list_lane(block)) : 0ull;
      ahead.entries[i][1] = there & (32 < a.list) ? load_entry(list_lane(block) + 32) : 0ull;
    }
  }

  // Of kLists times 32 keys, which descend: how many are above `key`; whether one is the same.
  __device__ __forceinline__ static bool search(const std::uint32_t (&keys)[kLists],
                                                std::uint32_t key, int (&above)[kLists]) {
#pragma unroll
    for (int i = 0; i < kLists; ++i) above[i] = 0;
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
#pragma unroll
      for (int i = 0; i < kLists; ++i) {
        if (__shfl_sync(0xffffffffu, keys[i], above[i] + step - 1) > key) above[i] += step;
      }
    }
    // 31 at most until here.
    bool same = false;
#pragma unroll
    for (int i = 0; i < kLists; ++i) {
      const std::uint32_t next = __shfl_sync(0xffffffffu, keys[i], above[i]);
      same = same || next == key;
      if (next > key) ++above[i];
    }
    return same;
  }

  // Adds what 32 entries of a list say. Whether those behind them say more: all are before one that may still have a rank.
  __device__ __forceinline__ bool add(std::uint64_t entries, std::uint64_t mine, int& rank) const {
    const int n = entries_before(entries, mine);
    rank += n;
    return __any_sync(0xffffffffu, n == 32 && mine != 0ull && rank < a.k);
  }
  // Adds what a list's entries from `depth` on say.
  __device__ __forceinline__ void add_behind(int block, int depth, std::uint64_t mine,
                                             int& rank) const {
    while (depth < a.list && add(load_entry(list_lane(block) + depth), mine, rank)) depth += 32;
  }

  // Adds what the lists from `from` on say.
  __device__ __forceinline__ void add(const Ahead& lists, int from, std::uint64_t mine,
                                      int& rank) const {
    const auto key = static_cast<std::uint32_t>(mine >> 32);
    std::uint32_t keys[kLists];
    int n[kLists];
#pragma unroll
    for (int i = 0; i < kLists; ++i)
      keys[i] = static_cast<std::uint32_t>(lists.entries[i][0] >> 32);
    bool same = search(keys, key, n);
    bool all = false;
#pragma unroll
    for (int i = 0; i < kLists; ++i) all = all || n[i] == 32;
    if (__any_sync(0xffffffffu, all && mine != 0ull)) {
      int behind[kLists];
#pragma unroll
      for (int i = 0; i < kLists; ++i)
        keys[i] = static_cast<std::uint32_t>(lists.entries[i][1] >> 32);
      same = search(keys, key, behind) || same;
      // (Where not all of the first are before, none of these is, if they are written at all.)
#pragma unroll
      for (int i = 0; i < kLists; ++i) n[i] += n[i] == 32 ? behind[i] : 0;
    }
    const bool exact = __any_sync(0xffffffffu, same && mine != 0ull);
#pragma unroll
    for (int i = 0; i < kLists; ++i) {
      if (exact) {
        // Keys do not tell all.
        if (add(lists.entries[i][0], mine, rank)) add_behind(from + i, 32, mine, rank);
      } else {
        rank += n[i];
        if (__any_sync(0xffffffffu, n[i] == 64 && mine != 0ull && rank < a.k))
          add_behind(from + i, 64, mine, rank);
      }
    }
  }

  // Ranks of entries `first` and on of the own list. Whether all 32 have one.
  __device__ __forceinline__ bool rank_32(int first) const {
    const std::uint64_t mine = load_entry(list_lane(place.block) + first);
    int rank = first + lane;
    Ahead ahead;
    fetch(0, ahead);
    for (int from = 0; from < place.blocks; from += kLists) {
      const Ahead now = ahead;
      fetch(from + kLists, ahead);
      add(now, from, mine, rank);
      if (!__any_sync(0xffffffffu, mine != 0ull && rank < a.k)) return false;
    }
    const bool ranked = mine != 0ull && rank < a.k;
    if (ranked) a.indices[query * a.indices_row + rank] = indexer_row(mine);
    return __all_sync(0xffffffffu, ranked);
  }

  // Each `warps`-th 32 of the own list, as far as it has been written.
  __device__ __forceinline__ void run(int warp, int warps) const {
    const int end = min(place.places(visible_rows(a, query)), a.list);
    for (int first = 32 * warp; first < end && rank_32(first); first += 32 * warps) {
    }
  }
};

}  // namespace nvfp4j::device
