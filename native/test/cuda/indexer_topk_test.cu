// SPDX-License-Identifier: Apache-2.0
// indexer_topk on the GPU: scores within the header's bound of F64, and indices exactly as a host sorts the GPU's own scores; the same bits without scores, in a second run and in a graph.
// Cards with few multiprocessors or little shared memory, or older ones, are played by telling the launcher so: its plans are a function of what it is told.
#include <atomic>
#include <mutex>

#include "common/workspace_layout.hpp"
#include "device/tagged_words_layout.hpp"
#include "gpu_test.cuh"
#include "indexer_branches.hpp"
#include "indexer_case.hpp"
#include "nvfp4j/indexer.h"
#include "ops/indexer_topk/indexer_topk_cuda.hpp"
#include "ops/indexer_topk/indexer_topk_plan.hpp"

namespace nvfp4j::test {
namespace {

using indexer::Case;
using indexer::Kind;

// What the launcher is told of the card; 0: the truth.
struct Card {
  int multiprocessors = 0;
  int shared_memory = 0;
  int major = 0;
};

// One before compute capability 9.0.
constexpr Card kOlder = {0, 0, 8};

// An input where it is wanted; a tensor without elements has no memory.
std::unique_ptr<Buffer> upload(const std::vector<std::uint8_t>& bytes, int misalign) {
  auto buffer = std::make_unique<Buffer>(static_cast<std::int64_t>(bytes.size()), misalign);
  if (!bytes.empty()) buffer->put(bytes.data(), buffer->bytes());
  return buffer;
}

bool gaps_are_poison(const std::vector<std::uint8_t>& bytes, std::int64_t rows, std::int64_t width,
                     std::int64_t stride) {
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t i = 4 * (r * stride + width); i < 4 * (r + 1) * stride; ++i) {
      if (bytes[static_cast<std::size_t>(i)] != Buffer::kPoison) return false;
    }
  }
  return true;
}

// All scores and indices against the problem; how many scores are to be reported.
std::int64_t judge(const indexer::Problem& p, const std::vector<std::uint8_t>& indices,
                   const std::vector<std::uint8_t>& scores) {
  std::mutex mutex;
  std::atomic<std::int64_t> faults{0};
  const auto scores_of = [&](std::int64_t s) {
    return reinterpret_cast<const float*>(scores.data()) + s * p.scores_stride;
  };
  const auto say = [&](const std::string& wrong) {
    const std::lock_guard lock(mutex);
    check(wrong.empty(), wrong);
  };
  for (std::int64_t s = 0; s < p.queries; ++s) {
    parallel(p.rows, [&](std::int64_t from, std::int64_t to) {
      std::int64_t found = 0;
      say(indexer::judge_scores(p, s, from, to, scores_of(s), found));
      faults += found;
    });
  }
  parallel(p.queries, [&](std::int64_t from, std::int64_t to) {
    for (std::int64_t s = from; s < to; ++s) {
      say(indexer::judge_indices(
          p, s, reinterpret_cast<const std::int32_t*>(indices.data()) + s * p.indices_stride,
          scores_of(s)));
    }
  });
  return faults;
}

void check_status(Gpu& gpu, const indexer::Problem& p, bool faults) {
  const DeviceStatus status = gpu.take_status();
  const std::uint64_t expected = (faults ? 1ull << NVFP4J_CAUSE_NON_FINITE_RESULT : 0) |
                                 (p.bad_visible ? 1ull << NVFP4J_CAUSE_INDEX_OUT_OF_RANGE : 0);
  bool right = (status.claimed != 0) == (expected != 0);
  for (int op = 0; op < NVFP4J_STATUS_WORDS; ++op)
    right = right && status.causes[op] == (op == NVFP4J_OP_INDEXER_TOPK ? expected : 0);
  if (status.claimed != 0) {
    const bool index = status.first_cause == NVFP4J_CAUSE_INDEX_OUT_OF_RANGE;
    right = right && status.first_op == NVFP4J_OP_INDEXER_TOPK &&
            (index ? status.first_row == p.queries - 1 && status.first_column == -1
                   : status.first_row >= 0 && status.first_row < p.queries &&
                         !std::isfinite(p.exact(status.first_row, status.first_column).score));
  }
  check(right, p.name() + ": reported cause " + std::to_string(status.first_cause) + " at " +
                   std::to_string(status.first_row) + ", " + std::to_string(status.first_column));
}

