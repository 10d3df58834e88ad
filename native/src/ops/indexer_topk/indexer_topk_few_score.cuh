// SPDX-License-Identifier: Apache-2.0
// Scores of indexer_topk for few queries: what is fetched, when and by whom. A warp has two chunks of rows on their way, and before the wait for the kernel before it brings to L2 what is likely to be asked for.
// The products are those of indexer_topk_few_mma.cuh, on compute capability 9.0 those of indexer_topk_few_wgmma.cuh.
#pragma once
#include "ops/indexer_topk/indexer_topk_few.cuh"

namespace nvfp4j::device {

template <int STEPS>
struct IndexerFewScores : IndexerBf16<STEPS, kIndexerFewWarps, kIndexerSide> {
  using Base = IndexerBf16<STEPS, kIndexerFewWarps, kIndexerSide>;
  using Base::a, Base::place, Base::count, Base::lane, Base::warp;
  using Base::rows, Base::kThreads, Base::row_of;
  static constexpr int kWarps = kIndexerFewWarps;
  const IndexerFew& few;

  __device__ __forceinline__ explicit IndexerFewScores(const IndexerFew& f)
      : Base(f.a, f.place, f.shared, f.rows, f.query, f.count, f.head, f.heads), few(f) {}

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

  // All rows that a query sees. products.fetch_q() asks for q; when it and the weights have come, products.score(end) scores the rows below `end`, of which each warp's first kIndexerSide chunks are on their way.
  template <typename Products>
  __device__ __forceinline__ void run(const Products& products, int likely) const {
    const int wanted = lane < count ? visible_rows(a, lane) : 0;
    if (few.me == 0) {
      *few.tag_word() = next_tag(a.tagged);
      *few.open_queries() = 0u;
    }
    products.clear_padding();
    products.fetch_q();
    this->fetch_weights();
    copy_async_commit();
#pragma unroll 1
    for (int i = few.me; i < count * a.rows; i += kThreads) rows[i] = IndexerFew::kNoRow;
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
    if (warp == 0 && lane < count) few.visible()[lane] = wanted;
    copy_async_wait<kIndexerSide>();
    products.q_has_come();
    __syncthreads();
    products.score(end);
    copy_async_wait<0>();
    __syncthreads();
    start_successor();
  }

  // A chunk as soon as it is there, and as those of the warps are that multiply together, while the other is on its way.
  template <typename Products>
  __device__ __forceinline__ void score_each(const Products& products, int end) const {
    constexpr int kTogether = Products::kTogether;
    int side = 0;
#pragma unroll 1
    for (int chunk = warp; row_of(chunk / kTogether * kTogether) < end; chunk += kWarps) {
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
      products.score_chunk(x, [&](int q, int row, float score) { put(q, chunk, row, score); });
      side ^= 1;
    }
  }

  __device__ __forceinline__ void put(int q, int chunk, int row, float sum) const {
    if (row_of(chunk) + row < few.visible()[q])
      rows[q * a.rows + chunk * kIndexerChunk + row] = indexer_key(sum) + 2u;
  }
};

}  // namespace nvfp4j::device
