// SPDX-License-Identifier: Apache-2.0
// Products of a warpgroup in indexer_topk for many queries.
#pragma once
#include "ops/indexer_topk/indexer_topk_wgmma.cuh"

namespace nvfp4j::device {

template <int STEPS>
struct IndexerManyWgmma : IndexerWgmma<IndexerBf16<STEPS>, STEPS> {
  using IndexerWgmma<IndexerBf16<STEPS>, STEPS>::IndexerWgmma;

  __device__ __forceinline__ void run() const { this->run_with(*this); }
};

}  // namespace nvfp4j::device