void run_case(Gpu& gpu, std::mt19937& g, const Case& c, const Card& card = {}) {
  const indexer::Problem p(c, g);
  CudaDeviceProperties told = gpu.properties;
  if (card.multiprocessors != 0) told.sm_count = std::min(told.sm_count, card.multiprocessors);
  if (card.shared_memory != 0) {
    told.shared_memory_per_block_optin =
        std::min(told.shared_memory_per_block_optin, card.shared_memory);
  }
  if (card.major != 0) told.major = std::min(told.major, card.major);
  CudaLaunch launch = gpu.launch;
  launch.device = &told;
  const int element = p.dtype == NVFP4J_DTYPE_F32 ? 4 : 2;
  const auto q = upload(p.q.bytes(), element * p.misalign);
  const auto keys = upload(p.keys.bytes(), element * p.misalign);
  const auto weights = upload(p.weights.bytes(), 4 * p.misalign);
  const Buffer valid(4 * p.queries, 4 * p.misalign);
  valid.put(p.valid.data(), valid.bytes());
  Buffer indices(4 * p.queries * p.indices_stride, 4 * p.misalign);
  Buffer scores(4 * p.queries * p.scores_stride, 4 * p.misalign);
  IndexerTopkArgs args{p.dtype,
                       q->data(),
                       p.query_stride,
                       p.head_stride,
                       keys->data(),
                       p.keys_stride,
                       weights->as<float>(),
                       p.weights_stride,
                       valid.as<std::int32_t>(),
                       indices.as<std::int32_t>(),
                       p.indices_stride,
                       scores.as<float>(),
                       p.scores_stride,
                       p.queries,
                       p.rows,
                       p.heads,
                       p.columns,
                       p.k};
  note_plan(told, p, args);
  const std::int64_t needed = indexer_topk_cuda_workspace_bytes(told, p.queries, p.rows);
  check(needed <= launch.workspace_bytes, p.name() + ": the workspace is too small");
  const auto call = [&] {
    must(static_cast<cudaError_t>(indexer_topk_cuda(launch, args)), p.name().c_str());
  };
  // Behind the exchanges the workspace is anybody's: what is in it must not matter, and what is behind the need stays.
  constexpr std::int64_t kBehind = 4096;
  auto* own = static_cast<std::uint8_t*>(launch.workspace) + kWorkspaceExchangeBytes;
  const std::int64_t used = std::max<std::int64_t>(0, needed - kWorkspaceExchangeBytes);
  MUST(cudaMemset(own, 0xC3, static_cast<std::size_t>(used + kBehind)));
  MUST(cudaDeviceSynchronize());

  call();
  gpu.wait();
  const std::vector<std::uint8_t> first_indices = indices.get("indices");
  const std::vector<std::uint8_t> first_scores = scores.get("scores");
  const std::int64_t faults = judge(p, first_indices, first_scores);
  check(gaps_are_poison(first_indices, p.queries, p.k, p.indices_stride) &&
            gaps_are_poison(first_scores, p.queries, p.rows, p.scores_stride),
        p.name() + ": bytes between rows were written");
  check_status(gpu, p, faults != 0);
  note_results(told, p, first_indices, first_scores);
  std::vector<std::uint8_t> behind(kBehind);
  MUST(cudaMemcpy(behind.data(), own + used, kBehind, cudaMemcpyDeviceToHost));
  check(std::all_of(behind.begin(), behind.end(), [](std::uint8_t b) { return b == 0xC3; }),
        p.name() + ": the workspace behind what it needs was written");

  // In a graph, the same bits.
  indices.poison();
  scores.poison();
  gpu.replay(call, 2);
  check(indices.get("indices") == first_indices && scores.get("scores") == first_scores,
        p.name() + ": a graph has other bits");
  // Without scores, the same indices.
  indices.poison();
  args.scores = nullptr;
  call();
  gpu.wait();
  check(indices.get("indices") == first_indices, p.name() + ": other indices without scores");
  check_status(gpu, p, faults != 0);
}

