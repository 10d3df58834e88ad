// SPDX-License-Identifier: Apache-2.0
// indexer_topk of few queries: what a decoding step asks for. Of a thread block's rows only a handful are among the best, so that its 32 best, in order, nearly always tell all that the others need to know.
// They are words that carry the launch's tag: the data is its own flag, and nothing is fenced on the way. Whole lists follow behind, with a fence that only those wait for who need more (indexer_topk_rank.cuh).
#pragma once
#include "device/status.cuh"
#include "ops/indexer_topk/indexer_topk_rank.cuh"
#include "ops/indexer_topk/indexer_topk_score.cuh"
#include "ops/router_dense/router_layout.hpp"

namespace nvfp4j::device {

__device__ __forceinline__ std::uint32_t upper_word(std::uint64_t v) {
  return static_cast<std::uint32_t>(v >> 32);
}

// Keys here are two more than indexer_key()'s: 1 is no row, and 0 is below that.
template <int STEPS>
struct IndexerFew : IndexerBf16<STEPS, kIndexerFewWarps, kIndexerSide> {
  using Base = IndexerBf16<STEPS, kIndexerFewWarps, kIndexerSide>;
  using Base::a, Base::place, Base::shared, Base::query, Base::count, Base::lane, Base::warp;
  using Base::rows, Base::kThreads, Base::row_of;
  static constexpr int kWarps = kIndexerFewWarps;
  static constexpr std::uint32_t kOpen = 1u << 24;  // in a rank that is a sum of all warps'
  static constexpr std::uint32_t kNoRow = 1u;
  const int me = static_cast<int>(threadIdx.x);

  // ---- shared memory ---------------------------------------------------------------------------------------------

  // Rows that each query sees; the launch's tag; queries whose first 32 do not tell all.
  __device__ __forceinline__ int* visible() const {
    return reinterpret_cast<int*>(shared + IndexerLayout::kCounters);
  }
  __device__ __forceinline__ std::uint32_t* tag_word() const {
    return reinterpret_cast<std::uint32_t*>(shared + IndexerLayout::kCounters) + kIndexerMaxGroup;
  }
  __device__ __forceinline__ std::uint32_t* open_queries() const { return tag_word() + 1; }
  // Where scoring was: each 32 keys in order, and their places; the best of each query, and their ranks.
  __device__ __forceinline__ std::uint32_t* sorted() const {
    return reinterpret_cast<std::uint32_t*>(shared + a.layout.stage);
  }
  __device__ __forceinline__ std::uint32_t* places() const { return sorted() + count * a.rows; }
  __device__ __forceinline__ std::uint32_t* best_keys() const { return places() + count * a.rows; }
  __device__ __forceinline__ std::uint32_t* best_rows() const {
    return best_keys() + a.group * kIndexerBest;
  }
  __device__ __forceinline__ std::uint32_t* ranks() const {
    return best_keys() + 2 * a.group * kIndexerBest;
  }

  // ---- words that thread blocks exchange -----------------------------------------------------------------------------

  __device__ __forceinline__ std::uint64_t* epoch() const {
    return reinterpret_cast<std::uint64_t*>(a.tagged + RouterExchange::kEpoch);
  }
  __device__ __forceinline__ std::uint64_t* words() const {
    return reinterpret_cast<std::uint64_t*>(a.tagged + RouterExchange::kWords);
  }
  __device__ __forceinline__ std::uint64_t* key_words(int q, int block) const {
    return words() + IndexerFewWords{place.blocks}.keys(q, block);
  }
  __device__ __forceinline__ std::uint64_t* row_words(int q, int block) const {
    return words() + IndexerFewWords{place.blocks}.rows(q, block);
  }
  __device__ __forceinline__ std::uint64_t* list_words() const {
    return words() + IndexerFewWords{place.blocks}.lists(count);
  }
  __device__ __forceinline__ std::uint64_t* list(int q) const {
    return a.lists + (static_cast<std::int64_t>(q) * place.blocks + place.block) * a.list;
  }

