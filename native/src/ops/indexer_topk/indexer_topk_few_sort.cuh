// SPDX-License-Identifier: Apache-2.0
// The order of a thread block's rows in indexer_topk for few queries: each 32 by counting, then each 32 among the others. The first 32 go to the other thread blocks as tagged words, all to a list.
#pragma once
#include "device/status.cuh"
#include "ops/indexer_topk/indexer_topk_few.cuh"
#include "ops/indexer_topk/indexer_topk_sort.cuh"

namespace nvfp4j::device {

struct IndexerFewSort : IndexerFew {
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

  // All queries' rows in order, of equal keys the first row first. Sends the first 32, and writes the list.
  __device__ __forceinline__ void run() const {
    const std::uint64_t tag = tagged_word(*tag_word(), 0u);
#pragma unroll 1
    for (int i = me; i < count * kIndexerBest; i += kThreads) ranks()[i] = 0u;
    for_parts([&](int q, int part) {
      const int first = q * a.rows + 32 * part;
      const std::uint32_t mine = rows[first + lane];
      if (__any_sync(0xffffffffu, a.scores != nullptr || (mine != kNoRow && !finite(mine))))
        show(q, 32 * part + lane, mine);
      const int n = place_of_32(rows + first, mine);
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
};

}  // namespace nvfp4j::device
