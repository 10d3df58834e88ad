// SPDX-License-Identifier: Apache-2.0
// Ranks in indexer_topk for few queries: how many of the other thread blocks' rows are before each of the 32 best of this one. Their 32 best tell, or that they do not: then their whole lists are asked (indexer_topk_rank.cuh).
#pragma once
#include "ops/indexer_topk/indexer_topk_few.cuh"
#include "ops/indexer_topk/indexer_topk_rank.cuh"

namespace nvfp4j::device {

struct IndexerFewRanks : IndexerFew {
  static constexpr std::uint32_t kOpen = 1u << 24;  // in a rank that is a sum of all warps'

  // The key words of the lists of thread blocks from, from + kWarps, ...: asked for at once, and then those again that had not come.
  static constexpr int kLists = 9;  // half of a warp's, of 132 thread blocks
  __device__ __forceinline__ void ask(const std::uint64_t* of_first, int from, std::uint32_t tag,
                                      std::uint64_t (&word)[kLists]) const {
#pragma unroll
    for (int i = 0; i < kLists; ++i) {
      if ((from + i * kWarps < place.blocks) & !has_tag(word[i], tag))
        word[i] = load_shared_word(of_first + i * kWarps * 2 * kIndexerBest);
    }
  }
  __device__ __forceinline__ bool have(int from, std::uint32_t tag,
                                       const std::uint64_t (&word)[kLists]) const {
    bool all = true;
#pragma unroll
    for (int i = 0; i < kLists; ++i)
      all = all & ((from + i * kWarps >= place.blocks) | has_tag(word[i], tag));
    return all;
  }
  // Adds how many of the lists' keys are above this lane's. It is open whose key a list's last of all is above: there may be more. The lists that have the same key.
  __device__ __forceinline__ std::uint32_t search(const std::uint32_t (&keys)[kLists],
                                                  std::uint32_t mine, std::uint32_t& before,
                                                  bool& open) const {
    int at[kLists];  // where to look next
#pragma unroll
    for (int i = 0; i < kLists; ++i) at[i] = 15;
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      // From the middle of what is left to that of a half of it; last, to the first that is not above.
      const int back = step > 1 ? step / 2 : 0;
#pragma unroll
      for (int i = 0; i < kLists; ++i) {
        const bool above = __shfl_sync(0xffffffffu, keys[i], at[i]) > mine;
        at[i] -= back;
        if (above) at[i] += step;
      }
    }
    // Of 31 it is known how many are above: this one is the first that is not, or the last of all.
    bool tie = false;
#pragma unroll
    for (int i = 0; i < kLists; ++i) {
      const std::uint32_t next = __shfl_sync(0xffffffffu, keys[i], at[i]);
      open = open | (next > mine);
      tie = tie | (next == mine);
      before += static_cast<std::uint32_t>(at[i]);
      if (next > mine) ++before;
    }
    std::uint32_t equal = 0u;
    if (__any_sync(0xffffffffu, tie & (mine != kNoRow))) {
#pragma unroll
      for (int i = 0; i < kLists; ++i) {
        const bool same = __shfl_sync(0xffffffffu, keys[i], at[i]) == mine && mine != kNoRow;
        equal |= __any_sync(0xffffffffu, same) ? 1u << i : 0u;
      }
    }
    return equal;
  }
  // Adds those that are before this lane's because of their row alone.
  __device__ __forceinline__ void search_equal(int q, int from, std::uint32_t lists,
                                               std::uint32_t mine, std::uint32_t tag,
                                               std::uint32_t& before, bool& open) const {
#pragma unroll 1
    for (; lists != 0u; lists &= lists - 1u) {
      const int block = from + (__ffs(static_cast<int>(lists)) - 1) * kWarps;
      const std::uint64_t other = load_best(q, block, tag);
      const std::uint64_t own = entry(mine, best_rows()[q * kIndexerBest + lane]);
      const int n = search_lanes(other, [&](std::uint64_t o) { return o > own; });
      const int above =
          search_lanes(upper_word(other), [&](std::uint32_t key) { return key > upper_word(own); });
      if (above < n) before += static_cast<std::uint32_t>(n - above);
      open = open || n == 32;
    }
  }
  // A list's best, whose keys have come.
  __device__ __forceinline__ std::uint64_t load_best(int q, int block, std::uint32_t tag) const {
    const std::uint64_t key = load_shared_word(key_words(q, block) + lane);
    std::uint64_t row = load_shared_word(row_words(q, block) + lane);
    while (!has_tag(row, tag)) row = load_shared_word(row_words(q, block) + lane);
    __syncwarp();
    return entry(static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(row));
  }

  // Lists of a query that a warp searches at once.
  struct Lists {
    int q;
    int from;
    __device__ __forceinline__ Lists next(int warp, int blocks) const {
      const int then = from + kLists * kWarps;
      return then < blocks ? Lists{q, then} : Lists{q + 1, warp};
    }
  };

