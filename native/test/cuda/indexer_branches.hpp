// SPDX-License-Identifier: Apache-2.0
// What the cases of indexer_topk_test.cu have reached of the plans and kernels of indexer_topk; and that all of it was.
#pragma once
#include <set>
#include <string>
#include <vector>

#include "common/cuda_launch.hpp"
#include "indexer_case.hpp"
#include "nvfp4j/indexer.h"
#include "ops/indexer_topk/indexer_topk_args.hpp"
#include "ops/indexer_topk/indexer_topk_plan.hpp"

namespace nvfp4j::test {

inline std::set<std::string> reached;

inline void note(bool is, const std::string& what) {
  if (is) reached.insert(what);
}

inline constexpr const char* kBranches[] = {
    "F32",
    "4 steps",
    "8 steps",
    "16 steps",
    "padded columns",
    "one thread block a query",
    "thread blocks that exchange",
    "several sets",
    "several queries of a set",
    "several groups of a set",
    "groups of several queries",
    "several launches",
    "heads in parts",
    "fewer warps",
    "scores in the workspace",
    "a selection in the thread block",
    "ranks by all warps",
    "ranks by a warp a query",
    "ranks by several warps a query",
    "few queries: one",
    "few queries: several, two chunks a warp",
    "few queries: several, a chunk a warp",
    "few queries: 4 steps",
    "few queries: 8 steps",
    "few queries: more chunks than are in flight",
    "few queries: more of a thread block's rows than it sends ahead",
    "few queries: equal scores of several thread blocks",
    "few queries: tags go round",
    "ranks by warps: more than 16 queries",
    "ranks by warps: lists of 32",
    "ranks by warps: more than 32 of a list",
    "ranks by warps: more than 64 of a list",
    "ranks by warps: equal scores of several thread blocks",
    "ranks by warps: a thread block without rows",
    "sorting: eight entries a thread",
    "sorting: four entries a thread",
    "sorting: two entries a thread",
    "sorting: an entry a thread",
    "sorting: a rest of less behind others",
    "q that is not aligned",
    "keys that are not aligned"};
inline constexpr const char* kSm90Branches[] = {
    "few queries, a warpgroup: one",
    "few queries, a warpgroup: several",
    "few queries, a warpgroup: 4 steps",
    "few queries, a warpgroup: 8 steps",
    "few queries, a warpgroup: padded columns of 4 steps",
    "few queries, a warpgroup: padded columns of 8 steps",
    "few queries, a warpgroup: padded heads",
    "few queries, a warpgroup: heads twice",
    "few queries, a warpgroup: heads twice of several queries",
    "few queries, a warpgroup: one that has not four chunks",
    "few queries, a warpgroup: more chunks than are in flight",
    "few queries, a warpgroup: q that is not aligned",
    "few queries, a warpgroup: no room",
    "many queries, a warpgroup: 4 steps",
    "many queries, a warpgroup: 8 steps",
    "many queries, a warpgroup: padded columns of 4 steps",
    "many queries, a warpgroup: padded columns of 8 steps",
    "many queries, a warpgroup: padded heads",
    "many queries, a warpgroup: heads twice",
    "many queries, a warpgroup: heads twice of several queries",
    "many queries, a warpgroup: one that has not four chunks",
    "many queries, a warpgroup: scores in the workspace",
    "many queries, a warpgroup: a selection in the thread block",
    "many queries, a warpgroup: several groups",
    "many queries, a warpgroup: alone",
    "many queries, a warpgroup: no room",
    "many queries, a warpgroup: q that is not aligned"};

// Of products of a warpgroup.
inline void note_warpgroup(const CudaDeviceProperties& device, const indexer::Problem& p,
                           const IndexerPlan& plan, std::int64_t chunks, bool misaligned) {
  const bool could = runs_sm90a(device) && p.dtype == NVFP4J_DTYPE_BF16 && plan.steps <= 8 &&
                     p.heads > kIndexerMmaHeads;
  const auto note_if = [&](bool is, const char* what) {
    note(is, ((plan.few ? "few queries, a warpgroup: " : "many queries, a warpgroup: ") +
              std::string(what)));
  };
  note_if(could && !plan.wgmma, "no room");
  if (!plan.wgmma) return;
  note_if(plan.steps == 4, "4 steps");
  note_if(plan.steps == 8, "8 steps");
  note_if(plan.steps == 4 && p.columns != 64, "padded columns of 4 steps");
  note_if(plan.steps == 8 && p.columns != 128, "padded columns of 8 steps");
  note_if(plan.padded_heads != p.heads, "padded heads");
  note_if(p.heads > kIndexerWgmmaHeads, "heads twice");
  note_if(p.heads > kIndexerWgmmaHeads && plan.group > 1, "heads twice of several queries");
  note_if(!plan.shared_rows, "scores in the workspace");
  note_if(plan.rows > plan.list, "a selection in the thread block");
  note_if(misaligned, "q that is not aligned");
  note_if(p.queries == 1, "one");
  note_if(p.queries > 1, "several");
  note_if(plan.set_queries > plan.group, "several groups");
  note_if(plan.blocks == 1, "alone");
  note_if(chunks % (std::int64_t{4} * plan.blocks) != 0, "one that has not four chunks");
  note_if(chunks > std::int64_t{kIndexerFewWarps} * kIndexerSide * plan.blocks,
          "more chunks than are in flight");
}

inline void note_plan(const CudaDeviceProperties& device, const indexer::Problem& p,
                      const IndexerTopkArgs& args) {
  const bool bf16 = p.dtype == NVFP4J_DTYPE_BF16;
  const IndexerPlan plan =
      plan_indexer_topk(device, {p.queries, p.rows, p.heads, p.columns, p.k, bf16});
  note(plan.steps == 0, "F32");
  note(plan.steps == 4, "4 steps");
  note(plan.steps == 8, "8 steps");
  note(plan.steps == 16, "16 steps");
  note(plan.steps != 0 && 16 * plan.steps != p.columns, "padded columns");
  note(plan.blocks == 1 && plan.sets > 1, "one thread block a query");
  note(plan.blocks > 1, "thread blocks that exchange");
  note(plan.blocks > 1 && plan.sets > 1, "several sets");
  note(plan.blocks > 1 && plan.set_queries > 1, "several queries of a set");
  note(plan.set_queries > plan.group, "several groups of a set");
  note(plan.group > 1, "groups of several queries");
  note(plan.launch_queries < p.queries, "several launches");
  note(plan.heads < p.heads, "heads in parts");
  note(plan.warps < kIndexerWarps && plan.steps != 0, "fewer warps");
  note(!plan.shared_rows, "scores in the workspace");
  note(plan.rows > plan.list && !plan.few, "a selection in the thread block");
  const std::int64_t chunks = (p.rows + kIndexerChunk - 1) / kIndexerChunk;
  if (!plan.few && plan.list > 32) {
    const int total = plan.group * plan.list;
    note(total / (8 * kIndexerThreads) > 0, "sorting: eight entries a thread");
    note(total % (8 * kIndexerThreads) / (4 * kIndexerThreads) > 0,
         "sorting: four entries a thread");
    note(total % (4 * kIndexerThreads) / (2 * kIndexerThreads) > 0,
         "sorting: two entries a thread");
    note(total % (2 * kIndexerThreads) / kIndexerThreads > 0, "sorting: an entry a thread");
    note(total > kIndexerThreads && total % kIndexerThreads > 0,
         "sorting: a rest of less behind others");
  }
  const bool pairs = chunks > std::int64_t{kIndexerFewWarps} * plan.blocks;
  const bool ahead = chunks > std::int64_t{kIndexerFewWarps} * kIndexerSide * plan.blocks;
  const bool mma = plan.few && !plan.wgmma;
  note(mma && p.queries == 1, "few queries: one");
  note(mma && p.queries > 1 && pairs, "few queries: several, two chunks a warp");
  note(mma && p.queries > 1 && !pairs, "few queries: several, a chunk a warp");
  note(mma && plan.steps == 4, "few queries: 4 steps");
  note(mma && plan.steps == 8, "few queries: 8 steps");
  note(mma && ahead, "few queries: more chunks than are in flight");
  const std::int64_t rank_queries = plan.few || plan.blocks == 1 ? 0 : plan.set_queries;
  note(rank_queries > 0 && rank_queries < kIndexerRankQueries, "ranks by all warps");
  note(rank_queries > kIndexerWarps / 2, "ranks by a warp a query");
  note(rank_queries > kIndexerWarps, "ranks by warps: more than 16 queries");
  note(rank_queries >= kIndexerRankQueries && plan.list == 32, "ranks by warps: lists of 32");
  note(rank_queries >= kIndexerRankQueries && rank_queries <= kIndexerWarps / 2,
       "ranks by several warps a query");
  note_warpgroup(device, p, plan, chunks, !aligned16(args.q, 2 * p.head_stride));
  if (!bf16) return;
  note(!aligned16(args.q, 2 * p.head_stride), "q that is not aligned");
  note(!aligned16(args.keys, 2 * p.keys_stride), "keys that are not aligned");
}

// What ranking meets in these results.
inline void note_results(const CudaDeviceProperties& device, const indexer::Problem& p,
                         const std::vector<std::uint8_t>& indices,
                         const std::vector<std::uint8_t>& scores) {
  const IndexerPlan plan = plan_indexer_topk(
      device, {p.queries, p.rows, p.heads, p.columns, p.k, p.dtype == NVFP4J_DTYPE_BF16});
  const bool warps = !plan.few && plan.blocks > 1 && plan.set_queries >= kIndexerRankQueries;
  for (std::int64_t s = 0; s < p.queries; ++s) {
    const auto* best = reinterpret_cast<const std::int32_t*>(indices.data()) + s * p.indices_stride;
    const auto* of_rows = reinterpret_cast<const float*>(scores.data()) + s * p.scores_stride;
    std::vector<int> of_block(static_cast<std::size_t>(plan.blocks));
    const auto block = [&](std::int32_t row) {
      return static_cast<std::size_t>(row / kIndexerChunk % plan.blocks);
    };
    for (int i = 0; i < p.k && best[i] >= 0; ++i) {
      const int of_list = ++of_block[block(best[i])];
      const bool equal =
          i > 0 && of_rows[best[i]] == of_rows[best[i - 1]] && block(best[i]) != block(best[i - 1]);
      note(plan.few && of_list > kIndexerBest,
           "few queries: more of a thread block's rows than it sends ahead");
      note(plan.few && equal, "few queries: equal scores of several thread blocks");
      note(warps && of_list > 32, "ranks by warps: more than 32 of a list");
      note(warps && of_list > 64, "ranks by warps: more than 64 of a list");
      note(warps && equal, "ranks by warps: equal scores of several thread blocks");
    }
    note(warps && p.seen(s) > 0 && p.seen(s) <= kIndexerChunk * (plan.blocks - 1),
         "ranks by warps: a thread block without rows");
  }
}

inline void check_all_reached(const CudaDeviceProperties& device) {
  const auto check_reached = [](const char* branch) {
    check(reached.count(branch) != 0, std::string("no case reaches ") + branch);
  };
  for (const char* branch : kBranches) check_reached(branch);
  if (!runs_sm90a(device)) return;
  for (const char* branch : kSm90Branches) check_reached(branch);
}

}  // namespace nvfp4j::test
