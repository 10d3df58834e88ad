// SPDX-License-Identifier: Apache-2.0
// indexer_topk on the CPU device, and how its CUDA kernel is cut: a function of device and shape, so that no GPU is needed.
#include "common/workspace_layout.hpp"
#include "device/tagged_words_layout.hpp"
#include "fixture.hpp"
#include "indexer_case.hpp"
#include "nvfp4j/indexer.h"
#include "ops/indexer_topk/indexer_topk_kernels.hpp"
#include "ops/indexer_topk/indexer_topk_order.hpp"
#include "ops/indexer_topk/indexer_topk_plan.hpp"

using namespace fixture;
using indexer::Case;
using indexer::Kind;

namespace {

std::mt19937 seeded() { return std::mt19937(static_cast<unsigned>(generator()())); }

/// Outputs with gaps between their rows.
struct Results {
  explicit Results(const indexer::Problem& p)
      : indices(p.queries * p.indices_stride * 4), scores(p.queries * p.scores_stride * 4) {}
  const std::int32_t* row(const Bytes& b, std::int64_t at) const {
    return reinterpret_cast<const std::int32_t*>(b.data()) + at;
  }
  Bytes indices;
  Bytes scores;
};

void call(nvfp4j_context* context, const indexer::Problem& p, const Results& to, bool scores) {
  nvfp4j_tensor q = tensor(const_cast<std::uint8_t*>(p.q.bytes().data()), p.dtype,
                           {p.queries, p.heads, p.columns});
  q.stride[0] = p.query_stride;
  q.stride[1] = p.head_stride;
  const nvfp4j_tensor keys = matrix(const_cast<std::uint8_t*>(p.keys.bytes().data()), p.dtype,
                                    p.rows, p.columns, p.keys_stride);
  const nvfp4j_tensor weights = matrix(const_cast<std::uint8_t*>(p.weights.bytes().data()),
                                       NVFP4J_DTYPE_F32, p.queries, p.heads, p.weights_stride);
  const nvfp4j_tensor valid =
      tensor(const_cast<std::int32_t*>(p.valid.data()), NVFP4J_DTYPE_I32, {p.queries});
  const nvfp4j_tensor indices =
      matrix(to.indices.data(), NVFP4J_DTYPE_I32, p.queries, p.k, p.indices_stride);
  const nvfp4j_tensor all =
      matrix(to.scores.data(), NVFP4J_DTYPE_F32, p.queries, p.rows, p.scores_stride);
  CHECK_OK(nvfp4j_indexer_topk(context, &q, &keys, &weights, &valid, &indices,
                               scores ? &all : nullptr, error));
}

bool gaps_are_poison(const Bytes& b, std::int64_t rows, std::int64_t width, std::int64_t stride) {
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t i = 4 * (r * stride + width); i < 4 * (r + 1) * stride; ++i) {
      if (b[i] != 0xA5) return false;
    }
  }
  return true;
}

void run(std::int32_t threads, std::mt19937& g, const Case& c) {
  const Context context(threads);
  const indexer::Problem p(c, g);
  const Results with(p);
  call(context, p, with, true);
  nvfp4j_status_record record = status_record();
  const std::int32_t status = nvfp4j_context_synchronize(context, &record, nullptr);
  std::int64_t faults = 0;
  for (std::int64_t s = 0; s < p.queries; ++s) {
    const auto* scores = reinterpret_cast<const float*>(with.row(with.scores, s * p.scores_stride));
    CHECK_EQ(indexer::judge_scores(p, s, 0, p.rows, scores, faults), "");
    CHECK_EQ(indexer::judge_indices(p, s, with.row(with.indices, s * p.indices_stride), scores),
             "");
  }
  CHECK(gaps_are_poison(with.indices, p.queries, p.k, p.indices_stride));
  CHECK(gaps_are_poison(with.scores, p.queries, p.rows, p.scores_stride));
  const std::uint64_t causes =
      (faults != 0 ? std::uint64_t{1} << NVFP4J_CAUSE_NON_FINITE_RESULT : 0) |
      (c.bad_visible ? std::uint64_t{1} << NVFP4J_CAUSE_INDEX_OUT_OF_RANGE : 0);
  CHECK_EQ(record.causes[NVFP4J_OP_INDEXER_TOPK], causes);
  CHECK_EQ(status, causes != 0 ? NVFP4J_ERROR_REPORTED : NVFP4J_OK);
  // The same without scores, and in any number of threads.
  const Results without(p);
  const Context other(threads == 1 ? 3 : 1);
  call(other, p, without, false);
  CHECK(with.indices == without.indices);
  (void)nvfp4j_context_synchronize(other, nullptr, nullptr);
}