void test_shapes(Gpu& gpu, std::mt19937& g, bool quick) {
  constexpr std::int32_t kBf16 = NVFP4J_DTYPE_BF16;
  constexpr std::int32_t kF32 = NVFP4J_DTYPE_F32;
  for (const std::int32_t dtype : {kBf16, kF32}) {
    for (const int columns : {16, 48, 64, 80, 128, 144, 256}) {
      for (const int heads : {1, 3, 16, 40, 64, 100, 128}) {
        if (quick && (heads == 3 || heads == 64) == (columns > 64)) continue;
        const int gap = static_cast<int>(g() % 3) * 8;
        run_case(gpu, g,
                 {1, quick ? 530 : 777, heads, columns, 100, dtype, Kind::kNormal, -1, false, gap});
        if (!quick)
          run_case(gpu, g, {3, 300, heads, columns, 100, dtype, Kind::kNormal, -1, false, gap});
        // Rows at odd addresses.
        run_case(gpu, g,
                 {2, quick ? 40 : 900, heads, columns, 33, dtype, Kind::kNormal, -1, false, 1, 1});
      }
    }
    for (const std::int64_t queries : {1, 2, 3, 4, 5, 6, 7, 8, 9, 33}) {
      if (quick && queries != 9) continue;
      for (const std::int64_t rows : {37, 600, 2100})
        run_case(gpu, g, {queries, rows, 4, 64, 64, dtype});
    }
    for (const int k : {1, 512, 1024, 2048}) {
      if (quick && k != 512) continue;
      for (const std::int64_t rows : {5, 512, 513, 3000})
        run_case(gpu, g, {1, rows, 4, 64, k, dtype});
    }
    run_case(gpu, g, {3, 0, 4, 64, 5, dtype});
    run_case(gpu, g, {2, 1, 4, 64, 1, dtype});
  }
  run_case(gpu, g, {1, 34000, 1, 64, 100, kBf16, Kind::kStripes});
  run_case(gpu, g, {1, 8000, 1, 16, 100, kBf16, Kind::kSmall});
  run_case(gpu, g, {2, 18000, 1, 16, 100, kBf16, Kind::kSmall});
  run_case(gpu, g, {2, 5000, 1, 128, 100, kBf16});
  run_case(gpu, g, {1, 34000, 36, 64, 100, kBf16});
  run_case(gpu, g, {2, 5000, 100, 128, 33, kBf16});
  run_case(gpu, g, {40, 2100, 40, 80, 300, kBf16});
  run_case(gpu, g, {40, 2100, 100, 128, 300, kBf16});
  run_case(gpu, g, {40, 2100, 64, 48, 300, kBf16});
  run_case(gpu, g, {1, 5000, 40, 128, 100, kBf16}, kOlder);
  run_case(gpu, g, {40, 2100, 40, 128, 300, kBf16}, kOlder);
  run_case(gpu, g, {40, 2100, 40, 64, 300, kBf16, Kind::kNormal, -1, false, 1, 1});
  run_case(gpu, g, {1, 900, 36, 64, 33, kBf16, Kind::kNormal, -1, false, 1, 1});
  run_case(gpu, g, {2, 5000, 36, 64, 33, kBf16, Kind::kNormal, -1, false, 1, 1});
  // The shape of the model.
  run_case(gpu, g, {5, 37, 64, 128, 16, kBf16});
  if (quick) return;
  for (const std::int64_t rows : {8192, 32768, 65536}) {
    for (const int k : {512, 1024, 2048}) {
      run_case(gpu, g, {1, rows, 64, 128, k, kBf16});
      run_case(gpu, g, {1, rows, 64, 128, k, kBf16}, kOlder);
    }
  }
  run_case(gpu, g, {8, 32768, 64, 128, 1024, kBf16});
  run_case(gpu, g, {8, 65536, 64, 128, 1024, kBf16});
  for (const std::int64_t queries : {2, 3, 5, 7}) {
    for (const Kind kind : {Kind::kNormal, Kind::kStripes, Kind::kSmall, Kind::kCopies}) {
      for (const int heads : {4, 36})
        run_case(gpu, g, {queries, 20000, heads, 48, 700, kBf16, kind});
    }
  }
  run_case(gpu, g, {8, 65536, 16, 64, 512, kBf16});
  run_case(gpu, g, {33, 20000, 8, 64, 1024, kBf16});
  run_case(gpu, g, {64, 16384, 64, 128, 1024, kBf16});
  run_case(gpu, g, {33, 8000, 64, 128, 1024, kBf16}, kOlder);
  for (const std::int64_t queries : {3, 4, 5, 6, 7, 8}) {
    for (const int heads : {4, 64}) run_case(gpu, g, {queries, 20000, heads, 64, 2048, kBf16});
  }
  run_case(gpu, g, {200, 9000, 4, 32, 512, kBf16});
  run_case(gpu, g, {2, 20000, 8, 64, 1024, kF32});
  // Beyond 65536 rows, and as many as there may be.
  run_case(gpu, g, {1, 65537, 8, 64, 1024, kBf16});
  run_case(gpu, g, {2, 300000, 4, 64, 2048, kBf16});
  run_case(gpu, g, {1, 1 << 20, 8, 64, 1024, kBf16});
  run_case(gpu, g, {5, 1 << 20, 1, 16, 2048, kBf16});
  run_case(gpu, g, {1, 1 << 20, 1, 32, 512, kF32});
}

