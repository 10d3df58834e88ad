// SPDX-License-Identifier: Apache-2.0
// indexer_topk for few queries from the first word to the last, with products of either kind (indexer_topk_few.cuh).
#pragma once
#include "ops/indexer_topk/indexer_topk_few_rank.cuh"
#include "ops/indexer_topk/indexer_topk_few_score.cuh"
#include "ops/indexer_topk/indexer_topk_few_sort.cuh"

namespace nvfp4j::device {

template <typename Scores>
__device__ __forceinline__ void indexer_topk_few(const IndexerTarget& a, char* shared) {
  const IndexerPlace place = {static_cast<int>(blockIdx.x), a.blocks};
  const IndexerFew few(a, place, shared, reinterpret_cast<std::uint32_t*>(shared + a.layout.keys),
                       0, static_cast<int>(a.queries), 0, a.all_heads);
  const Scores scores(few);
  const int likely = scores.prefetch();
  wait_for_predecessor();
  if (place.block == 0) report_valid(a, 0, a.queries, kIndexerFewThreads);
  scores.run(likely);
  IndexerFewSort{few}.run();
  IndexerFewRanks{few}.run();
}

}  // namespace nvfp4j::device
