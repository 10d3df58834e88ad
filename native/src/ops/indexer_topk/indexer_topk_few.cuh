// SPDX-License-Identifier: Apache-2.0
// indexer_topk of few queries: what a decoding step asks for. Of a thread block's rows only a handful are among the best, so that its 32 best, in order, nearly always tell all that the others need to know.
// They are words that carry the launch's tag: the data is its own flag, and nothing is fenced on the way. Whole lists follow behind, with a fence that only those wait for who need more (indexer_topk_rank.cuh).
// Here is what its three parts share, in their order: indexer_topk_few_score.cuh, indexer_topk_few_sort.cuh and indexer_topk_few_rank.cuh.
#pragma once
#include "device/tagged_words.cuh"
#include "ops/indexer_topk/indexer_topk_score.cuh"

namespace nvfp4j::device {

// A thread block, all queries of the launch and all their heads. Keys are two more than indexer_key()'s: 1 is no row, and 0 is below that.
struct IndexerFew : IndexerSweep<kIndexerFewWarps> {
  using IndexerSweep::IndexerSweep;
  static constexpr int kWarps = kIndexerFewWarps;
  static constexpr std::uint32_t kNoRow = 1u;
  const int me = static_cast<int>(threadIdx.x);

  __device__ __forceinline__ static std::uint64_t entry(std::uint32_t key, std::uint32_t row) {
    return key <= kNoRow ? 0ull : indexer_entry(key - 2u, row);
  }

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

  __device__ __forceinline__ std::uint64_t* key_words(int q, int block) const {
    return tagged_words(a.tagged) + IndexerFewWords{place.blocks}.keys(q, block);
  }
  __device__ __forceinline__ std::uint64_t* row_words(int q, int block) const {
    return tagged_words(a.tagged) + IndexerFewWords{place.blocks}.rows(q, block);
  }
  __device__ __forceinline__ std::uint64_t* list_words() const {
    return tagged_words(a.tagged) + IndexerFewWords{place.blocks}.lists(count);
  }
  __device__ __forceinline__ std::uint64_t* list(int q) const {
    return a.lists + (static_cast<std::int64_t>(q) * place.blocks + place.block) * a.list;
  }
};

}  // namespace nvfp4j::device