void test_visible(Gpu& gpu, std::mt19937& g, bool quick) {
  for (const std::int64_t rows : {400, 3000}) {
    for (const int k : {32, 200}) {
      for (const std::int64_t visible : {std::int64_t{0}, std::int64_t{1}, std::int64_t{k - 1},
                                         std::int64_t{k}, std::int64_t{k + 1}, rows - 1, rows}) {
        if (quick && visible > 1 && visible != k) continue;
        run_case(gpu, g, {2, rows, 4, 64, k, NVFP4J_DTYPE_BF16, Kind::kNormal, visible});
        run_case(gpu, g, {1, rows, 36, 64, k, NVFP4J_DTYPE_BF16, Kind::kNormal, visible});
        run_case(gpu, g, {1, rows, 4, 64, k, NVFP4J_DTYPE_F32, Kind::kNormal, visible});
      }
    }
    for (const std::int64_t queries : {1, 6})
      for (const int heads : {4, 36})
        run_case(gpu, g,
                 {queries, rows, heads, 64, 50, NVFP4J_DTYPE_BF16, Kind::kNormal, -1, true});
  }
}

void test_kinds(Gpu& gpu, std::mt19937& g, bool quick) {
  for (int kind = 0; kind < indexer::kKinds; ++kind) {
    for (const std::int32_t dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
      run_case(gpu, g, {2, 450, 5, 32, 64, dtype, static_cast<Kind>(kind)});
      run_case(gpu, g, {2, 1800, 5, 32, 300, dtype, static_cast<Kind>(kind)});
      run_case(gpu, g, {1, 1800, 37, 32, 300, dtype, static_cast<Kind>(kind)});
      if (quick) continue;
      for (const int k : {1, 512, 1024, 2048}) {
        for (const int heads : {4, 36})
          run_case(gpu, g, {1, 32768, heads, 32, k, dtype, static_cast<Kind>(kind)});
        run_case(gpu, g, {9, 5000, 4, 32, k, dtype, static_cast<Kind>(kind)});
        // Sets of several queries.
        run_case(gpu, g, {60, 5000, 4, 32, k, dtype, static_cast<Kind>(kind)});
        if (k > 512) run_case(gpu, g, {140, 5000, 36, 32, k, dtype, static_cast<Kind>(kind)});
      }
    }
    if (!quick)
      run_case(gpu, g, {1, 400000, 2, 16, 2048, NVFP4J_DTYPE_BF16, static_cast<Kind>(kind)});
  }
}

