// SPDX-License-Identifier: Apache-2.0
// How indexer_topk's kernel is cut: a function of device and shape. For host and device code.
#pragma once
#include <cstdint>

#include "common/cuda_launch.hpp"
#include "common/math.hpp"

namespace nvfp4j {

inline constexpr int kIndexerThreads = 512;
inline constexpr int kIndexerWarps = kIndexerThreads / 32;
// Of the kernel for few queries: so many that the next launch's thread blocks have room beside them.
inline constexpr int kIndexerFewWarps = 8;
inline constexpr int kIndexerFewThreads = 32 * kIndexerFewWarps;
inline constexpr int kIndexerSide = 2;         // chunks that a warp of it has under way
inline constexpr int kIndexerBest = 32;        // rows of a list that it sends ahead
inline constexpr int kIndexerChunk = 16;       // rows of keys that a warp scores at a time
inline constexpr int kIndexerWgmmaHeads = 64;  // that a warpgroup multiplies at a time
inline constexpr int kIndexerMmaHeads = 32;    // that are too few for that
inline constexpr int kIndexerMaxGroup = 8;     // queries that share a reading of the keys
inline constexpr int kIndexerCounters = 64;    // of a selection within a thread block
// Queries of a set from which on each has warps of its own that find its ranks.
inline constexpr int kIndexerRankQueries = 4;
// Scores of a query that a thread block keeps in shared memory; where it has more, they are in the workspace.
inline constexpr int kIndexerSharedRows = 8192;

struct IndexerProblem {
  std::int64_t queries;
  std::int64_t rows;  // C
  int heads;
  int columns;
  int k;
  bool bf16;
};

// Of a thread block's dynamic shared memory: offsets in bytes. Sums that warps share begin it.
struct IndexerLayout {
  // (Of the kernel for few queries: rows that queries see, and words for all.)
  static constexpr int kCounters = 0;
  // A sum of each warp and lane.
  static constexpr int kPartial = 4 * kIndexerCounters;
  // Of each query, how many of the thread block's rows it sees.
  static constexpr int kSeen = kPartial + kIndexerWarps * 32 * 4;
  static constexpr int kSaturated = kSeen + 4 * kIndexerMaxGroup;
  int weights;  // behind kSaturated, a word a thread block of a set
  int keys;     // [query of the group][rows of the thread block], where they are in shared memory
  int stage;  // of each warp that scores BF16, a chunk of rows; then q; sorting comes here when both have served
  int q;
  int total;
};

struct IndexerPlan {
  bool few;           // the kernel for few queries (indexer_topk_few.cuh)
  bool wgmma;         // products of compute capability 9.0 (indexer_topk_wgmma.cuh)
  int steps;          // products of 16 columns that a row takes, padded: 4, 8 or 16; 0 for F32
  int blocks;         // of a set: they share the rows, a chunk each in turn
  std::int64_t sets;  // each has queries of its own
  std::int64_t launch_queries;  // at most
  std::int64_t set_queries;     // at most
  int group;                    // queries whose q is in shared memory at once
  int heads;                    // of these, those that are there at once
  int padded_heads;
  int warps;         // that score
  int rows;          // places for scores of a query in a thread block
  bool shared_rows;  // where these are
  int list;          // entries that a thread block can send of a query, a power of two from 32 on
  IndexerLayout layout;
};

// Words that thread blocks of the kernel for few queries send each other, each with the launch's tag: [query][thread block][key or row][kIndexerBest], and one a thread block that its list is there.
struct IndexerFewWords {
  int blocks;

  NVFP4J_HD constexpr std::int64_t keys(std::int64_t query, int block) const {
    return (query * blocks + block) * 2 * kIndexerBest;
  }
  NVFP4J_HD constexpr std::int64_t rows(std::int64_t query, int block) const {
    return keys(query, block) + kIndexerBest;
  }
  NVFP4J_HD constexpr std::int64_t lists(std::int64_t queries) const { return keys(queries, 0); }
  NVFP4J_HD constexpr std::int64_t count(std::int64_t queries) const {
    return lists(queries) + blocks;
  }
};

IndexerPlan plan_indexer_topk(const CudaDeviceProperties& device, const IndexerProblem& problem);

// What calls with that many queries and rows take of the workspace, kWorkspaceExchangeBytes included.
std::int64_t indexer_workspace_bytes(const CudaDeviceProperties& device, std::int64_t queries,
                                     std::int64_t rows);

// Bytes from one row of q or keys in shared memory to the next. Rows of BF16 are padded so that matrices are loaded without conflicts.
constexpr int indexer_pitch(int steps, int columns) {
  return steps == 0 ? 4 * columns : 32 * steps + 16;
}

}  // namespace nvfp4j
