// SPDX-License-Identifier: Apache-2.0
// indexer_topk on compute capability 9.0, with products of a warpgroup (indexer_topk_wgmma.cuh). Launched by indexer_topk_generic.cu, where the plan says so.
#include "ops/indexer_topk/indexer_topk_few_run.cuh"
#include "ops/indexer_topk/indexer_topk_few_wgmma.cuh"
#include "ops/indexer_topk/indexer_topk_impl.hpp"
#include "ops/indexer_topk/indexer_topk_many.cuh"
#include "ops/indexer_topk/indexer_topk_many_wgmma.cuh"

namespace nvfp4j {
namespace {

using namespace device;

template <int STEPS>
__global__ void __launch_bounds__(kIndexerFewThreads, 2)
    indexer_topk_few_wgmma_kernel(const __grid_constant__ IndexerTarget a) {
  extern __shared__ __align__(1024) char shared[];
  indexer_topk_few<IndexerFewWgmma<STEPS>>(a, shared);
}

template <int STEPS>
__global__ void __launch_bounds__(kIndexerThreads, 1)
    indexer_topk_many_wgmma_kernel(const __grid_constant__ IndexerTarget a) {
  extern __shared__ __align__(1024) char shared[];
  indexer_topk_many<IndexerManyWgmma<STEPS>>(a, shared);
}

}  // namespace

const void* indexer_topk_few_wgmma(int steps) {
  return steps == 4 ? reinterpret_cast<const void*>(&indexer_topk_few_wgmma_kernel<4>)
                    : reinterpret_cast<const void*>(&indexer_topk_few_wgmma_kernel<8>);
}
const void* indexer_topk_many_wgmma(int steps) {
  return steps == 4 ? reinterpret_cast<const void*>(&indexer_topk_many_wgmma_kernel<4>)
                    : reinterpret_cast<const void*>(&indexer_topk_many_wgmma_kernel<8>);
}

}  // namespace nvfp4j
