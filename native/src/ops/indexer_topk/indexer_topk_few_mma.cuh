// SPDX-License-Identifier: Apache-2.0
// Products of indexer_topk for few queries on any device: each warp's own, 16 rows and 8 heads at a time.
#pragma once
#include "ops/indexer_topk/indexer_topk_few_score.cuh"

namespace nvfp4j::device {

template <int STEPS>
struct IndexerFewMma : IndexerFewScores<STEPS> {
  using Base = IndexerFewScores<STEPS>;
  using Base::Base;
  using Base::warp, Base::row_of, Base::kWarps, Base::put;

  __device__ __forceinline__ void run(int likely) const { Base::run(*this, likely); }

  __device__ __forceinline__ void score(int end) const {
    if (row_of(kWarps) >= end) {
      this->score_each(*this, end);
    } else {
      score_pairs(end);
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
};

}  // namespace nvfp4j::device