constexpr nvfp4j::CudaDeviceProperties kH100 = {0, 9, 0, 132, 232448, 233472, 52428800, 1, 0};
constexpr nvfp4j::CudaDeviceProperties kA100 = {0, 8, 0, 108, 166912, 167936, 41943040, 1, 0};
constexpr nvfp4j::CudaDeviceProperties kAda = {0, 8, 9, 128, 101376, 102400, 75497472, 1, 0};
constexpr nvfp4j::CudaDeviceProperties kSmall = {0, 8, 6, 16, 101376, 102400, 2097152, 1, 0};
constexpr nvfp4j::CudaDeviceProperties kOne = {0, 8, 7, 1, 166912, 167936, 2097152, 1, 0};

void check_plan(const nvfp4j::CudaDeviceProperties& device, const nvfp4j::IndexerProblem& problem) {
  using namespace nvfp4j;
  const IndexerPlan p = plan_indexer_topk(device, problem);
  // All rows have a place, and lists hold what can be among the best.
  CHECK(std::int64_t{p.blocks} * p.rows >= problem.rows);
  CHECK_EQ(p.rows % kIndexerChunk, 0);
  CHECK(p.list >= std::min(p.rows, problem.k) || p.list >= problem.k);
  CHECK(p.list >= 32 && p.list <= 2048 && (p.list & (p.list - 1)) == 0);
  CHECK_EQ(p.shared_rows, p.rows <= kIndexerSharedRows);
  if (p.wgmma) {
    CHECK(runs_sm90a(device) && problem.bf16 && p.heads == problem.heads);
    CHECK(p.steps == 4 || p.steps == 8);
    CHECK_EQ(p.warps % 4, 0);
    CHECK_EQ(p.padded_heads % kIndexerWgmmaHeads, 0);
    CHECK_EQ(p.layout.q % 1024, 0);
    CHECK(p.layout.q + p.group * p.padded_heads * 32 * p.steps <= p.layout.total);
  }
  // Few queries are done at once, with all heads, and their words have room.
  if (p.few) {
    CHECK(problem.bf16 && p.blocks > 1 && p.sets == 1 && p.shared_rows);
    CHECK(p.group == problem.queries && p.launch_queries == problem.queries);
    CHECK(p.heads == problem.heads && p.warps == kIndexerFewWarps * kIndexerSide);
    CHECK_EQ(p.rows % 32, 0);
    CHECK(p.steps == 4 || p.steps == 8);
    CHECK(IndexerFewWords{p.blocks}.count(problem.queries) <= TaggedWords::kMaxWords);
    CHECK(p.layout.stage + p.group * (8 * p.rows + 12 * kIndexerBest) <= p.layout.total);
  }
  // All queries have a set, and every set one.
  CHECK(p.launch_queries >= 1 && p.launch_queries <= problem.queries);
  CHECK(p.sets * p.set_queries >= p.launch_queries);
  CHECK((p.sets - 1) * p.set_queries < p.launch_queries);
  CHECK(p.group >= 1 && p.group <= kIndexerMaxGroup && p.group <= p.set_queries);
  // Thread blocks that exchange are resident together, one a multiprocessor.
  CHECK(p.blocks == 1 || p.blocks * p.sets <= device.sm_count);
  CHECK(p.sets <= 0x7fffffff);
  // Heads are done in whole tiles, and only one query at a time in parts.
  CHECK(p.heads == problem.heads || (p.group == 1 && p.heads == p.padded_heads));
  CHECK(p.padded_heads >= p.heads && p.padded_heads % (problem.bf16 ? 16 : 32) == 0);
  CHECK(p.warps >= 4 && p.warps <= kIndexerWarps);
  CHECK(16 * p.steps >= problem.columns || p.steps == 0);
  CHECK(p.layout.total <= device.shared_memory_per_block_optin);
  CHECK(p.layout.weights >= IndexerLayout::kSaturated + 4 * p.blocks);
  CHECK(p.layout.keys >= p.layout.weights + 4 * p.group * p.padded_heads);
  CHECK(p.layout.stage >= p.layout.keys + (p.shared_rows ? 4 * p.group * p.rows : 0));
  CHECK(p.layout.q >=
        p.layout.stage +
            (p.steps == 0 ? 0 : p.warps * kIndexerChunk * indexer_pitch(p.steps, problem.columns)));
  if (!p.few) CHECK(p.layout.stage + 8 * p.group * p.list <= p.layout.total);
  // What it takes of the workspace.
  const std::int64_t scores = p.shared_rows ? 0 : std::int64_t{p.blocks} * p.rows * 4;
  const std::int64_t lists =
      p.blocks == 1 ? 0 : p.launch_queries * p.blocks * std::int64_t{p.list} * 8;
  const std::int64_t needed = indexer_workspace_bytes(device, problem.queries, problem.rows);
  if (scores + lists != 0) CHECK(kWorkspaceExchangeBytes + scores + lists <= needed);
  CHECK(needed <= kWorkspaceExchangeBytes + (13 << 20));
  if (p.blocks == 1 && p.shared_rows) CHECK_EQ(needed, std::int64_t{0});
  // One launch where the header says so.
  if (problem.queries <= 8 && problem.rows <= 65536 && device.sm_count >= 8)
    CHECK_EQ(p.launch_queries, problem.queries);
}

}  // namespace

