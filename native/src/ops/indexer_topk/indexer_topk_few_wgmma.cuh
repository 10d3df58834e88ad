// SPDX-License-Identifier: Apache-2.0
// Products of a warpgroup in indexer_topk for few queries.
#pragma once
#include "ops/indexer_topk/indexer_topk_few_score.cuh"
#include "ops/indexer_topk/indexer_topk_wgmma.cuh"

namespace nvfp4j::device {

template <int STEPS>
struct IndexerFewWgmma : IndexerWgmma<IndexerFewScores<STEPS>, STEPS> {
  using Scores = IndexerFewScores<STEPS>;
  using IndexerWgmma<Scores, STEPS>::IndexerWgmma;
  using Scores::warp, Scores::row_of, Scores::kWarps, Scores::put;
  using IndexerWgmma<Scores, STEPS>::kTogether;

  __device__ __forceinline__ void run(int likely) const { Scores::run(*this, likely); }

  // A chunk of each warp of the warpgroup as soon as it is there, while the other is on its way.
  __device__ __forceinline__ void score(int end) const {
    int side = 0;
#pragma unroll 1
    for (int chunk = warp; row_of(chunk / kTogether * kTogether) < end; chunk += kWarps) {
      std::uint32_t x[STEPS][4];
      copy_async_wait<1>();
      __syncwarp();
      this->take_chunk(x, side);
      __syncwarp();
      const int ahead = row_of(chunk + kIndexerSide * kWarps);
      if (ahead < end) this->fetch_chunk(ahead, side);
      copy_async_commit();
      // What is read from memory has come: from here on the next kernel's thread blocks may fetch theirs.
      if (warp == 0 && row_of(chunk + kWarps) >= end) start_successor();
      this->score_chunk(x, [&](int q, int row, float score) { put(q, chunk, row, score); });
      side ^= 1;
    }
  }
};

}  // namespace nvfp4j::device
