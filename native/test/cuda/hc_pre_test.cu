// SPDX-License-Identifier: Apache-2.0
// hc_pre, hc_head and hc_post_pre on the GPU: every kernel against sums in binary64 within the header's bounds, and bit for bit where a
// result is defined by others: the new residual, codes of rows, a second run.
#include "common/workspace_layout.hpp"
#include "hc_pre_judge.cuh"
#include "ops/hc_pre/hc_pre_cuda.hpp"
#include "ops/quantize/quantize_cuda.hpp"

namespace nvfp4j::test {
namespace {

constexpr int kBf16 = NVFP4J_DTYPE_BF16;
constexpr int kF32 = NVFP4J_DTYPE_F32;
constexpr int kOps[] = {NVFP4J_OP_HC_PRE, NVFP4J_OP_HC_HEAD, NVFP4J_OP_HC_POST_PRE};

// ---- cases -----------------------------------------------------------------------------------------------------------

// Another user of the workspace: a tensor's maximum, over a grid.
class Disturbance {
 public:
  explicit Disturbance(std::mt19937& g)
      : x_(kRows * kColumns * 2),
        codes_(kRows * kColumns / 2),
        scales_(kRows * kColumns / 16),
        global_scale_(4) {
    const std::vector<std::uint8_t> x = random_tensor(g, kBf16, kRows * kColumns, kGauss);
    x_.put(x.data(), x_.bytes());
  }
  void launch(Gpu& gpu) {
    const QuantizeArgs args = {
        x_.data(),
        kBf16,
        kRows,
        kColumns,
        kRows,
        kColumns,
        nullptr,
        {NVFP4J_GLOBAL_SCALE_DYNAMIC, NVFP4J_RECIPE_EXACT, NVFP4J_ZERO_SCALE_MIN},
        {codes_.data(), scales_.data(), global_scale_.as<float>(), NVFP4J_SCALE_LAYOUT_LINEAR,
         NVFP4J_GLOBAL_SCALE_TENSOR}};
    must(static_cast<cudaError_t>(quantize_cuda(gpu.launch, args)), "quantize_cuda");
  }