TEST(the_order_of_scores) {
  using namespace nvfp4j;
  const float infinity = std::numeric_limits<float>::infinity();
  const float values[] = {-infinity, -3e38f, -1.0f, -1e-45f, 0.0f, 1e-45f, 1.0f, 3e38f, infinity};
  for (std::size_t i = 0; i < std::size(values); ++i) {
    CHECK_EQ(indexer_score(indexer_key(values[i])), values[i]);
    CHECK_EQ(indexer_key_is_finite(indexer_key(values[i])), std::isfinite(values[i]));
    if (i > 0) CHECK(indexer_key(values[i]) > indexer_key(values[i - 1]));
  }
  CHECK_EQ(indexer_key(-0.0f), indexer_key(0.0f));
  const std::uint32_t nan = indexer_key(-std::numeric_limits<float>::quiet_NaN());
  CHECK(nan < indexer_key(-infinity));
  CHECK(!indexer_key_is_finite(nan));
  CHECK(std::isnan(indexer_score(nan)));
  for (const std::uint32_t row : {0u, 1u, 1048575u}) {
    CHECK_EQ(indexer_row(indexer_entry(nan, row)), static_cast<std::int32_t>(row));
    CHECK(indexer_entry(nan, row) != 0);
    CHECK(indexer_entry(nan, row) > indexer_entry(nan, row + 1));
  }
}

TEST(plans) {
  for (const auto& device : {kH100, kA100, kAda, kSmall, kOne}) {
    for (const std::int64_t queries : {1, 2, 7, 8, 9, 33, 512, 100000}) {
      for (const std::int64_t rows :
           {0, 1, 37, 512, 513, 2048, 5000, 32768, 65536, 65537, 1048576}) {
        for (const int heads : {1, 3, 16, 40, 64, 100, 128}) {
          for (const int columns : {16, 64, 80, 128, 256}) {
            for (const int k : {1, 33, 512, 1024, 2048}) {
              for (const bool bf16 : {true, false})
                check_plan(device, {queries, rows, heads, columns, k, bf16});
            }
          }
        }
      }
    }
  }
}