  // Adds the warp's part to the ranks of the thread block's best rows: what the lists' best tell. While some lists are searched the next are on their way.
  __device__ __forceinline__ void compare(std::uint32_t tag) const {
    if (warp >= place.blocks) return;
    Lists now = {0, warp};
    Lists then = now.next(warp, place.blocks);
    std::uint64_t word[kLists] = {};
    std::uint64_t ahead[kLists] = {};
    std::uint32_t before = 0u;
    bool open = false;
#pragma unroll 1
    while (true) {
      const std::uint64_t* of_now = key_words(now.q, now.from) + lane;
      const std::uint64_t* of_then = key_words(then.q, then.from) + lane;
      while (!have(now.from, tag, word)) {
        ask(of_now, now.from, tag, word);
        if (then.q < count) ask(of_then, then.from, tag, ahead);
      }
      __syncwarp();
      std::uint32_t keys[kLists];
#pragma unroll
      for (int i = 0; i < kLists; ++i) {
        // The own list says nothing: the lane is the place in it.
        keys[i] = now.from + i * kWarps == place.block ? 0u : static_cast<std::uint32_t>(word[i]);
        word[i] = ahead[i];
        ahead[i] = 0u;
      }
      const Lists done = now;
      now = then;
      then = then.next(warp, place.blocks);
      if (then.q < count) ask(key_words(then.q, then.from) + lane, then.from, tag, ahead);
      const std::uint32_t mine = best_keys()[done.q * kIndexerBest + lane];
      const std::uint32_t equal = search(keys, mine, before, open);
      search_equal(done.q, done.from, equal, mine, tag, before, open);
      if (now.q == done.q) continue;
      atomicAdd(ranks() + done.q * kIndexerBest + lane, open ? before | kOpen : before);
      if (now.q == count) return;
      before = 0u;
      open = false;
    }
  }

  // The same, one list after the other; and which may have more.
  __device__ __forceinline__ int compare_again(const IndexerRanks<kWarps>& lists, int q,
                                               std::uint64_t mine, std::uint32_t tag) const {
    int before = 0;
#pragma unroll 2
    for (int block = warp; block < place.blocks; block += kWarps) {
      const std::uint64_t other = load_best(q, block, tag);
      if (block == place.block) continue;
      const int n = search_lanes(other, [&](std::uint64_t o) { return o > mine; });
      before += n;
      const std::uint32_t full = __ballot_sync(0xffffffffu, n == 32 && mine != 0ull);
      if (lane == 0) lists.saturated()[block] = kIndexerBest < a.list ? full : 0u;
    }
    return before;
  }

  __device__ __forceinline__ void run() const {
    const std::uint32_t tag = *tag_word();
    compare(tag);
    __syncthreads();
    // Words of every thread block have come.
    if (place.block == 0 && me == 0) end_tag(a.tagged, tag);
    if (warp < count) {
      const int q = warp;
      const std::uint32_t key = best_keys()[q * kIndexerBest + lane];
      const std::uint32_t others = ranks()[q * kIndexerBest + lane];
      const int at = lane + static_cast<int>(others % kOpen);
      const bool ranked = key != kNoRow && at < a.k;
      const std::uint32_t live = __ballot_sync(0xffffffffu, ranked);
      const bool more = live == 0xffffffffu && kIndexerBest < a.list;
      if (__any_sync(0xffffffffu, more || (ranked && others >= kOpen))) {
        if (lane == 0) atomicOr(open_queries(), 1u << q);
      } else if (ranked) {
        a.indices[q * a.indices_row + at] =
            static_cast<std::int32_t>(best_rows()[q * kIndexerBest + lane]);
      }
    }
    if (place.block == 0) {
#pragma unroll 1
      for (int q = 0; q < count; ++q) {
#pragma unroll 1
        for (int i = visible()[q] + me; i < a.k; i += kThreads)
          a.indices[q * a.indices_row + i] = -1;
      }
    }
    __syncthreads();
    if (*open_queries() != 0u) rank_lists(tag);
  }

  // The queries that are open, by rows too and by whole lists.
  __device__ __forceinline__ void rank_lists(std::uint32_t tag) const {
    for (int block = me; block < place.blocks; block += kThreads) {
      while (!has_tag(load_shared_word(list_words() + block), tag)) {
      }
    }
    if (me < place.blocks) asm volatile("fence.acq_rel.gpu;" ::: "memory");
    __syncthreads();
    for (std::uint32_t open = *open_queries(); open != 0u; open &= open - 1u) {
      const int q = __ffs(static_cast<int>(open)) - 1;
      const IndexerRanks<kWarps> lists = {a, place, shared, q};
      const int i = q * kIndexerBest + lane;
      const std::uint64_t mine = entry(best_keys()[i], best_rows()[i]);
      bool more = lists.finish(0, mine, compare_again(lists, q, mine, tag));
      for (int first = kIndexerBest; more; first += kIndexerBest) more = lists.run(first);
    }
  }
};

}  // namespace nvfp4j::device