// Other cards' plans.
void test_cards(Gpu& gpu, std::mt19937& g, bool quick) {
  constexpr std::int32_t kBf16 = NVFP4J_DTYPE_BF16;
  constexpr std::int32_t kF32 = NVFP4J_DTYPE_F32;
  for (const std::int32_t dtype : {kBf16, kF32}) {
    run_case(gpu, g, {2, 600, 128, 256, 40, dtype}, {3, 101376});
    run_case(gpu, g, {1, 600, 100, 256, 40, dtype}, {3, 60000});
    run_case(gpu, g, {3, 600, 128, 128, 40, dtype}, {5, 101376});
    // Tiles of q do not fit, its rows do.
    run_case(gpu, g, {5, 5000, 100, 128, 40, dtype});
    run_case(gpu, g, {2, quick ? 17000 : 40000, 1, 16, 33, dtype, Kind::kSmall}, {2});
    run_case(gpu, g, {5, 600, 4, 64, 64, dtype}, {3});
    // One multiprocessor.
    run_case(gpu, g, {2, 9000, 1, 16, 2048, dtype, Kind::kSmall}, {1});
  }
  run_case(gpu, g, {2, 40000, 36, 16, 33, kBf16, Kind::kSmall}, {2});
  run_case(gpu, g, {5, 1500, 4, 16, 200, kBf16}, {4});
  run_case(gpu, g, {20, 1500, 2, 16, 20, kBf16}, {4});
  run_case(gpu, g, {20, 1500, 2, 16, 700, kBf16, Kind::kNormal, 5}, {4});
  for (int kind = 0; kind < indexer::kKinds; ++kind) {
    for (const int heads : {2, 36}) {
      for (const std::int64_t queries : {5, 20})
        run_case(gpu, g, {queries, 1500, heads, 16, 700, kBf16, static_cast<Kind>(kind)}, {4});
    }
  }
  if (quick) return;
  for (int kind = 0; kind < indexer::kKinds; ++kind) {
    run_case(gpu, g, {2, 100000, 2, 16, 2048, kBf16, static_cast<Kind>(kind)}, {8});
    run_case(gpu, g, {3, 30000, 2, 16, 700, kBf16, static_cast<Kind>(kind)}, {16, 101376});
    run_case(gpu, g, {20, 3000, 2, 16, 700, kBf16, static_cast<Kind>(kind)}, {4, 101376});
  }
}

// Tags go round: the launches before and behind 2^32 of them. What is in the words carries the tag of the launch before, as if routers, whose words they are too, had left it.
void test_tags(Gpu& gpu, std::mt19937& g) {
  char* tagged = static_cast<char*>(gpu.launch.workspace) + kWorkspaceTaggedAt;
  std::vector<std::uint64_t> words(static_cast<std::size_t>(TaggedWords::kMaxWords));
  for (const std::uint64_t epoch : {5ull, 0xFFFFFFFCull, 0xFFFFFFFEull, 0xFFFFFFFFull}) {
    for (const std::int64_t queries : {1, 5}) {
      const int heads = queries == 1 ? 64 : 4;
      for (std::uint64_t& word : words) word = epoch << 32 | g();
      MUST(cudaMemcpy(tagged + TaggedWords::kWords, words.data(), 8 * words.size(),
                      cudaMemcpyHostToDevice));
      MUST(cudaMemcpy(tagged + TaggedWords::kLastTag, &epoch, 8, cudaMemcpyHostToDevice));
      run_case(gpu, g, {queries, 9000, heads, 64, 512, NVFP4J_DTYPE_BF16});
      std::uint64_t after = 0;
      MUST(cudaMemcpy(&after, tagged + TaggedWords::kLastTag, 8, cudaMemcpyDeviceToHost));
      check(after != epoch, "a launch of few queries has no tag of its own");
      note(after < epoch, "few queries: tags go round");
    }
  }
}

}  // namespace
}  // namespace nvfp4j::test

int main(int argc, char** argv) {
  using namespace nvfp4j::test;
  const bool quick = quick_option(argc, argv);
  Gpu gpu(nvfp4j::kWorkspaceExchangeBytes + (16 << 20));
  std::printf("%s\n", nvfp4j::indexer_topk_cuda_path(gpu.properties));
  must(static_cast<cudaError_t>(nvfp4j::indexer_topk_cuda_warm_up(gpu.properties)),
       "indexer_topk_cuda_warm_up");
  std::mt19937 g(20261130);
  test_shapes(gpu, g, quick);
  test_visible(gpu, g, quick);
  test_kinds(gpu, g, quick);
  test_cards(gpu, g, quick);
  test_tags(gpu, g);
  check_all_reached(gpu.properties);
  return finish();
}
