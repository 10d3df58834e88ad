// SPDX-License-Identifier: Apache-2.0
// router_hash on the GPU: indices exactly, weights against binary64, hostile ids and entries, and the same bits again, with settled weights and in a graph.
#include "ops/router_hash/router_hash_cuda.hpp"
#include "ops/router_hash/router_hash_plan.hpp"
#include "router_case.cuh"

namespace nvfp4j::test {
namespace {

using router::Problem;
using router::Shape;
using Kind = router::Data;

constexpr int kBf16 = NVFP4J_DTYPE_BF16;
constexpr int kF32 = NVFP4J_DTYPE_F32;
constexpr int kNvfp4 = NVFP4J_DTYPE_U8;
constexpr std::int64_t kWorkspaceBytes = std::int64_t{32} << 20;

// Which kernels have run: rows of a thread block a token, and tiles of 3, 4 and 8 pairs of experts, in one round and in more.
bool seen_rows = false;
bool seen_tiles[9][2] = {};
bool seen_parts_of_two_slices[9][2] = {};
// By tiles, planned for so few multiprocessors that few tokens go there too.
constexpr int kFewMultiprocessors = 5;
int seen_few_tiles = 0;

void see(const RouterHashPlan& plan, std::int64_t tokens) {
  if (plan.kernel == RouterHashKernel::kRows) {
    seen_rows = true;
  } else {
    seen_tiles[plan.pairs][plan.round_tokens < tokens ? 1 : 0] = true;
    if (plan.fill > 0 && plan.slices > 1)
      seen_parts_of_two_slices[plan.pairs][plan.round_tokens < tokens ? 1 : 0] = true;
  }
}

// The largest deviation of a weight, of what the bound of its logits allows.
double worst_weight = 0.0;

struct Lookup {
  std::vector<std::int64_t> table;
  std::vector<std::int64_t> ids;
  bool table_is_64_bit = false;
  bool ids_are_64_bit = false;
};

std::vector<std::uint8_t> integers(const std::vector<std::int64_t>& values, bool is_64_bit) {
  std::vector<std::uint8_t> bytes(values.size() * (is_64_bit ? 8 : 4));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto narrow = static_cast<std::int32_t>(values[i]);
    std::memcpy(&bytes[i * (is_64_bit ? 8 : 4)],
                is_64_bit ? static_cast<const void*>(&values[i]) : &narrow, is_64_bit ? 8 : 4);
  }
  return bytes;
}

Lookup random_lookup(std::mt19937& g, const Shape& s, std::int64_t vocabulary) {
  Lookup lookup;
  lookup.table_is_64_bit = g() % 2 == 0;
  lookup.ids_are_64_bit = g() % 2 == 0;
  for (std::int64_t i = 0; i < vocabulary * s.topk; ++i)
    lookup.table.push_back(static_cast<std::int64_t>(g() % static_cast<unsigned>(s.experts)));
  for (std::int64_t t = 0; t < s.tokens; ++t)
    lookup.ids.push_back(static_cast<std::int64_t>(g() % static_cast<unsigned>(vocabulary)));
  return lookup;
}

// What the table says, -1 where that is nothing; and where ids or entries are out of range.
struct Expected {
  std::vector<std::int32_t> indices;
  std::vector<std::pair<long long, long long>> out_of_range;
};

Expected expect(const Problem& p, const Lookup& lookup) {
  const auto k = static_cast<std::int64_t>(p.shape.topk);
  const auto vocabulary = static_cast<std::int64_t>(lookup.table.size()) / k;
  Expected e;
  for (std::int64_t t = 0; t < p.shape.tokens; ++t) {
    const std::int64_t id = lookup.ids[static_cast<std::size_t>(t)];
    const bool known = id >= 0 && id < vocabulary;
    if (!known) e.out_of_range.push_back({t, -1});
    for (std::int64_t j = 0; j < k; ++j) {
      const std::int64_t entry = known ? lookup.table[static_cast<std::size_t>(id * k + j)] : -1;
      const bool good = entry >= 0 && entry < p.shape.experts;
      if (known && !good) e.out_of_range.push_back({t, j});
      e.indices.push_back(good ? static_cast<std::int32_t>(entry) : -1);
    }
  }
  return e;
}

// A token's weights against binary64; the logits may be off by the header's bound, which moves a score by half of that, relative.
// Of logits below -60 and of those that are not finite: what is NaN, and what is not.
bool judge(const Problem& p, std::int64_t token, const std::int32_t* indices, const float* weights,
           double* worst) {
  const int k = p.shape.topk;
  double scores[NVFP4J_MAX_TOPK];
  double sum = 1e-20;
  double moved = 0.0;
  double lowest = 0.0;
  bool finite = true;
  for (int j = 0; j < k; ++j) {
    if (indices[j] < 0) continue;
    const router::Exact z = router::exact_logit(p, token, indices[j]);
    finite = finite && std::isfinite(z.z);
    scores[j] = router::score(z.z);
    sum += scores[j];
    moved = std::max(moved, router::error_bound(p.shape.columns) * 0x1p-24 * z.magnitude);
    lowest = std::min(lowest, z.z);
  }
  bool right = true;
  for (int j = 0; j < k; ++j) {
    if (indices[j] < 0) {
      right = right && bits_of(weights[j]) == 0;
      continue;
    }
    const double exact = scores[j] / sum * static_cast<double>(p.scale);
    if (std::isnan(exact) || std::isnan(weights[j])) {
      right = right && std::isnan(exact) && bits_of(weights[j]) == 0x7FC00000u;
      continue;
    }
    if (!finite || lowest < -60.0) {
      right = right && weights[j] >= 0.0f && weights[j] <= p.scale * 1.001f;
      continue;
    }
    const double relative = std::fabs(static_cast<double>(weights[j]) - exact) / exact;
    *worst = std::max(*worst, relative / (2e-6 + moved));
    right = right && relative <= 2e-6 + moved;
  }
  return right;
}

void run_problem(Gpu& gpu, const Problem& p, const Lookup& lookup, const Places& places) {
  const Shape& s = p.shape;
  char more[120];
  std::snprintf(more, sizeof more, " table %d ids %d gaps %d %d %d misalign %d",
                lookup.table_is_64_bit ? 64 : 32, lookup.ids_are_64_bit ? 64 : 32,
                static_cast<int>(places.x_gap), static_cast<int>(places.w_gap),
                static_cast<int>(places.out_gap), places.misalign);
  const std::string name = s.name() + more;
  const RouterOperands in(p, places);
  const std::vector<std::uint8_t> table_bytes = integers(lookup.table, lookup.table_is_64_bit);
  const std::vector<std::uint8_t> id_bytes = integers(lookup.ids, lookup.ids_are_64_bit);
  // Right behind an address that is aligned to more than an element.
  Buffer table(static_cast<std::int64_t>(table_bytes.size()),
               places.misalign != 0 ? (lookup.table_is_64_bit ? 8 : 4) : 0);
  Buffer ids(static_cast<std::int64_t>(id_bytes.size()),
             places.misalign != 0 ? (lookup.ids_are_64_bit ? 8 : 4) : 0);
  table.put(table_bytes.data(), table.bytes());
  ids.put(id_bytes.data(), ids.bytes());
  RouterOutput indices(s.tokens, s.topk, places);
  RouterOutput weights(s.tokens, s.topk, places);
  const auto args = [&](bool settled) {
    return RouterHashArgs{in.activations(),
                          in.gate(settled),
                          table.data(),
                          static_cast<std::int64_t>(lookup.table.size()) / s.topk,
                          ids.data(),
                          lookup.table_is_64_bit,
                          lookup.ids_are_64_bit,
                          choice_of(indices, weights, p)};
  };
  const auto launch = [&](bool settled) {
    must(static_cast<cudaError_t>(router_hash_cuda(gpu.launch, args(settled))), "router_hash_cuda");
  };
  const RouterHashPlan plan = plan_router_hash(gpu.properties, args(false));
  see(plan, s.tokens);
  if (plan.kernel == RouterHashKernel::kTiles && gpu.properties.sm_count <= kFewMultiprocessors)
    ++seen_few_tiles;
  check(router_hash_cuda_workspace_bytes(gpu.properties, s.tokens, s.columns) <= kWorkspaceBytes,
        name + ": needs more workspace than this test has");

  const Expected expected = expect(p, lookup);
  launch(false);
  gpu.wait();
  const std::vector<std::int32_t> i = indices.get<std::int32_t>(name + " indices");
  const std::vector<float> w = weights.get<float>(name + " weights");
  check(same_bits(i, expected.indices), name + ": wrong indices");
  std::vector<std::uint8_t> right(static_cast<std::size_t>(s.tokens));
  std::vector<double> worst(static_cast<std::size_t>(s.tokens));
  parallel(s.tokens, [&](std::int64_t from, std::int64_t end) {
    for (std::int64_t t = from; t < end; ++t) {
      const auto at = static_cast<std::size_t>(t * s.topk);
      right[static_cast<std::size_t>(t)] =
          judge(p, t, &expected.indices[at], &w[at], &worst[static_cast<std::size_t>(t)]);
    }
  });
  const auto wrong = std::find(right.begin(), right.end(), 0);
  check(wrong == right.end(),
        name + ": wrong weights of token " + std::to_string(wrong - right.begin()));
  worst_weight = std::max(worst_weight, *std::max_element(worst.begin(), worst.end()));

  // What is reported: of the experts that are read.
  std::vector<bool> is_read(static_cast<std::size_t>(s.experts));
  for (const std::int32_t e : expected.indices) {
    if (e >= 0) is_read[static_cast<std::size_t>(e)] = true;
  }
  std::vector<RouterFault> faults =
      faults_of_gate(p, [&](int e) { return is_read[static_cast<std::size_t>(e)]; });
  if (!expected.out_of_range.empty()) {
    faults.push_back({NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, [&](long long row, long long column) {
                        return std::find(expected.out_of_range.begin(), expected.out_of_range.end(),
                                         std::pair{row, column}) != expected.out_of_range.end();
                      }});
  }
  const auto is_bad = [&](long long token, long long expert) {
    return !std::isfinite(
        static_cast<float>(router::exact_logit(p, token, static_cast<int>(expert)).z));
  };
  bool any_bad = false;
  for (std::size_t n = 0; n < expected.indices.size() && !any_bad; ++n) {
    const std::int32_t e = expected.indices[n];
    // (Looking at every logit again takes long where there is nothing to see.)
    any_bad = e >= 0 && std::isnan(w[n]) ? true
                                         : e >= 0 && s.tokens * s.columns <= 20'000'000 &&
                                               is_bad(static_cast<long long>(n) / s.topk, e);
  }
  if (any_bad) {
    faults.push_back({NVFP4J_CAUSE_NON_FINITE_RESULT, [&](long long row, long long column) {
                        return row >= 0 && row < s.tokens && column >= 0 && column < s.experts &&
                               is_bad(row, column);
                      }});
  }
  check_reports(gpu, NVFP4J_OP_ROUTER_HASH, faults, name);

  for (const bool graph : {false, true}) {
    indices.strided.reset();
    weights.strided.reset();
    if (graph) {
      // What is settled is read while the launch before still runs.
      gpu.replay(
          [&] {
            launch(false);
            launch(true);
          },
          2);
    } else {
      launch(true);
      gpu.wait();
    }
    check(same_bits(indices.get<std::int32_t>(name), i) && same_bits(weights.get<float>(name), w),
          name + (graph ? ": other bits in a graph" : ": other bits in a second run"));
    check_reports(gpu, NVFP4J_OP_ROUTER_HASH, faults, name + " again");
  }
}

void run_case(Gpu& gpu, std::mt19937& g, const Shape& s, std::int64_t vocabulary) {
  const Problem p = router::make_problem(g, s);
  const Lookup lookup = random_lookup(g, s, vocabulary);
  run_problem(gpu, p, lookup, random_places(g));
}

constexpr struct Types {
  int x;
  int w;
} kTypes[] = {{kBf16, kBf16}, {kBf16, kF32}, {kBf16, kNvfp4},
              {kF32, kBf16},  {kF32, kF32},  {kF32, kNvfp4}};

void test_shapes(Gpu& gpu, std::mt19937& g, bool quick) {
  const std::vector<std::int64_t> tokens =
      quick ? std::vector<std::int64_t>{1, 9}
            : std::vector<std::int64_t>{1, 2, 5, 8, 9, 16, 33, 64, 65, 128, 200, 1024 + 3};
  const std::vector<std::int64_t> columns =
      quick ? std::vector<std::int64_t>{3, 64, 1040}
            : std::vector<std::int64_t>{1, 3, 16, 64, 100, 512, 4096, 7168};
  const int experts[] = {1, 7, 64, 256, 384, 1000, 1024};
  std::size_t round = 0;
  for (const Types& t : kTypes) {
    for (const std::int64_t count : tokens) {
      for (std::int64_t d : columns) {
        if (t.w == kNvfp4) d = (d + 15) / 16 * 16;
        const int e = experts[++round % 7];
        const int k = g() % 2 == 0 ? 6 : 1 + static_cast<int>(g() % 16);  // more than E, too
        const Kind kinds[] = {Kind::kNormal, Kind::kPositive, Kind::kWide};
        run_case(gpu, g, {count, e, d, k, t.x, t.w, kinds[g() % 3]}, 1 + count * 3);
      }
    }
    for (int k = 1; k <= 16; k += quick ? 5 : 1) run_case(gpu, g, {5, 384, 208, k, t.x, t.w}, 50);
    if (t.w != kNvfp4) {
      run_case(gpu, g, {40, 384, 17, 6, t.x, t.w, Kind::kLogits}, 50);
      run_case(gpu, g, {40, 384, 24, 6, t.x, t.w, Kind::kLow}, 50);
    }
    // Many tokens, by tiles; of more than the workspace has room for the sums of, in rounds.
    for (const int k : {1, 6, 7, 8, 9, 16}) run_case(gpu, g, {500, 100, 528, k, t.x, t.w}, 1000);
    if (t.x == kBf16 && t.w != kF32) {
      for (const Shape& many :
           {Shape{270000, 20, 16, 6, t.x, t.w}, Shape{270000, 20, 16, 8, t.x, t.w},
            Shape{270000, 20, 16, 12, t.x, t.w}, Shape{9000, 20, 4112, 12, t.x, t.w},
            Shape{20011, 20, 4112, 6, t.x, t.w}, Shape{20011, 20, 4112, 8, t.x, t.w}}) {
        // (racecheck takes seconds for each launch of so many: of a kernel, the rounds and the parts of two slices once.)
        if (quick && (many.columns == 16 || (t.w == kNvfp4 && many.topk > 6))) continue;
        run_problem(gpu, router::make_problem(g, many), random_lookup(g, many, 1000), Places{});
      }
    }
    if (quick) continue;
    run_case(gpu, g, {8192, 384, 7168, 6, t.x, t.w}, 129280);
    run_case(gpu, g, {8192 + 7, 256, 4096, 6, t.x, t.w}, 129280);
    run_case(gpu, g, {20011, 64, 112, 6, t.x, t.w}, 129280);
  }
}

// Ids and entries from anywhere, among good ones: nothing beside the tensors is touched for any of them.
void test_hostile(Gpu& gpu, std::mt19937& g, bool quick) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
  for (const Types& t : kTypes) {
    for (const std::int64_t tokens : {1, 6, 70, 170, 500}) {
      if (quick && tokens == 500) continue;
      for (int wide = 0; wide < 4; ++wide) {
        const Shape s = {tokens, 24, 80, 1 + static_cast<int>(g() % 16), t.x, t.w};
        const Problem p = router::make_problem(g, s);
        const std::int64_t vocabulary = 40;
        Lookup lookup = random_lookup(g, s, vocabulary);
        lookup.ids_are_64_bit = (wide & 1) != 0;
        lookup.table_is_64_bit = (wide & 2) != 0;
        const auto hostile = [&](bool is_64_bit, std::int64_t end) {
          const std::int64_t narrow[] = {-1, end, INT32_MIN, INT32_MAX, end + 1, -end};
          // The lower halves of these are good.
          const std::int64_t all[] = {kMost,
                                      kLeast,
                                      kLeast + 1,
                                      std::int64_t{1} << 32,
                                      -(std::int64_t{1} << 32),
                                      (std::int64_t{1} << 62) + 1};
          return is_64_bit && g() % 2 == 0 ? all[g() % 6] : narrow[g() % 6];
        };
        for (std::int64_t& id : lookup.ids) {
          if (g() % 5 == 0 || tokens == 1) id = hostile(lookup.ids_are_64_bit, vocabulary);
        }
        for (std::int64_t& e : lookup.table) {
          if (g() % 7 == 0) e = hostile(lookup.table_is_64_bit, s.experts);
        }
        run_problem(gpu, p, lookup, random_places(g));
        // A token whose id is good has no good entry.
        lookup.ids[0] = 3;
        for (int j = 0; j < s.topk; ++j)
          lookup.table[static_cast<std::size_t>(3 * s.topk + j)] =
              hostile(lookup.table_is_64_bit, s.experts);
        run_problem(gpu, p, lookup, random_places(g));
      }
    }
  }
}