TEST(plans_of_decoding) {
  using namespace nvfp4j;
  const IndexerPlan p = plan_indexer_topk(kH100, {1, 32768, 64, 128, 1024, true});
  CHECK_EQ(p.blocks, 132);
  CHECK_EQ(p.warps, kIndexerWarps);
  CHECK_EQ(p.few, true);
  CHECK_EQ(p.rows, 256);
  CHECK_EQ(p.list, 256);
  CHECK_EQ(p.wgmma, true);
  CHECK_EQ(plan_indexer_topk(kA100, {1, 32768, 64, 128, 1024, true}).wgmma, false);
  CHECK_EQ(plan_indexer_topk(kH100, {1, 32768, 32, 128, 1024, true}).wgmma, false);
  CHECK_EQ(plan_indexer_topk(kH100, {64, 16384, 64, 128, 1024, true}).wgmma, true);
  CHECK_EQ(plan_indexer_topk(kH100, {64, 16384, 64, 128, 1024, true}).group, kIndexerMaxGroup);
  CHECK_EQ(plan_indexer_topk(kH100, {64, 16384, 64, 256, 1024, true}).wgmma, false);
  CHECK_EQ(plan_indexer_topk(kH100, {64, 16384, 64, 128, 1024, false}).wgmma, false);
  // Tiles of q do not fit, its rows do.
  CHECK_EQ(plan_indexer_topk(kH100, {5, 5000, 100, 128, 40, true}).few, true);
  CHECK_EQ(plan_indexer_topk(kH100, {5, 5000, 100, 128, 40, true}).wgmma, false);
  const IndexerPlan eight = plan_indexer_topk(kH100, {8, 65536, 64, 128, 512, true});
  CHECK_EQ(eight.group, 8);
  CHECK_EQ(eight.few, true);
  // Two launches' thread blocks fit a multiprocessor of one or two queries.
  const IndexerPlan two = plan_indexer_topk(kH100, {2, 65536, 64, 128, 1024, true});
  CHECK(2 * (two.layout.total + 1024) <= kH100.shared_memory_per_sm);
  // Not few: too many, types, columns, thread blocks that have many of the best, words without room.
  CHECK_EQ(plan_indexer_topk(kH100, {9, 32768, 64, 128, 1024, true}).few, false);
  CHECK_EQ(plan_indexer_topk(kH100, {1, 32768, 64, 128, 1024, false}).few, false);
  CHECK_EQ(plan_indexer_topk(kH100, {1, 32768, 64, 256, 1024, true}).few, false);
  CHECK_EQ(plan_indexer_topk(kSmall, {1, 32768, 64, 128, 1024, true}).few, false);
  constexpr CudaDeviceProperties kMany = {0, 9, 0, 800, 232448, 233472, 52428800, 1, 0};
  CHECK_EQ(plan_indexer_topk(kMany, {5, 65536, 4, 64, 512, true}).few, true);
  CHECK_EQ(plan_indexer_topk(kMany, {6, 65536, 4, 64, 512, true}).few, false);
  CHECK_EQ(eight.launch_queries, std::int64_t{8});
}

// The default workspace is the most that some shapes take: no other may take more.
TEST(no_shape_takes_more_of_the_workspace_than_large_ones) {
  using namespace nvfp4j;
  for (const auto& device : {kH100, kA100, kAda, kSmall, kOne}) {
    const std::int64_t all =
        std::max({indexer_workspace_bytes(device, 1, 1 << 20),
                  indexer_workspace_bytes(device, std::int64_t{1} << 31, 1 << 16),
                  indexer_workspace_bytes(device, std::int64_t{1} << 31, 1 << 20)});
    CHECK(all <= kWorkspaceExchangeBytes + (13 << 20));
    for (std::int64_t queries = 1; queries < std::int64_t{1} << 40; queries = queries * 3 + 1) {
      for (std::int64_t rows = 0; rows <= 1 << 20; rows = rows * 2 + 37)
        CHECK(indexer_workspace_bytes(device, queries, rows) <= all);
    }
  }
}

