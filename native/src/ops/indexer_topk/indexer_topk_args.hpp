// SPDX-License-Identifier: Apache-2.0
// A validated indexer_topk call, as the CPU and CUDA implementations get it. Strides are in elements.
#pragma once
#include <cstdint>

namespace nvfp4j {

struct IndexerTopkArgs {
  std::int32_t dtype;  // of q and keys: BF16 or F32
  const void* q;       // [queries, heads, columns]
  std::int64_t q_query_stride;
  std::int64_t q_head_stride;
  const void* keys;  // [rows, columns]
  std::int64_t keys_stride;
  const float* weights;  // [queries, heads]
  std::int64_t weights_stride;
  const std::int32_t* valid;  // [queries]
  std::int32_t* indices;      // [queries, k]
  std::int64_t indices_stride;
  float* scores;  // [queries, rows] or NULL
  std::int64_t scores_stride;
  std::int64_t queries;
  std::int64_t rows;  // C
  int heads;          // 1 to NVFP4J_MAX_INDEXER_HEADS
  int columns;        // a multiple of 16 up to NVFP4J_MAX_INDEXER_COLUMNS
  int k;              // 1 to NVFP4J_MAX_INDEXER_TOPK
};

}  // namespace nvfp4j