void test_faults(Gpu& gpu, std::mt19937& g, bool quick) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = float_of(0xFFC12345u);
  const auto below = [&](std::size_t end) { return static_cast<std::size_t>(g() % end); };
  for (const Types& t : kTypes) {
    for (const std::int64_t tokens : {1, 20, 420, 4800}) {
      if (quick && tokens >= 420) continue;
      // Of the most, thread blocks of tiles have parts of two slices.
      const bool most = tokens == 4800;
      if (most && (t.x != kBf16 || t.w == kF32)) continue;
      const Shape s = {tokens, 100, most ? 4112 : 176, 6, t.x, t.w};
      const Lookup lookup = random_lookup(g, s, 77);
      for (const float value : {infinity, -infinity, nan}) {
        Problem p = router::make_problem(g, s);
        p.x[below(p.x.size())] = value;
        run_problem(gpu, p, lookup, random_places(g));
        if (t.w == kNvfp4) continue;
        p = router::make_problem(g, s);
        for (int i = 0; i < 20; ++i) p.w[below(p.w.size())] = value;
        run_problem(gpu, p, lookup, random_places(g));
      }
      if (t.w != kNvfp4) continue;
      for (const int byte : {0x7F, 0x80, 0xB8, 0xFF}) {
        Problem p = router::make_problem(g, s);
        for (int i = 0; i < 20; ++i)
          p.scales[below(p.scales.size())] = static_cast<std::uint8_t>(byte);
        p.decode();
        run_problem(gpu, p, lookup, random_places(g));
      }
      for (const float scale : {0.0f, -1.0f, nan, infinity}) {
        Problem p = router::make_problem(g, s);
        p.global_scale = scale;
        run_problem(gpu, p, lookup, random_places(g));
      }
    }
  }
}

}  // namespace
}  // namespace nvfp4j::test