TEST(the_cpu_is_within_the_bound) {
  std::mt19937 g = seeded();
  for (const std::int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}) {
    for (int kind = 0; kind < indexer::kKinds; ++kind) {
      for (const std::int32_t threads : {1, 3}) {
        run(threads, g,
            {3, 300, 5, 48, 70, dtype, static_cast<Kind>(kind), -1, false, kind % 3 * 4});
        run(threads, g, {1, 2000, 4, 16, 1500, dtype, static_cast<Kind>(kind)});
      }
    }
    for (const int heads : {1, 3, 16, 64, 128}) {
      for (const int columns : {16, 64, 128, 256})
        run(2, g, {2, 41, heads, columns, 16, dtype, Kind::kNormal, -1, false, 1});
    }
    for (const std::int64_t visible : {0, 1, 31, 32, 33, 90})
      run(2, g, {2, 90, 3, 32, 32, dtype, Kind::kNormal, visible});
    run(2, g, {4, 90, 3, 32, 32, dtype, Kind::kNormal, -1, true});
    run(1, g, {2, 0, 3, 32, 5, dtype});
    run(2, g, {1, 5, 1, 16, 2048, dtype});
    run(2, g, {1, 4000, 1, 16, 2048, dtype, Kind::kSmall});
    run(2, g, {9, 100, 2, 16, 1, dtype, Kind::kSmall});
  }
}

// Enough rows for several threads to share those of one query.
TEST(threads_share_the_rows_of_a_query) {
  std::mt19937 g = seeded();
  for (const Kind kind : {Kind::kNormal, Kind::kZero, Kind::kCopies})
    run(4, g, {2, 6000, 16, 64, 512, NVFP4J_DTYPE_BF16, kind});
}

TEST(faults_name_the_first_place) {
  const Context context(2);
  std::mt19937 g = seeded();
  indexer::Problem p({3, 50, 2, 16, 8, NVFP4J_DTYPE_F32}, g);
  p.valid = {50, 51, 50};
  p.keys.put(7 * p.keys_stride + 3, std::numeric_limits<float>::quiet_NaN());
  p.weights.put(0 * p.weights_stride, 1.0f);
  const Results to(p);
  call(context, p, to, true);
  nvfp4j_status_record record = status_record();
  CHECK_FAILS(
      nvfp4j_context_synchronize(context, &record, error), NVFP4J_ERROR_REPORTED,
      "indexer_topk: NON_FINITE_RESULT: a result is NaN or infinite in F32, first seen at row "
      "0, column 7; also indexer_topk: INDEX_OUT_OF_RANGE");
  CHECK_EQ(record.first_row, 0);
  CHECK_EQ(record.first_column, 7);
  p.valid = {7, -2147483647 - 1, 7};
  call(context, p, to, false);
  record = status_record();
  CHECK_EQ(nvfp4j_context_synchronize(context, &record, nullptr), NVFP4J_ERROR_REPORTED);
  CHECK_EQ(record.first_cause, NVFP4J_CAUSE_INDEX_OUT_OF_RANGE);
  CHECK_EQ(record.first_row, 1);
  CHECK_EQ(record.first_column, -1);
}

TEST(scores_have_the_same_bits_on_every_instruction_set) {
  std::mt19937 g = seeded();
  for (const int columns : {16, 48, 128, 256}) {
    const indexer::Problem p({1, 20, 7, columns, 1, NVFP4J_DTYPE_F32}, g);
    const auto* q = reinterpret_cast<const float*>(p.q.bytes().data());
    const auto* weights = reinterpret_cast<const float*>(p.weights.bytes().data());
    const auto* keys = reinterpret_cast<const float*>(p.keys.bytes().data());
    for (std::int64_t t = 0; t < p.rows; ++t) {
      const float expected =
          nvfp4j::indexer_cpu_kernels[0](q, weights, keys + t * columns, 7, columns);
      for (int isa = 1; isa <= static_cast<int>(nvfp4j::cpu_isa()); ++isa) {
        CHECK_EQ(nvfp4j::indexer_cpu_kernels[isa](q, weights, keys + t * columns, 7, columns),
                 expected);
      }
    }
  }
}

int main(int count, char** arguments) { return check::main(count, arguments); }
