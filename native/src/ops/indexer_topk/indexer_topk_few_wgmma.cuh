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

  __device__ __forceinline__ void run(int likely) const { Scores::run(*this, likely); }
  __device__ __forceinline__ void score(int end) const { this->score_each(*this, end); }
};

}  // namespace nvfp4j::device