  // ---- scores ---------------------------------------------------------------------------------------------------------

  // Before the wait for the kernel before: rows that are likely to be visible are on their way to L2. How many are, that kernel may be writing: what stands there is a guess, from which nothing but time follows.
  __device__ __forceinline__ int prefetch() const {
    const int guess = lane < count ? load_guess(a.valid + lane) : 0;
    this->prefetch_chunk(warp);
    if (warp == 0) {
      const char* q = a.q;
      for (int s = 0; s < count; ++s) {
        for (int h = place.block + place.blocks * lane; h < a.all_heads; h += 32 * place.blocks) {
          for (int i = 0; i < 2 * a.columns; i += 128)
            prefetch_l2(q + s * a.q_query + h * a.q_head + i);
        }
      }
    } else if (warp == 1 && lane < count) {
      for (int h = 0; h < a.all_heads; h += 32) prefetch_l2(a.weights + lane * a.weights_row + h);
    }
    const int likely = static_cast<int>(
        __reduce_max_sync(0xffffffffu, static_cast<unsigned>(min(max(guess, 0), a.all_rows))));
    for (int chunk = kWarps + warp; row_of(chunk) < likely && chunk < 4 * kWarps; chunk += kWarps)
      this->prefetch_chunk(chunk);
    return likely;
  }

  __device__ __forceinline__ void score(int likely) const {
    const int wanted = lane < count ? visible_rows(a, lane) : 0;
    if (me == 0) {
      // Words that were never written have tag 0: no launch has.
      const std::uint32_t next = static_cast<std::uint32_t>(load_shared_word(epoch())) + 1u;
      *tag_word() = next == 0u ? 1u : next;
      *open_queries() = 0u;
    }
    this->clear_padding();
    this->fetch_q();
    this->fetch_weights();
    copy_async_commit();
#pragma unroll 1
    for (int i = me; i < count * a.rows; i += kThreads) rows[i] = kNoRow;
    int end = a.all_rows;
#pragma unroll 1
    for (int side = 0; side < kIndexerSide; ++side) {
      const int first = row_of(side * kWarps + warp);
      // What is likely to be visible need not wait until it is known.
      if (side > 0 && first >= likely)
        end = static_cast<int>(__reduce_max_sync(0xffffffffu, static_cast<unsigned>(wanted)));
      if (first < end) this->fetch_chunk(first, side);
      copy_async_commit();
    }
    end = static_cast<int>(__reduce_max_sync(0xffffffffu, static_cast<unsigned>(wanted)));
    if (warp == 0 && lane < count) visible()[lane] = wanted;
    copy_async_wait<kIndexerSide>();
    __syncthreads();
    if (row_of(kWarps) >= end) {
      score_each(end);
    } else {
      score_pairs(end);
    }
    copy_async_wait<0>();
    __syncthreads();
    start_successor();
  }

  __device__ __forceinline__ void put(int q, int chunk, int row, float sum) const {
    if (row_of(chunk) + row < visible()[q])
      rows[q * a.rows + chunk * kIndexerChunk + row] = indexer_key(sum) + 2u;
  }

