// SPDX-License-Identifier: Apache-2.0
// What indexer_topk's kernel gets.
#pragma once
#include <cstdint>

#include "device/grid_barrier.cuh"
#include "device/ptx.cuh"
#include "device/status.cuh"
#include "ops/indexer_topk/indexer_topk_order.hpp"
#include "ops/indexer_topk/indexer_topk_plan.hpp"

namespace nvfp4j {

struct IndexerTarget {
  const char* q;
  const char* keys;
  const float* weights;
  const std::int32_t* valid;
  std::int32_t* indices;
  float* scores;          // or NULL
  std::int64_t q_query;   // bytes
  std::int64_t q_head;    // bytes
  std::int64_t keys_row;  // bytes
  std::int64_t weights_row;
  std::int64_t indices_row;
  std::int64_t scores_row;
  DeviceStatus* status;
  GridExchange* exchange;
  std::uint64_t* lists;  // [query][thread block of a set][list]
  std::uint32_t*
      rows_of_blocks;        // scores that do not fit shared memory: [thread block][rows]; or NULL
  std::int64_t first_query;  // of the call: for reports
  std::int64_t queries;      // of the launch
  std::int64_t set_queries;
  int all_rows;  // C
  int all_heads;
  int columns;
  int k;
  int blocks;
  int group;
  int heads;
  int padded_heads;
  int warps;
  int rows;
  int list;
  bool q_aligned;  // rows begin at multiples of 16 bytes
  bool keys_aligned;
  IndexerLayout layout;
  char* tagged;  // few queries: TaggedWords
};

namespace device {

// A thread block among those of its set. Chunk c of the rows is of block c mod blocks; in it, it is chunk c / blocks, so that places follow each other as rows do.
struct IndexerPlace {
  int block;
  int blocks;

  __device__ __forceinline__ int row(int place) const {
    return (place / kIndexerChunk * blocks + block) * kIndexerChunk + place % kIndexerChunk;
  }
  // Places of the rows below `end`.
  __device__ __forceinline__ int places(int end) const {
    const int chunks = end / kIndexerChunk;
    const int whole = chunks > block ? (chunks - block + blocks - 1) / blocks : 0;
    return whole * kIndexerChunk + (chunks % blocks == block ? end % kIndexerChunk : 0);
  }
};

// Rows that a query sees.
__device__ __forceinline__ int visible_rows(const IndexerTarget& a, std::int64_t query) {
  const std::int32_t valid = load(a.valid + query);
  return valid < 0 || valid > a.all_rows ? 0 : valid;
}

// The same where the kernel before may be writing it: some number.
__device__ __forceinline__ int load_guess(const std::int32_t* p) {
  return static_cast<int>(load_shared_word(reinterpret_cast<const std::uint32_t*>(p)));
}

// Of the queries from `first` on, those whose number of rows is none.
__device__ __forceinline__ void report_valid(const IndexerTarget& a, std::int64_t first,
                                             std::int64_t end, int threads) {
  for (std::int64_t s = first + threadIdx.x; s < end; s += threads) {
    const std::int32_t valid = load(a.valid + s);
    if (valid < 0 || valid > a.all_rows) {
      report_here(a.status, NVFP4J_OP_INDEXER_TOPK, NVFP4J_CAUSE_INDEX_OUT_OF_RANGE,
                  a.first_query + s, -1);
    }
  }
}

}  // namespace device
}  // namespace nvfp4j
