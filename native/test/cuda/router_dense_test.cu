// SPDX-License-Identifier: Apache-2.0
// router_dense on the GPU: logits against binary64 within the header's bound; indices and weights bit for bit from the GPU's own
// logits, and the same without logits, with settled weights and in a graph.
#include <map>
#include <set>
#include <tuple>

#include "common/workspace_layout.hpp"
#include "device/tagged_words_layout.hpp"
#include "ops/router_dense/router_dense_cuda.hpp"
#include "ops/router_dense/router_dense_plan.hpp"
#include "ops/router_dense/router_layout.hpp"
#include "router_case.cuh"

namespace nvfp4j::test {
namespace {

using router::Bias;
using router::Problem;
using router::Shape;
using Kind = router::Data;

constexpr int kBf16 = NVFP4J_DTYPE_BF16;
constexpr int kF32 = NVFP4J_DTYPE_F32;
constexpr int kNvfp4 = NVFP4J_DTYPE_U8;
constexpr std::int64_t kWorkspaceBytes = std::int64_t{32} << 20;

// ---- errors of logits ------------------------------------------------------------------------------------------------

struct Worst {
  double units = 0.0;     // of 2^-24 * sum of |x W|
  double of_bound = 0.0;  // of what the header allows
};
// By types, data and columns.
std::map<std::string, std::map<std::int64_t, Worst>> worst_errors;

void note_errors(const Shape& s, double units) {
  const char* data[] = {"normal", "positive", "wide", "logits", "low", "equal"};
  const std::string key = std::string(s.x_dtype == kF32 ? "x F32 " : "x BF16 ") +
                          (s.nvfp4()           ? "W NVFP4 "
                           : s.w_dtype == kF32 ? "W F32 "
                                               : "W BF16 ") +
                          data[static_cast<int>(s.data)];
  Worst& w = worst_errors[key][s.columns];
  w.units = std::max(w.units, units);
  w.of_bound = std::max(w.of_bound, units / router::error_bound(s.columns));
}

void print_errors() {
  std::printf(
      "largest error of a logit, in units of 2^-24 * sum of |x W| (and of what is allowed):\n");
  for (const auto& [key, by_columns] : worst_errors) {
    std::printf("  %s:", key.c_str());
    for (const auto& [columns, w] : by_columns)
      std::printf("  D %lld: %.2f (%.3f)", static_cast<long long>(columns), w.units, w.of_bound);
    std::printf("\n");
  }
}

// ---- a case ----------------------------------------------------------------------------------------------------------

struct Result {
  std::vector<std::int32_t> indices;
  std::vector<float> weights;
  std::vector<float> logits;
};

void check_logits(const Problem& p, const Result& r, const std::string& name) {
  const Shape& s = p.shape;
  std::vector<double> worst(static_cast<std::size_t>(s.tokens * s.experts));
  parallel(s.tokens * s.experts, [&](std::int64_t from, std::int64_t end) {
    for (std::int64_t i = from; i < end; ++i) {
      const float z = r.logits[static_cast<std::size_t>(i)];
      const router::Exact exact =
          router::exact_logit(p, i / s.experts, static_cast<int>(i % s.experts));
      const bool wrong_nan = std::isnan(z) && bits_of(z) != 0x7FC00000u;
      worst[static_cast<std::size_t>(i)] = wrong_nan ? HUGE_VAL : router::error_units(z, exact);
    }
  });
  const auto at = std::max_element(worst.begin(), worst.end());
  const auto i = static_cast<std::int64_t>(at - worst.begin());
  char text[160];
  std::snprintf(text, sizeof text,
                ": logit of token %lld, expert %lld is %.9g, off by %.3f units (%.3f allowed)",
                static_cast<long long>(i / s.experts), static_cast<long long>(i % s.experts),
                static_cast<double>(r.logits[static_cast<std::size_t>(i)]), *at,
                router::error_bound(s.columns));
  check(*at <= router::error_bound(s.columns), name + text);
  if (std::isfinite(*at)) note_errors(s, *at);
}

void check_choice(const Problem& p, const Result& r, const std::string& name) {
  const Shape& s = p.shape;
  const auto k = static_cast<std::size_t>(s.topk);
  std::vector<std::int32_t> indices(r.indices.size());
  std::vector<float> weights(r.weights.size());
  parallel(s.tokens, [&](std::int64_t from, std::int64_t end) {
    for (std::int64_t t = from; t < end; ++t) {
      const float* z = &r.logits[static_cast<std::size_t>(t * s.experts)];
      std::int32_t* i = &indices[static_cast<std::size_t>(t) * k];
      router::choose(z, p.bias.data(), s.experts, s.topk, i);
      router::weigh(z, i, s.topk, p.scale, &weights[static_cast<std::size_t>(t) * k]);
    }
  });
  for (std::size_t i = 0; i < indices.size(); ++i) {
    if (r.indices[i] == indices[i] && bits_of(r.weights[i]) == bits_of(weights[i])) continue;
    char text[200];
    std::snprintf(text, sizeof text,
                  ": choice %d of token %lld is %d with %.9g, expected %d with %.9g",
                  static_cast<int>(i % k), static_cast<long long>(i / k), r.indices[i],
                  static_cast<double>(r.weights[i]), indices[i], static_cast<double>(weights[i]));
    check(false, name + text);
    return;
  }
  check(true, name);
}

void run_problem(Gpu& gpu, const Problem& p, const Places& places) {
  const Shape& s = p.shape;
  char gaps[80];
  std::snprintf(gaps, sizeof gaps, " gaps %d %d %d misalign %d", static_cast<int>(places.x_gap),
                static_cast<int>(places.w_gap), static_cast<int>(places.out_gap), places.misalign);
  const std::string name = s.name() + gaps;
  const RouterOperands in(p, places);
  Buffer bias(4 * s.experts, 4 * places.misalign);
  bias.put(p.bias.data(), bias.bytes());
  RouterOutput indices(s.tokens, s.topk, places);
  RouterOutput weights(s.tokens, s.topk, places);
  RouterOutput logits(s.tokens, s.experts, places);
  const auto args = [&](bool with_logits, bool settled) {
    return RouterDenseArgs{in.activations(),
                           in.gate(settled),
                           bias.as<float>(),
                           choice_of(indices, weights, p),
                           with_logits ? logits.data() : nullptr,
                           with_logits ? logits.stride() : 0};
  };
  const auto poison = [&] {
    for (RouterOutput* o : {&indices, &weights, &logits}) o->strided.reset();
  };
  const auto take = [&] {
    return Result{indices.get<std::int32_t>(name + " indices"),
                  weights.get<float>(name + " weights"), logits.get<float>(name + " logits")};
  };
  const auto launch = [&](bool with_logits, bool settled) {
    must(static_cast<cudaError_t>(router_dense_cuda(gpu.launch, args(with_logits, settled))),
         "router_dense_cuda");
  };
  check(router_dense_cuda_workspace_bytes(gpu.properties, s.tokens, s.columns) <= kWorkspaceBytes,
        name + ": needs more workspace than this test has");

  launch(true, false);
  gpu.wait();
  const Result r = take();
  check_logits(p, r, name);
  check_choice(p, r, name);
  std::vector<RouterFault> faults = faults_of_gate(p, [](int) { return true; });
  const auto is_bad = [&](long long row, long long column) {
    return row >= 0 && row < s.tokens && column >= 0 && column < s.experts &&
           !std::isfinite(r.logits[static_cast<std::size_t>(row * s.experts + column)]);
  };
  if (!std::all_of(r.logits.begin(), r.logits.end(), [](float z) { return std::isfinite(z); }))
    faults.push_back({NVFP4J_CAUSE_NON_FINITE_RESULT, is_bad});
  check_reports(gpu, NVFP4J_OP_ROUTER_DENSE, faults, name);

  poison();
  launch(false, true);
  gpu.wait();
  check(same_bits(indices.get<std::int32_t>(name), r.indices) &&
            same_bits(weights.get<float>(name), r.weights),
        name + ": without logits the choice is another one");
  check(logits.is_poison(name), name + ": logits that nobody asked for");
  check_reports(gpu, NVFP4J_OP_ROUTER_DENSE, faults, name + " without logits");

  for (const bool with_logits : {true, false}) {
    poison();
    // What is settled is read while the launch before still runs.
    gpu.replay(
        [&] {
          launch(with_logits, false);
          launch(with_logits, true);
        },
        2);
    check(same_bits(indices.get<std::int32_t>(name), r.indices) &&
              same_bits(weights.get<float>(name), r.weights) &&
              (with_logits ? same_bits(logits.get<float>(name), r.logits) : logits.is_poison(name)),
          name + ": other bits in a graph");
    check_reports(gpu, NVFP4J_OP_ROUTER_DENSE, faults, name + " in a graph");
  }
}

void run_case(Gpu& gpu, std::mt19937& g, const Shape& s) {
  run_problem(gpu, router::make_problem(g, s), random_places(g));
}
void run_case(Gpu& gpu, std::mt19937& g, const Shape& s, const Places& places) {
  run_problem(gpu, router::make_problem(g, s), places);
}

int topk_of(std::mt19937& g, int experts) {
  const int wanted = g() % 2 == 0 ? 6 : 1 + static_cast<int>(g() % 16);
  return std::min(wanted, experts);
}

constexpr struct Types {
  int x;
  int w;
} kTypes[] = {{kBf16, kBf16}, {kBf16, kF32}, {kBf16, kNvfp4},
              {kF32, kBf16},  {kF32, kF32},  {kF32, kNvfp4}};

// ---- tests -----------------------------------------------------------------------------------------------------------

void test_shapes(Gpu& gpu, std::mt19937& g, bool quick) {
  const std::vector<std::int64_t> tokens =
      quick ? std::vector<std::int64_t>{1, 9, 65}
            : std::vector<std::int64_t>{1, 2, 5, 8, 9, 16, 33, 64, 65, 128, 200, 1024 + 3};
  const std::vector<int> experts =
      quick ? std::vector<int>{7, 256, 385}
            : std::vector<int>{1, 7, 16, 64, 128, 256, 384, 385, 512, 1000, 1024};
  const std::vector<std::int64_t> columns =
      quick ? std::vector<std::int64_t>{3, 64, 1040}
            : std::vector<std::int64_t>{1, 3, 16, 64, 100, 512, 4096, 7168};
  int type = 0;
  for (const Types& t : kTypes) {
    ++type;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      for (std::size_t j = 0; j < experts.size(); ++j) {
        if ((i + j + static_cast<std::size_t>(type)) % 2 != 0 && !quick) continue;
        std::int64_t d = columns[(i + 3 * j + 2 * static_cast<std::size_t>(type)) % columns.size()];
        if (t.w == kNvfp4) d = (d + 15) / 16 * 16;
        const Kind kinds[] = {Kind::kNormal, Kind::kNormal, Kind::kPositive, Kind::kWide};
        const Bias biases[] = {Bias::kNormal, Bias::kZero, Bias::kLarge, Bias::kInfinite};
        run_case(gpu, g,
                 {tokens[i], experts[j], d, topk_of(g, experts[j]), t.x, t.w, kinds[g() % 4],
                  biases[g() % 4]});
      }
    }
  }
}

// Each gate of the models, of few and of many tokens, and every small number of tokens.
void test_models(Gpu& gpu, std::mt19937& g, bool quick) {
  for (const Types& t : kTypes) {
    for (const Kind kind : {Kind::kNormal, Kind::kPositive}) {
      if (quick && kind == Kind::kPositive) continue;
      for (const std::int64_t tokens : {1, 64}) {
        run_case(gpu, g, {tokens, 256, quick ? 512 : 4096, 6, t.x, t.w, kind}, {});
        if (!quick) run_case(gpu, g, {tokens, 384, 7168, 6, t.x, t.w, kind}, {});
      }
    }
    if (quick) continue;
    for (std::int64_t tokens = 1; tokens <= 34; ++tokens)
      run_case(gpu, g, {tokens, 384, 2048, 6, t.x, t.w}, {});
    run_case(gpu, g, {8192, 384, 7168, 6, t.x, t.w}, {});
    run_case(gpu, g, {8192 + 7, 256, 4096, 6, t.x, t.w});
    run_case(gpu, g, {20011, 64, 112, 6, t.x, t.w});
  }
}

// Each tile of router_wgmma, by tokens at the ends of what the plan gives it to: more stages than its ring has and fewer than one, rows of codes and scales at any multiple they may begin at, experts and tokens that fill no tile, and bad scales.
void test_wgmma_tiles(Gpu& gpu, std::mt19937& g, bool quick) {
  if (!runs_sm90a(gpu.properties)) return;
  const std::int64_t multiprocessors = gpu.properties.sm_count;
  const std::int64_t clusters = multiprocessors * 7 / 8 / 4;
  const std::int64_t tokens[] = {65, 64 * clusters - 5, 64 * clusters + 3, 128 * clusters + 5,
                                 64 * (multiprocessors / 2) + 9};
  for (const int w : {kBf16, kNvfp4}) {
    std::set<std::tuple<int, int, int>> tiles;
    int round = 0;
    for (const std::int64_t count : tokens) {
      for (const int experts : {1, 61, 255, 256, 257, 300, 384, 385, 509, 512}) {
        for (const std::int64_t columns : {16, 32, 48, 80, 144, 176, 464, 1040, 1056}) {
          if (++round % (quick ? 29 : 4) != 0) continue;
          Problem p =
              router::make_problem(g, {count, experts, columns, topk_of(g, experts), kBf16, w});
          if (w == kNvfp4 && g() % 2 == 0) {
            for (int i = 0; i < 3; ++i)
              p.scales[g() % p.scales.size()] = static_cast<std::uint8_t>(0x7F + g() % 129);
            p.decode();
          }
          if (w == kNvfp4 && g() % 16 == 0) p.global_scale = -p.global_scale;
          run_problem(gpu, p, {8 * static_cast<int>(g() % 2), 0, static_cast<int>(g() % 4), 0});
          RouterDenseArgs args{};
          args.x = {nullptr, columns, count, columns, kBf16};
          args.gate = {nullptr, columns, nullptr, nullptr, w, experts, false};
          const std::uint8_t scale = 0;  // not read
          if (w == kNvfp4) args.gate.scales = &scale;
          const RouterPlan plan = plan_router_dense(gpu.properties, args);
          check(plan.kernel == RouterKernel::kWgmma, p.shape.name() + ": not router_wgmma's");
          tiles.insert({plan.groups, plan.tokens, plan.experts});
        }
      }
    }
    check(quick || tiles.size() == 10, "tiles of router_wgmma that were not tested");
  }
}

// As many as there are, one, and all.
void test_choices(Gpu& gpu, std::mt19937& g, bool quick) {
  for (const Types& t : kTypes) {
    for (const std::int64_t tokens : {3, 130}) {
      if (quick && tokens != 3) continue;
      for (int k = 1; k <= 16; k += quick ? 5 : 1) {
        run_case(gpu, g, {tokens, k, 32, k, t.x, t.w});
        run_case(gpu, g, {tokens, 384, 48, k, t.x, t.w});
      }
      for (const Bias bias : {Bias::kZero, Bias::kNormal, Bias::kLarge, Bias::kInfinite}) {
        for (const int experts : {16, 256, 1024}) {
          run_case(gpu, g, {tokens, experts, 64, 8, t.x, t.w, Kind::kNormal, bias});
          run_case(gpu, g, {tokens, experts, 64, 16, t.x, t.w, Kind::kEqual, bias});
          if (t.w == kNvfp4) continue;
          run_case(gpu, g, {tokens, experts, 17, 6, t.x, t.w, Kind::kLogits, bias});
          run_case(gpu, g, {tokens, experts, 24, 6, t.x, t.w, Kind::kLow, bias});
        }
      }
    }
  }
}

// Magnitudes near the ends of binary32, whose products are around 1. (Some become subnormal, and lose bits.)
void test_extremes(Gpu& gpu, std::mt19937& g) {
  for (const Types& t : kTypes) {
    if (t.w == kNvfp4) continue;
    for (const int exponent : {100, -100, 120, -120}) {
      for (const std::int64_t tokens : {4, 70}) {
        Problem p = router::make_problem(g, {tokens, 48, 256, 6, t.x, t.w});
        for (float& x : p.x) x = router::round_to(std::ldexp(x, exponent), t.x);
        for (float& w : p.w) w = router::round_to(std::ldexp(w, -exponent), t.w);
        run_problem(gpu, p, random_places(g));
      }
    }
  }
}

// Biases as far down as there are, and below them none: the bound of the k-th is not finite, though it is itself.
void test_lowest_bias(Gpu& gpu, std::mt19937& g) {
  for (const Types& t : kTypes) {
    for (const std::int64_t tokens : {4, 70}) {
      Problem p = router::make_problem(g, {tokens, 250, 64, 6, t.x, t.w});
      for (std::size_t e = 0; e < p.bias.size(); ++e)
        p.bias[e] = e % 10 == 3 ? -std::numeric_limits<float>::max()
                                : std::numeric_limits<float>::quiet_NaN();
      run_problem(gpu, p, random_places(g));
    }
  }
}

// Scores of 2^23 and more, which a bias takes back: what is left are small integers, less than an approximate root is off by. It may be right where significands are short.
void test_cancelling_bias(Gpu& gpu, std::mt19937& g, bool quick) {
  constexpr std::size_t kColumns = 64;
  for (const Types& t : kTypes) {
    if (t.w == kNvfp4) continue;
    for (int round = 0; round < (quick ? 2 : 8); ++round) {
      const float x = round % 2 == 0 ? 0x1p23f : 0x1p22f;
      for (const std::int64_t tokens : {4, 70}) {
        Problem p = router::make_problem(g, {tokens, 64, kColumns, 6, t.x, t.w});
        for (std::size_t i = 0; i < p.x.size(); ++i) p.x[i] = i % kColumns == 0 ? x : 0.0f;
        for (std::size_t e = 0; e < p.bias.size(); ++e) {
          float& w = p.w[kColumns * e];
          w = router::round_to(0x1p24f + 2.0f * static_cast<float>(g() >> 9), t.w);
          p.bias[e] = static_cast<float>(e * 7 % 5) - std::sqrt(x * w);
        }
        run_problem(gpu, p, random_places(g));
      }
    }
  }
}

// Tags go round: the launches before and behind 2^32 of them, where no launch has written the words yet.
void test_tags(Gpu& gpu, std::mt19937& g) {
  char* tagged = static_cast<char*>(gpu.launch.workspace) + kWorkspaceTaggedAt;
  for (const std::uint64_t epoch : {0xFFFFFFFDull, 0xFFFFFFFEull, 0xFFFFFFFFull}) {
    for (const std::int64_t tokens : {1, 40}) {
      MUST(cudaMemset(tagged, 0, kWorkspaceTaggedBytes));
      MUST(cudaMemcpy(tagged + TaggedWords::kLastTag, &epoch, 8, cudaMemcpyHostToDevice));
      MUST(cudaDeviceSynchronize());
      run_case(gpu, g, {tokens, 384, 512, 6, kBf16, kBf16});
    }
  }
}

void test_faults(Gpu& gpu, std::mt19937& g, bool quick) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = float_of(0xFFC12345u);
  const auto below = [&](std::size_t end) { return static_cast<std::size_t>(g() % end); };
  for (const Types& t : kTypes) {
    for (const std::int64_t tokens : {1, 20, 300}) {
      if (quick && tokens == 300) continue;
      const Shape s = {tokens, 100, 176, 6, t.x, t.w, Kind::kNormal, Bias::kInfinite};
      for (const float value : {infinity, -infinity, nan}) {
        Problem p = router::make_problem(g, s);
        p.x[below(p.x.size())] = value;
        run_problem(gpu, p, random_places(g));
        if (t.w == kNvfp4) continue;
        p = router::make_problem(g, s);
        p.w[below(p.w.size())] = value;
        run_problem(gpu, p, random_places(g));
      }
      // Nothing but NaN is left to choose from.
      Problem p = router::make_problem(g, s);
      for (float& b : p.bias) b = nan;
      run_problem(gpu, p, random_places(g));
      p.bias[5] = -infinity;
      p.bias[99] = -infinity;
      run_problem(gpu, p, random_places(g));
      if (t.w != kNvfp4) continue;
      for (const int byte : {0x7F, 0x80, 0xB8, 0xFF}) {
        p = router::make_problem(g, s);
        p.scales[below(p.scales.size())] = static_cast<std::uint8_t>(byte);
        p.scales[below(p.scales.size())] = static_cast<std::uint8_t>(byte);
        p.decode();
        run_problem(gpu, p, random_places(g));
      }
      for (const float scale : {0.0f, -1.0f, nan, infinity}) {
        p = router::make_problem(g, s);
        p.global_scale = scale;
        run_problem(gpu, p, random_places(g));
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
  std::printf("%s\n", nvfp4j::router_dense_cuda_path(gpu.properties));
  must(static_cast<cudaError_t>(nvfp4j::router_dense_cuda_warm_up(gpu.properties)),
       "router_dense_cuda_warm_up");
  std::mt19937 g(20261130);
  test_shapes(gpu, g, quick);
  test_models(gpu, g, quick);
  test_wgmma_tiles(gpu, g, quick);
  test_choices(gpu, g, quick);
  test_extremes(gpu, g);
  test_lowest_bias(gpu, g);
  test_cancelling_bias(gpu, g, quick);
  test_tags(gpu, g);
  test_faults(gpu, g, quick);
  print_errors();
  return finish();
}