  // A chunk as soon as it is there, while the other is on its way.
  __device__ __forceinline__ void score_each(int end) const {
    int side = 0;
#pragma unroll 1
    for (int chunk = warp; row_of(chunk) < end; chunk += kWarps) {
      std::uint32_t x[kIndexerSide][STEPS][4];
      copy_async_wait<1>();
      __syncwarp();
      this->take_chunk(x[0], side);
      __syncwarp();
      const int ahead = row_of(chunk + kIndexerSide * kWarps);
      if (ahead < end) this->fetch_chunk(ahead, side);
      copy_async_commit();
      // What is read from memory has come: from here on the next kernel's thread blocks may fetch theirs.
      if (warp == 0 && row_of(chunk + kWarps) >= end) start_successor();
      this->template score_chunks<1>(
          x, [&](int q, int, int row, float sum) { put(q, chunk, row, sum); });
      side ^= 1;
    }
  }
  // Two at a time, since multiplying takes longer than reading. (A second one that is not there counts for nothing.)
  __device__ __forceinline__ void score_pairs(int end) const {
#pragma unroll 1
    for (int chunk = warp; row_of(chunk) < end; chunk += kIndexerSide * kWarps) {
      std::uint32_t x[kIndexerSide][STEPS][4];
      copy_async_wait<0>();
      __syncwarp();
      this->take_chunk(x[0], 0);
      this->take_chunk(x[1], 1);
      __syncwarp();
#pragma unroll 1
      for (int side = 0; side < kIndexerSide; ++side) {
        const int ahead = row_of(chunk + (kIndexerSide + side) * kWarps);
        if (ahead < end) this->fetch_chunk(ahead, side);
      }
      copy_async_commit();
      if (warp == 0 && row_of(chunk + kIndexerSide * kWarps) >= end) start_successor();
      this->template score_chunks<kIndexerSide>(
          x, [&](int q, int side, int row, float sum) { put(q, chunk + side * kWarps, row, sum); });
    }
  }

  __device__ __forceinline__ static bool finite(std::uint32_t key) {
    return indexer_key_is_finite(key - 2u);
  }
  // Reports, and the scores themselves where they are asked for.
  __device__ __forceinline__ void show(int q, int at, std::uint32_t key) const {
    const int row = place.row(at);
    if (a.scores != nullptr && row < a.all_rows)
      a.scores[q * a.scores_row + row] =
          indexer_score(key == kNoRow ? kIndexerLowestKey : key - 2u);
    if (key != kNoRow && !finite(key)) {
      report_here(a.status, NVFP4J_OP_INDEXER_TOPK, NVFP4J_CAUSE_NON_FINITE_RESULT,
                  a.first_query + q, row);
    }
  }

  __device__ __forceinline__ static std::uint64_t entry(std::uint32_t key, std::uint32_t row) {
    return key <= kNoRow ? 0ull : indexer_entry(key - 2u, row);
  }

  // ---- order -----------------------------------------------------------------------------------------------------------

  // Each 32 rows of all queries in turn, a warp each: f(query, part).
  template <typename F>
  __device__ __forceinline__ void for_parts(const F& f) const {
    const int parts = a.rows / 32;
    int q = 0;
    int part = warp;
    while (true) {
      while (part >= parts) {
        part -= parts;
        ++q;
      }
      if (q >= count) return;
      f(q, part);
      part += kWarps;
    }
  }