int main(int argc, char** argv) {
  using namespace nvfp4j::test;
  const bool quick = quick_option(argc, argv);
  Gpu gpu(kWorkspaceBytes);
  std::printf("%s\n", nvfp4j::router_hash_cuda_path(gpu.properties));
  must(static_cast<cudaError_t>(nvfp4j::router_hash_cuda_warm_up(gpu.properties)),
       "router_hash_cuda_warm_up");
  std::mt19937 g(20261130);
  test_shapes(gpu, g, quick);
  test_hostile(gpu, g, quick);
  test_faults(gpu, g, quick);
  // Small enough for a sanitizer.
  const int multiprocessors = gpu.properties.sm_count;
  gpu.properties.sm_count = std::min(multiprocessors, kFewMultiprocessors);
  test_hostile(gpu, g, true);
  test_faults(gpu, g, true);
  gpu.properties.sm_count = multiprocessors;
  check(seen_few_tiles >= 5 || gpu.properties.cooperative_launch == 0,
        "router_hash_tiles has not run with hostile ids");
  check(seen_rows, "router_hash_rows has not run");
  // (Cards with many multiprocessors, or with shared memory for few experts, take rows for longer.)
  if (gpu.properties.sm_count <= 160 && gpu.properties.cooperative_launch != 0) {
    for (const int pairs : {3, 4, 8})
      check(seen_parts_of_two_slices[pairs][1],
            "no thread block had parts of two slices in rounds, with " + std::to_string(pairs) +
                " pairs");
    for (const int pairs : {3, 4, 8}) {
      for (const int rounds : {0, 1})
        check(seen_tiles[pairs][rounds], "router_hash_tiles has not run with " +
                                             std::to_string(pairs) + " pairs, rounds " +
                                             std::to_string(rounds));
    }
  }
  std::printf("largest error of a weight: %.3f of what is allowed\n", worst_weight);
  return finish();
}