 private:
  static constexpr std::int64_t kRows = 128;
  static constexpr std::int64_t kColumns = 1024;
  Buffer x_;
  Buffer codes_;
  Buffer scales_;
  Buffer global_scale_;
};

// Three launches, the last from a graph behind another op: the same bits each time.
HcPreResult repeated(Gpu& gpu, Disturbance& other, HcPreProblem& p, const Tail& tail,
                     const std::string& name) {
  HcPreResult first = p.launch(gpu, tail);
  check(p.launch(gpu, tail) == first, name + ": another run has other bits");
  other.launch(gpu);
  // The last, so that its codes are still where they were written.
  check(p.launch(gpu, tail, true) == first, name + ": a replay behind another op has other bits");
  return first;
}

void run_tails(Gpu& gpu, Disturbance& other, HcPreProblem& p, const HcPreResult& plain) {
  const HcPreCase& c = p.c;
  const bool quantize = c.columns % 16 == 0;
  // The rows that are normalised are seen where the same kernel quantises them without a norm: another kernel may round another way.
  // (Without quantisation its sums are the same only as long as one tile of tokens has the whole grid.)
  const bool known = quantize || c.tokens <= 16;
  Tail bare;
  bare.quantize = quantize;
  HcPreResult source = plain;
  if (quantize) {
    source = repeated(gpu, other, p, bare, c.name() + bare.name());
    judge(p, source, c.name() + bare.name());
  }
  constexpr int kLinear = NVFP4J_SCALE_LAYOUT_LINEAR;
  constexpr int kSwizzled = NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4;
  constexpr int kExact = NVFP4J_RECIPE_EXACT;
  constexpr int kTeExact = NVFP4J_RECIPE_TE_EXACT;
  const Tail tails[] = {{kF32, false},
                        {kBf16, false},
                        {-1, true, kExact, kLinear},
                        {-1, true, kTeExact, kSwizzled},
                        {kF32, true, kExact, kSwizzled},
                        {kBf16, true, kTeExact, kLinear}};
  for (Tail tail : tails) {
    if (tail.quantize && !quantize) continue;
    const std::string name = c.name() + tail.name();
    const HcPreResult r = repeated(gpu, other, p, tail, name);
    judge_bytes(p, r, tail, name);
    if (!known) continue;
    check(r.out == source.out && r.post == source.post && r.comb == source.comb,
          name + ": a norm or its codes changed the other results");
    if (tail.norm >= 0) {
      judge_norm(p, source.collapsed, r, tail, name);
    } else {
      check(r.collapsed == source.collapsed, name + ": codes changed the rows");
    }
    const bool input = tail.quantize && judge_codes(p, r, tail, name);
    judge_status(c, r.status, input, name);
    if (!tail.quantize) continue;
    tail.collapsed = false;
    const HcPreResult codes_alone = repeated(gpu, other, p, tail, c.name() + tail.name());
    judge_bytes(p, codes_alone, tail, c.name() + tail.name());
    HcPreResult expected = r;
    expected.collapsed = codes_alone.collapsed;  // poison
    check(codes_alone == expected, c.name() + tail.name() + ": other results than with the rows");
    judge_status(c, codes_alone.status, input, c.name() + tail.name());
  }
}

void run_case(Gpu& gpu, Disturbance& other, std::mt19937& g, const HcPreCase& c,
              bool tails = false) {
  HcPreProblem p(g, c);
  const HcPreResult plain = repeated(gpu, other, p, {}, c.name());
  judge_bytes(p, plain, {}, c.name());
  judge(p, plain, c.name());
  judge_status(c, plain.status, false, c.name());
  if (tails && c.post()) run_tails(gpu, other, p, plain);
}

// What the kernel for n = 4 and BF16 takes, and now and then something else.
HcPreCase varied(std::mt19937& g, HcPreCase c) {
  const std::int64_t gaps[] = {0, 0, 8, 16};
  const std::int64_t odd_gaps[] = {0, 1, 3, 8};
  const int iterations[] = {20, 20, 1, 2};
  const bool odd = g() % 5 == 0;
  c.gap = (odd ? odd_gaps : gaps)[g() % 4];
  c.weights_gap = odd ? static_cast<std::int64_t>(g() % 6) : static_cast<std::int64_t>(g() % 3) * 2;
  c.misalign = odd && g() % 2 == 0 ? 1 : 0;
  c.in_place = c.post() && g() % 3 == 0;
  c.iterations = iterations[g() % 4];
  return c;
}

// Slices, tiles and groups of all sizes.
void test_four_streams(Gpu& gpu, Disturbance& other, std::mt19937& g) {
  for (const int op : kOps) {
    for (const std::int64_t columns : {8, 24, 64, 512, 1000, 4096, 7168, 7176, 16384}) {
      for (const std::int64_t tokens : {1, 2, 15, 16, 17, 64, 65, 130, 300})
        run_case(gpu, other, g, varied(g, {op, kBf16, tokens, 4, columns}));
    }
    for (const std::int64_t columns : {80, 2000, 7168})
      run_case(gpu, other, g, varied(g, {op, kBf16, 1025, 4, columns}));
    run_case(gpu, other, g, varied(g, {op, kBf16, 4097, 4, 1024}));
    run_case(gpu, other, g, {op, kBf16, 300, 4, 16896});
  }
}

void test_tails(Gpu& gpu, Disturbance& other, std::mt19937& g) {
  for (const std::int64_t columns : {8, 24, 64, 512, 1000, 1008, 4096, 7168, 7176, 16384}) {
    for (const std::int64_t tokens : {1, 16, 17, 130, 257}) {
      if (tokens > 16 && columns > 7168) continue;
      run_case(gpu, other, g, varied(g, {NVFP4J_OP_HC_POST_PRE, kBf16, tokens, 4, columns}), true);
    }
  }
  for (const std::int64_t columns : {8, 24, 512, 4096}) {
    for (const std::int64_t tokens : {1, 17}) {
      run_case(gpu, other, g, varied(g, {NVFP4J_OP_HC_POST_PRE, kF32, tokens, 4, columns}), true);
      for (const int n : {1, 3, 16}) {
        if (n * columns > 8192) continue;
        const int dtype = n == 3 ? kF32 : kBf16;
        run_case(gpu, other, g, varied(g, {NVFP4J_OP_HC_POST_PRE, dtype, tokens, n, columns}),
                 true);
      }
    }
  }
}

void test_other_streams(Gpu& gpu, Disturbance& other, std::mt19937& g) {
  for (const int op : kOps) {
    for (const int dtype : {kBf16, kF32}) {
      for (const int n : {1, 2, 3, 4, 8, 16}) {
        if (n == 4 && dtype == kBf16) continue;
        for (const std::int64_t columns : {8, 24, 64, 512, 1000, 4096, 7168}) {
          for (const std::int64_t tokens : {1, 2, 17, 65}) {
            if (tokens * columns * n * n * n > std::int64_t{65} * 1000 * 512) continue;
            run_case(gpu, other, g, varied(g, {op, dtype, tokens, n, columns}));
          }
        }
      }
      run_case(gpu, other, g, varied(g, {op, dtype, 5, 5, 136}));
    }
    run_case(gpu, other, g, {op, kF32, 65, 4, 7168});
    run_case(gpu, other, g, {op, kF32, 2, 4, 16384});
  }
}

constexpr Values kAllValues[] = {
    Values::kRandom,         Values::kPositive,          Values::kConstant,
    Values::kCancelling,     Values::kCancellingStreams, Values::kCancellingHalves,
    Values::kOneColumn,      Values::kPattern,           Values::kCancellingPatterns,
    Values::kCancellingSteps};

// As if the card had few multiprocessors: many tiles a group, wide slices, several tokens a thread block. So all kernels are reached.
void test_few_multiprocessors(Gpu& gpu, Disturbance& other, std::mt19937& g, bool quick) {
  const int multiprocessors = gpu.properties.sm_count;
  for (const int few : {5, 2}) {
    gpu.properties.sm_count = few;
    for (const int op : kOps) {
      for (const int dtype : {kBf16, kF32}) {
        for (const int n : {4, 3}) {
          for (const int misalign : {0, 1}) {
            for (const std::int64_t tokens : {3, quick ? 21 : 65}) {
              HcPreCase c = {op, dtype, tokens, n, quick ? 24 : 104};
              c.misalign = misalign;
              c.in_place = c.post() && misalign == 0;
              run_case(gpu, other, g, c);
            }
          }
        }
      }
      if (quick) continue;
      for (const std::int64_t columns : {16, 184, 200, 208, 248, 384, 840}) {
        for (const std::int64_t tokens : {100, 300})
          run_case(gpu, other, g, varied(g, {op, kBf16, tokens, 4, columns}), tokens == 100);
      }
    }
    run_case(gpu, other, g, {NVFP4J_OP_HC_POST_PRE, kBf16, quick ? 35 : 200, 4, 352}, true);
    for (const int op : kOps) {
      run_case(gpu, other, g, varied(g, {op, kBf16, quick ? 260 : 1500, 4, 48}), true);
      run_case(gpu, other, g, {op, kBf16, 130, 4, few * 128 - 48}, true);
    }
    if (quick) break;
    // A slice for each.
    for (const Values values : kAllValues) {
      for (const std::int64_t columns : {48, 112})
        run_case(gpu, other, g, {NVFP4J_OP_HC_PRE, kBf16, 256, 4, columns, values, true});
    }
  }
  gpu.properties.sm_count = multiprocessors;
}

// The header's bound on mixes, whatever the data.
void test_bounds(Gpu& gpu, Disturbance& other, std::mt19937& g, bool quick) {
  for (const int op : kOps) {
    for (const Values values : kAllValues) {
      const auto magnified = [&](int dtype, std::int64_t tokens, int n, std::int64_t columns) {
        run_case(gpu, other, g, {op, dtype, tokens, n, columns, values, true});
      };
      magnified(kBf16, 3, 4, quick ? 64 : 7168);
      if (quick) continue;
      magnified(kBf16, 40, 4, 1000);
      magnified(kBf16, 256, 4, 112);
      magnified(kBf16, 70, 4, 4096);
      // Several draws: few are near the bound.
      for (int draw = 0; draw < (values == Values::kRandom ? 1 : 4); ++draw) {
        magnified(kBf16, 2, 4, 16384);
        magnified(kBf16, 258, 4, 7168);
      }
      magnified(kF32, 3, 4, 7168);
      for (const std::int64_t columns : {8, 504}) {
        magnified(kBf16, 1, 4, columns);
        magnified(kF32, 1, 4, columns);
        magnified(kBf16, 2, 1, columns);
        magnified(kF32, 2, 16, columns);
      }
      magnified(kBf16, 1, 3, 4104);
    }
    // The same, each token its own.
    for (const int dtype : {kBf16, kF32}) {
      run_case(gpu, other, g, {op, dtype, 19, 4, quick ? 64 : 512, Values::kPositive});
      if (!quick) run_case(gpu, other, g, {op, dtype, 65, 4, 7168, Values::kPositive});
      if (!quick) run_case(gpu, other, g, {op, dtype, 5, 8, 512, Values::kPositive});
    }
  }
}

void test_spoiled(Gpu& gpu, Disturbance& other, std::mt19937& g, bool quick) {
  for (const int op : kOps) {
    for (const Spoiled spoiled :
         {Spoiled::kNan, Spoiled::kInfinity, Spoiled::kHuge, Spoiled::kBase}) {
      for (const int dtype : {kBf16, kF32}) {
        for (const int n : {4, 3}) {
          for (const std::int64_t tokens : {1, 20, 100, 290}) {
            if (quick && (tokens != 20 || n == 3)) continue;
            HcPreCase c = {op, dtype, tokens, n, tokens % 100 != 0 ? 64 : 528};
            c.spoiled = spoiled;
            c.in_place = c.post() && tokens == 100;
            run_case(gpu, other, g, c, spoiled != Spoiled::kBase && tokens != 100);
          }
        }
      }
    }
  }
}

// The same in the kernel for many tokens.
void test_spoiled_among_many(Gpu& gpu, Disturbance& other, std::mt19937& g) {
  const int multiprocessors = gpu.properties.sm_count;
  gpu.properties.sm_count = 5;
  for (const int op : {NVFP4J_OP_HC_PRE, NVFP4J_OP_HC_POST_PRE}) {
    for (const Spoiled spoiled :
         {Spoiled::kNan, Spoiled::kInfinity, Spoiled::kHuge, Spoiled::kBase}) {
      for (const std::int64_t columns : {64, 208, 528}) {
        HcPreCase c = {op, kBf16, 290, 4, columns};
        c.spoiled = spoiled;
        c.in_place = c.post() && columns == 208;
        run_case(gpu, other, g, c, spoiled != Spoiled::kBase);
      }
    }
  }
  gpu.properties.sm_count = multiprocessors;
}

// What a launch leaves in the workspace is of no tile of the next, whatever that is.
void test_sequences(Gpu& gpu, Disturbance& other, std::mt19937& g, int rounds) {
  const HcPreCase cases[] = {
      {NVFP4J_OP_HC_PRE, kBf16, 40, 4, 512},   {NVFP4J_OP_HC_POST_PRE, kBf16, 3, 4, 1008},
      {NVFP4J_OP_HC_HEAD, kBf16, 100, 4, 64},  {NVFP4J_OP_HC_POST_PRE, kBf16, 140, 4, 2000},
      {NVFP4J_OP_HC_PRE, kBf16, 1, 4, 7168},   {NVFP4J_OP_HC_PRE, kF32, 5, 4, 72},
      {NVFP4J_OP_HC_PRE, kBf16, 300, 4, 1000}, {NVFP4J_OP_HC_POST_PRE, kBf16, 400, 4, 1008},
      {NVFP4J_OP_HC_PRE, kBf16, 450, 4, 1008}, {NVFP4J_OP_HC_HEAD, kBf16, 700, 4, 64},
      {NVFP4J_OP_HC_PRE, kBf16, 330, 4, 520},  {NVFP4J_OP_HC_POST_PRE, kBf16, 520, 4, 512}};
  const Tail tail = {kF32, true};
  std::vector<std::unique_ptr<HcPreProblem>> problems;
  std::vector<HcPreResult> first;
  const auto launch = [&](std::size_t i) {
    return problems[i]->launch(gpu, cases[i].post() && cases[i].tokens != 520 ? tail : Tail{},
                               g() % 4 == 0);
  };
  for (std::size_t i = 0; i < std::size(cases); ++i) {
    problems.push_back(std::make_unique<HcPreProblem>(g, cases[i]));
    first.push_back(launch(i));
  }
  for (int round = 0; round < rounds; ++round) {
    const std::size_t i = g() % std::size(cases);
    if (g() % 4 == 0) other.launch(gpu);
    check(launch(i) == first[i], cases[i].name() + ": other bits behind other launches");
  }
}

// Slots are used many times: what is in one is used before the next tile comes to it.
void test_slots(Gpu& gpu, std::mt19937& g, int runs) {
  const int multiprocessors = gpu.properties.sm_count;
  for (const int few : {multiprocessors, 2, 1}) {
    gpu.properties.sm_count = few;
    for (const int op : {NVFP4J_OP_HC_PRE, NVFP4J_OP_HC_POST_PRE}) {
      HcPreProblem p(g, {op, kBf16, few > 2 ? 8192 : 2048, 4, few > 2 ? 1024 : 128});
      for (const bool quantize : {false, true}) {
        if (quantize && op == NVFP4J_OP_HC_PRE) continue;
        Tail tail;
        tail.quantize = quantize;
        check(plan_hc_pre(gpu.properties, p.args({})).kernel == HcPreKernel::kWgmma,
              p.c.name() + ": another kernel");
        const HcPreResult first = p.launch(gpu, tail);
        if (few <= 2) judge(p, first, p.c.name() + tail.name());
        int others = 0;
        for (int run = 1; run < runs; ++run) others += !(p.launch(gpu, tail) == first);
        check(others == 0,
              p.c.name() + tail.name() + ": " + std::to_string(others) + " runs have other bits");
      }
    }
  }
  gpu.properties.sm_count = multiprocessors;
}

// Few calls that reach what the other tests reach with many.
void test_quickly(Gpu& gpu, Disturbance& other, std::mt19937& g) {
  for (const int op : kOps) {
    for (const std::int64_t columns : {8, 520}) {
      for (const std::int64_t tokens : {1, 17, 33})
        run_case(gpu, other, g, varied(g, {op, kBf16, tokens, 4, columns}), tokens == 1);
    }
    run_case(gpu, other, g, {op, kBf16, 2, 16, 24});
    run_case(gpu, other, g, {op, kF32, 3, 1, 64});
  }
}

void test_all(Gpu& gpu, Disturbance& other, std::mt19937& g, bool quick) {
  std::printf("%s\n", hc_pre_cuda_path(gpu.properties));
  if (quick) {
    test_quickly(gpu, other, g);
  } else {
    test_four_streams(gpu, other, g);
    test_tails(gpu, other, g);
    test_other_streams(gpu, other, g);
  }
  test_few_multiprocessors(gpu, other, g, quick);
  test_bounds(gpu, other, g, quick);
  test_spoiled(gpu, other, g, quick);
  if (!quick) test_spoiled_among_many(gpu, other, g);
  test_sequences(gpu, other, g, quick ? 7 : 200);
  if (!quick) test_slots(gpu, g, 25);
}

// What cards without sm_90a code get where this one has a kernel of its own.
void test_generic(Gpu& gpu, Disturbance& other, std::mt19937& g, bool quick) {
  std::printf("%s\n", hc_pre_cuda_path(gpu.properties));
  test_few_multiprocessors(gpu, other, g, quick);
  test_bounds(gpu, other, g, quick);
  test_spoiled(gpu, other, g, quick);
  if (quick) return;
  for (const int op : kOps) {
    for (const std::int64_t columns : {24, 1008, 7168}) {
      for (const std::int64_t tokens : {1, 17, 65}) {
        run_case(gpu, other, g, varied(g, {op, kBf16, tokens, 4, columns}),
                 tokens == 17 && columns != 7168);
      }
    }
  }
}

}  // namespace
}  // namespace nvfp4j::test

int main(int argc, char** argv) {
  using namespace nvfp4j::test;
  const bool quick = quick_option(argc, argv);
  Gpu gpu(nvfp4j::kWorkspaceExchangeBytes);
  must(static_cast<cudaError_t>(nvfp4j::hc_pre_cuda_warm_up(gpu.properties)),
       "hc_pre_cuda_warm_up");
  must(static_cast<cudaError_t>(nvfp4j::quantize_cuda_warm_up(gpu.properties)),
       "quantize_cuda_warm_up");
  std::mt19937 g(20261129);
  Disturbance other(g);
  const bool split = nvfp4j::hc_has_sm90(gpu.properties);
  test_all(gpu, other, g, quick);
  if (split) {
    gpu.properties.major = 8;
    test_generic(gpu, other, g, quick);
  }
  check_all_reached(split);
  return finish();
}