  // All queries' rows in order, of equal keys the first row first: each 32 by counting, then each 32 among the others. Sends the first 32, and writes the list.
  __device__ __forceinline__ void send() const {
    const std::uint64_t tag = static_cast<std::uint64_t>(*tag_word()) << 32;
#pragma unroll 1
    for (int i = me; i < count * kIndexerBest; i += kThreads) ranks()[i] = 0u;
    for_parts([&](int q, int part) {
      const int first = q * a.rows + 32 * part;
      const std::uint32_t mine = rows[first + lane];
      if (__any_sync(0xffffffffu, a.scores != nullptr || (mine != kNoRow && !finite(mine))))
        show(q, 32 * part + lane, mine);
      int before[4] = {};
#pragma unroll
      for (int j = 0; j < 32; j += 4) {
        const uint4 other = *reinterpret_cast<const uint4*>(rows + first + j);
        before[0] += other.x > mine ? 1 : 0;
        before[1] += other.y > mine ? 1 : 0;
        before[2] += other.z > mine ? 1 : 0;
        before[3] += other.w > mine ? 1 : 0;
      }
      int n = before[0] + before[1] + (before[2] + before[3]);
      // 0 + ... + 31 where no two are equal.
      if (__reduce_add_sync(0xffffffffu, static_cast<unsigned>(n)) != 496u)
        n += __popc(__match_any_sync(0xffffffffu, mine) & ((1u << lane) - 1u));
      sorted()[first + n] = mine;
      places()[first + n] = static_cast<std::uint32_t>(32 * part + lane);
    });
    __syncthreads();
    for_parts([&](int q, int part) {
      const std::uint32_t all = smem_address(sorted() + q * a.rows);
      const std::uint32_t mine = load_shared_4(all + 4u * (32u * part + lane));
      const auto row = static_cast<std::uint32_t>(
          place.row(static_cast<int>(places()[q * a.rows + 32 * part + lane])));
      std::uint32_t sum = 0u;  // of addresses that are 4 bytes further for each key that is before
      constexpr int kAhead = 8;  // searches side by side
#pragma unroll 1
      for (int from = 0; 32 * from < a.rows; from += kAhead) {
        std::uint32_t at[kAhead];
        std::uint32_t key[kAhead];
#pragma unroll
        for (int j = 0; j < kAhead; ++j) {
          // Of equal keys those of the parts before are before. The own part says nothing, and nothing is above the highest.
          const int other = from + j;
          const bool there = 32 * other < a.rows && other != part;
          at[j] = all + (there ? 128u * other : 0u);
          key[j] = !there ? 0xFFFFFFFFu : mine - (other < part ? 1u : 0u);
          sum -= at[j];
        }
#pragma unroll
        for (int step = 16; step > 0; step /= 2) {
#pragma unroll
          for (int j = 0; j < kAhead; ++j) {
            if (load_shared_4(at[j] + 4u * (step - 1)) > key[j]) at[j] += 4u * step;
          }
        }
#pragma unroll
        for (int j = 0; j < kAhead; ++j) sum += at[j] + (load_shared_4(at[j]) > key[j] ? 4u : 0u);
      }
      const int rank = lane + static_cast<int>(sum / 4u);
      if (rank < kIndexerBest) {
        store_shared_word(key_words(q, place.block) + rank, tag | mine);
        store_shared_word(row_words(q, place.block) + rank, tag | row);
        best_keys()[q * kIndexerBest + rank] = mine;
        best_rows()[q * kIndexerBest + rank] = row;
      }
      if (rank < a.list) list(q)[rank] = entry(mine, row);
    });
    // Readers take 32 at a time, and stop where not all are before theirs.
    if (me < 32 && a.rows + me < a.list) {
#pragma unroll 1
      for (int q = 0; q < count; ++q) list(q)[a.rows + me] = 0ull;
    }
    __syncthreads();
    // The lists are there: told by a warp that then ranks with the others.
    if (warp == kWarps - 1 && lane == 0) {
      asm volatile("fence.acq_rel.gpu;" ::: "memory");
      store_shared_word(list_words() + place.block, tag);
    }
    __syncwarp();
  }

  // ---- ranks ------------------------------------------------------------------------------------------------------------

  // The key words of the lists of thread blocks from, from + kWarps, ...: asked for at once, and then those again that had not come.
  static constexpr int kLists = 9;  // half of a warp's, of 132 thread blocks
  __device__ __forceinline__ void ask(const std::uint64_t* of_first, int from, std::uint32_t tag,
                                      std::uint64_t (&word)[kLists]) const {
#pragma unroll
    for (int i = 0; i < kLists; ++i) {
      if ((from + i * kWarps < place.blocks) & (upper_word(word[i]) != tag))
        word[i] = load_shared_word(of_first + i * kWarps * 2 * kIndexerBest);
    }
  }
  __device__ __forceinline__ bool have(int from, std::uint32_t tag,
                                       const std::uint64_t (&word)[kLists]) const {
    bool all = true;
#pragma unroll
    for (int i = 0; i < kLists; ++i)
      all = all & ((from + i * kWarps >= place.blocks) | (upper_word(word[i]) == tag));
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
    while (upper_word(row) != tag) row = load_shared_word(row_words(q, block) + lane);
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

  __device__ __forceinline__ void rank() const {
    const std::uint32_t tag = *tag_word();
    compare(tag);
    __syncthreads();
    // Words of every thread block have come: each has read the epoch.
    if (place.block == 0 && me == 0) store_shared_word(epoch(), tag);
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
      while (upper_word(load_shared_word(list_words() + block)) != tag) {
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
