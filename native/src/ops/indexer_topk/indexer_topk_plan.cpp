// SPDX-License-Identifier: Apache-2.0
#include "ops/indexer_topk/indexer_topk_plan.hpp"

#include <algorithm>

#include "common/workspace_layout.hpp"
#include "device/tagged_words_layout.hpp"
#include "nvfp4j/indexer.h"

namespace nvfp4j {
namespace {

// Of the workspace, for the lists of many queries: beyond it there are more launches.
constexpr std::int64_t kListBytes = 8 << 20;
// Chunks of rows that are worth an exchange between thread blocks.
constexpr std::int64_t kAloneChunks = 32;
// Rows of a thread block that the kernel for few queries sorts, 32 against 32.
constexpr int kFewRows = 1024;

template <typename T>
constexpr T divide_up(T a, T b) {
  return (a + b - 1) / b;
}

constexpr int power_of_two(int n) {
  int p = 32;
  while (p < n) p *= 2;
  return p;
}

// Few queries are spread over all multiprocessors. Many have several sets of thread blocks, each with work for all of its warps.
int blocks_of(const CudaDeviceProperties& device, std::int64_t queries, std::int64_t rows) {
  const std::int64_t chunks = divide_up<std::int64_t>(rows, kIndexerChunk);
  if (chunks <= kAloneChunks) return 1;
  const std::int64_t wanted = divide_up<std::int64_t>(chunks, queries <= kIndexerMaxGroup ? 4 : 32);
  return static_cast<int>(std::min<std::int64_t>(wanted, device.sm_count));
}

int rows_of(std::int64_t rows, int blocks) {
  const std::int64_t chunks = divide_up<std::int64_t>(rows, kIndexerChunk);
  return static_cast<int>(std::max<std::int64_t>(1, divide_up<std::int64_t>(chunks, blocks)) *
                          kIndexerChunk);
}

// What thread blocks send each other of a query.
std::int64_t list_bytes(int blocks, int rows, int k) {
  return std::int64_t{blocks} * power_of_two(std::min(rows, k)) * 8;
}

// Scores that do not fit shared memory: of one query at a time.
std::int64_t row_bytes(int blocks, int rows) {
  return rows <= kIndexerSharedRows ? 0 : std::int64_t{blocks} * rows * 4;
}

// Bytes for lists within indexer_workspace_bytes(), which does not know k. (No shape takes more than large ones do: the default workspace is measured by those.)
std::int64_t budget(std::int64_t queries, int blocks, int rows) {
  const std::int64_t most = list_bytes(blocks, rows, NVFP4J_MAX_INDEXER_TOPK);
  return std::max(most, queries >= kListBytes / most ? kListBytes : queries * most);
}

// The layout with so many queries a group, warps that score and heads at a time.
IndexerLayout layout_of(const IndexerPlan& plan, const IndexerProblem& problem) {
  const auto align = [](int bytes, int to = 128) { return divide_up(bytes, to) * to; };
  const int pitch = indexer_pitch(plan.steps, problem.columns);
  IndexerLayout l{};
  l.weights = align(IndexerLayout::kSaturated + 4 * plan.blocks);
  l.keys = align(l.weights + 4 * plan.group * plan.padded_heads);
  l.stage = align(l.keys + (plan.shared_rows ? 4 * plan.group * plan.rows : 0));
  l.q = l.stage + (plan.steps == 0 ? 0 : plan.warps * kIndexerChunk * pitch);
  if (plan.wgmma) l.q = align(l.q, 1024);
  const int q_row = plan.wgmma ? 32 * plan.steps : pitch;
  const int scoring = l.q + plan.group * plan.padded_heads * q_row;
  // (Few queries: keys, places, and of the best keys, rows and ranks.)
  const int sorting = l.stage + (plan.few ? plan.group * (8 * plan.rows + 12 * kIndexerBest)
                                          : 8 * plan.group * plan.list);
  l.total = align(std::max(scoring, sorting));
  return l;
}

// Whether the kernel for few queries takes them: they share one reading of the keys, and of a thread block's rows hardly more than kIndexerBest are among the best of all.
bool few_queries(const IndexerPlan& plan, const IndexerProblem& problem) {
  return problem.bf16 && plan.steps <= 8 && plan.blocks > 1 && plan.sets == 1 &&
         problem.queries <= kIndexerMaxGroup && plan.launch_queries == problem.queries &&
         plan.rows <= kFewRows && 2 * problem.k <= plan.blocks * kIndexerBest &&
         IndexerFewWords{plan.blocks}.count(problem.queries) <= TaggedWords::kMaxWords;
}

}  // namespace

IndexerPlan plan_indexer_topk(const CudaDeviceProperties& device, const IndexerProblem& problem) {
  IndexerPlan plan{};
  plan.steps = !problem.bf16 ? 0 : problem.columns <= 64 ? 4 : problem.columns <= 128 ? 8 : 16;
  plan.blocks = blocks_of(device, problem.queries, problem.rows);
  plan.rows = rows_of(problem.rows, plan.blocks);
  plan.shared_rows = plan.rows <= kIndexerSharedRows;
  plan.list = power_of_two(std::min(plan.rows, problem.k));

  if (plan.blocks > 1) {
    plan.launch_queries =
        std::min(problem.queries, budget(problem.queries, plan.blocks, plan.rows) /
                                      list_bytes(plan.blocks, plan.rows, problem.k));
    // One set where scores are in the workspace: there is one place for them.
    plan.sets = plan.shared_rows
                    ? std::min<std::int64_t>(plan.launch_queries, device.sm_count / plan.blocks)
                    : 1;
  } else {
    // A device of one multiprocessor has thread blocks that work alone on any number of rows.
    plan.launch_queries =
        plan.shared_rows ? std::min<std::int64_t>(problem.queries, 0x7fffffff) : 1;
    plan.sets = plan.launch_queries;
  }
  plan.set_queries = divide_up(plan.launch_queries, plan.sets);
  plan.sets = divide_up(plan.launch_queries, plan.set_queries);

  const int granule = problem.bf16 ? 16 : 32;
  const auto fits = [&](int group, int warps, int heads) {
    const int padded = plan.wgmma ? kIndexerWgmmaHeads : granule;
    plan.group = group;
    plan.warps = warps;
    plan.padded_heads = divide_up(heads, padded) * padded;
    plan.heads = std::min(plan.padded_heads, problem.heads);
    plan.layout = layout_of(plan, problem);
    return plan.layout.total <= device.shared_memory_per_block_optin;
  };
  const bool wgmma =
      problem.bf16 && plan.steps <= 8 && problem.heads > kIndexerMmaHeads && runs_sm90a(device);

  // The warps of that kernel have two chunks each: as many are in flight.
  if (few_queries(plan, problem)) {
    const int rows = plan.rows;
    plan.few = true;
    plan.rows = divide_up(rows, 32) * 32;
    for (const bool with : {wgmma, false}) {
      plan.wgmma = with;
      if (fits(static_cast<int>(problem.queries), kIndexerFewWarps * kIndexerSide, problem.heads))
        return plan;
    }
    plan.few = false;
    plan.rows = rows;
  }

  // All heads of as many queries as fit, with as many warps, rather of fewer with products of a warpgroup; one query, with fewer warps, with fewer heads.
  const int most =
      plan.shared_rows
          ? static_cast<int>(std::min<std::int64_t>(kIndexerMaxGroup, plan.set_queries))
          : 1;
  for (const bool with : {wgmma, false}) {
    plan.wgmma = with;
    for (int group = most; group >= 1; --group) {
      if (fits(group, kIndexerWarps, problem.heads)) return plan;
    }
  }
  for (int warps = kIndexerWarps / 2; warps >= 4; warps /= 2) {
    if (fits(1, warps, problem.heads)) return plan;
  }
  for (int heads = problem.heads; heads > granule;) {
    heads = divide_up(heads, 2);
    if (fits(1, 4, heads)) return plan;
  }
  (void)fits(1, 4, 1);  // the launch is refused where not even this fits
  return plan;
}

std::int64_t indexer_workspace_bytes(const CudaDeviceProperties& device, std::int64_t queries,
                                     std::int64_t rows) {
  rows = std::min<std::int64_t>(rows, std::int64_t{1} << 20);
  const int blocks = blocks_of(device, queries, rows);
  const int of_block = rows_of(rows, blocks);
  const std::int64_t scores = row_bytes(blocks, of_block);
  if (blocks == 1) return scores == 0 ? 0 : kWorkspaceExchangeBytes + scores;
  return kWorkspaceExchangeBytes + budget(queries, blocks, of_block) + scores;
}

}  // namespace nvfp4j
