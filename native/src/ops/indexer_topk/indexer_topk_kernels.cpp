// SPDX-License-Identifier: Apache-2.0
#include "ops/indexer_topk/indexer_topk_kernels.hpp"

#include "nvfp4j/indexer.h"

namespace nvfp4j {
namespace {

namespace baseline {
#include "ops/indexer_topk/indexer_topk_kernels.inl"
}  // namespace baseline

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace v3 {
#include "ops/indexer_topk/indexer_topk_kernels.inl"
}  // namespace v3
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
namespace v4 {
#include "ops/indexer_topk/indexer_topk_kernels.inl"
}  // namespace v4
#pragma GCC pop_options

}  // namespace

const IndexerCpuKernel indexer_cpu_kernels[kCpuIsaCount] = {
    baseline::indexer_row_score, v3::indexer_row_score, v4::indexer_row_score};

}  // namespace nvfp4j
