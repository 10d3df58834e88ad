// SPDX-License-Identifier: Apache-2.0
// Sinkhorn and hyper-connections on the CPU device.
#include "hc_cases.hpp"
#include "hc_mixes.hpp"
#include "ops/hc_pre/hc_kernels.hpp"
#include "ops/sinkhorn/sinkhorn_kernels.hpp"

using namespace hc;

namespace {

class Cpu final : public Machine {
 public:
  explicit Cpu(std::int32_t threads) : context_(threads) {}
  nvfp4j_context* context() override { return context_; }
  std::int32_t memory() const override { return NVFP4J_MEMORY_HOST; }
  std::shared_ptr<void> allocate(std::size_t bytes) override {
    return {std::aligned_alloc(256, (bytes + 255) / 256 * 256 + 256), std::free};
  }
  void put(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  void get(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }

 private:
  fixture::Context context_;
};

std::vector<int> isas() {
  std::vector<int> all;
  for (int i = 0; i <= static_cast<int>(nvfp4j::cpu_isa()); ++i) all.push_back(i);
  return all;
}

}  // namespace

TEST(sinkhorn_equals_the_definition) {
  for (const std::int32_t threads : {1, 3}) {
    Cpu cpu(threads);
    auto& g = fixture::generator();
    for (int n = 1; n <= 16; ++n) {
      run(cpu, g, {37, n, 20, 1e-6f, 1.0f, n % 3 * 5});
      run(cpu, g, {18, n, 1, 1e-6f, 20.0f, 0, true});
      run(cpu, g, {9, n, 3, 0x1p-100f, 50.0f});
      run(cpu, g, {5, n, 2, 1.0f, 1.0f});
      run(cpu, g, {23, n, 5, 1e-6f, 1.0f, 7, false, (n * n) * 11 + n * n / 2});
    }
    run(cpu, g, {1, 4, 20, 1e-6f, 1.0f});
    run(cpu, g, {1000, 4, 20, 1e-6f, 10.0f, 8});
  }
}

TEST(sinkhorn_is_near_the_exact_one) {
  Cpu cpu(1);
  for (const float deviation : {1.0f, 30.0f}) {
    std::vector<float> logits = normal(fixture::generator(), 64 * 16, deviation);
    for (float& x : logits) x = std::clamp(x, -80.0f, 80.0f);
    for (int t = 0; t < 64; ++t) {
      const std::vector<float> token(logits.begin() + t * 16, logits.begin() + t * 16 + 16);
      const std::vector<float> got = sinkhorn(token, 4, 20, 1e-6f);
      const std::vector<double> exact =
          sinkhorn64(std::vector<double>(token.begin(), token.end()), 4, 20, 1e-6f);
      for (std::size_t i = 0; i < 16; ++i)
        CHECK(std::fabs(static_cast<double>(got[i]) - exact[i]) <= 2e-6);
    }
  }
}

TEST(sinkhorn_with_an_empty_column) {
  // One iteration and one hot column: of the others eps alone is left, and the sum + eps makes n/(n+1) of it.
  const std::vector<float> got = sinkhorn({80, -80, -80, 80, -80, -80, 80, -80, -80}, 3, 1, 1e-6f);
  for (int k = 1; k < 3; ++k)
    CHECK(std::fabs(got[static_cast<std::size_t>(k)] * 3 - 0.75f) < 1e-6f);
}

TEST(sinkhorn_kernels_have_the_same_bits_on_every_instruction_set) {
  auto& g = fixture::generator();
  using Lanes = float[nvfp4j::kSinkhornLanes];
  for (int n = 1; n <= 16; ++n) {
    std::vector<std::vector<float>> results;
    const std::vector<float> logits = normal(g, n * n * nvfp4j::kSinkhornLanes, 5.0f);
    for (const int isa : isas()) {
      results.push_back(logits);
      nvfp4j::sinkhorn_cpu_kernels[isa](reinterpret_cast<Lanes*>(results.back().data()), n, 7,
                                        1e-6f);
      CHECK(same_bits(results.back(), results.front()));
    }
  }
}

/// A kernel's results of some inputs.
using Results = std::vector<float>;

TEST(hc_kernels_have_the_same_bits_on_every_instruction_set) {
  using nvfp4j::kHcSegment;
  auto& g = fixture::generator();
  constexpr int kTokens = 13;
  constexpr int kStride = 16 * kHcSegment;
  std::vector<float> x = normal(g, kTokens * kHcSegment, 3.0f);
  x[77] = NAN;
  x[3 * kHcSegment + 5] = -INFINITY;
  const std::vector<float> wide = normal(g, kStride, 3.0f, 0.0f, true);
  std::vector<std::uint16_t> narrow;
  for (const float v : wide) narrow.push_back(nvfp4j::f32_to_bf16(v));
  narrow[9] = 0xFFC1;  // a NaN
  const std::vector<float> fn = normal(g, 24 * kHcSegment, 1.0f);
  const std::vector<float> weights = normal(g, 16 * 16 + 16, 1.0f);
  const auto* rows = reinterpret_cast<const float (*)[kHcSegment]>(x.data());
  for (const int count : {8, 24, 120, kHcSegment}) {
    for (const std::int32_t dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
      const void* typed =
          dtype == NVFP4J_DTYPE_F32 ? static_cast<const void*>(wide.data()) : narrow.data();
      for (const int n : {1, 2, 3, 4, 5, 16}) {
        std::vector<Results> all;
        for (const int isa : isas()) {
          const nvfp4j::HcKernels& k = nvfp4j::hc_kernels[isa];
          Results post(static_cast<std::size_t>(n * kHcSegment)), collapsed(kHcSegment),
              collapsed_f32(kHcSegment);
          k.post({typed, kHcSegment, typed, weights.data(), weights.data() + 16, post.data(),
                  kHcSegment, n, dtype, count});
          k.collapse(typed, kHcSegment, n, dtype, weights.data(), count, collapsed.data(), false);
          k.collapse(typed, kHcSegment, n, dtype, weights.data(), count, collapsed_f32.data(),
                     true);
          all.push_back(post);
          all.back().insert(all.back().end(), collapsed.begin(), collapsed.end());
          all.back().insert(all.back().end(), collapsed_f32.begin(), collapsed_f32.end());
          CHECK(same_bits(all.back(), all.front()));
        }
      }
      std::vector<Results> all;
      for (const int isa : isas()) {
        const nvfp4j::HcKernels& k = nvfp4j::hc_kernels[isa];
        Results r(4 * kHcSegment);
        k.widen(typed, dtype, count, r.data());
        k.narrow(wide.data(), dtype, count, r.data() + kHcSegment);
        std::copy_n(x.data(), count, r.data() + 2 * kHcSegment);
        k.normalise(typed, dtype, 0.7f, count, dtype, r.data() + 2 * kHcSegment);
        std::copy_n(x.data(), count, r.data() + 3 * kHcSegment);
        k.sigmoid(r.data() + 3 * kHcSegment, count);
        all.push_back(r);
        CHECK(same_bits(all.back(), all.front()));
      }
    }
    for (int tokens = 1; tokens <= kTokens; ++tokens) {
      for (const int mixes : {1, 2, 3, 4, 7, 24}) {
        std::vector<std::vector<double>> all;
        for (const int isa : isas()) {
          const nvfp4j::HcKernels& k = nvfp4j::hc_kernels[isa];
          std::vector<double> sums(static_cast<std::size_t>(tokens * 25), 0.5);
          k.products(rows, tokens, fn.data(), kHcSegment, mixes, count, sums.data(), 25);
          for (int t = 0; t < tokens; ++t)
            sums[static_cast<std::size_t>(t * 25 + 24)] = k.squares(rows[t], count);
          // Of a NaN the sign is nobody's.
          for (double& v : sums) v = std::isnan(v) ? NAN : v;
          all.push_back(sums);
          CHECK(std::memcmp(all.back().data(), all.front().data(), sums.size() * 8) == 0);
        }
      }
    }
  }
}

TEST(hc_post_equals_the_definition) {
  for (const std::int32_t threads : {1, 3}) {
    Cpu cpu(threads);
    auto& g = fixture::generator();
    for (const std::int32_t dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
      for (int n = 1; n <= 16; ++n) {
        run(cpu, g, {Op::kPost, 5, n, 8 * (n % 5 + 1), dtype, n % 3, n % 2});
        run(cpu, g, {Op::kPost, 3, n, 520, dtype, 0, 0, true});
      }
      run(cpu, g, {Op::kPost, 40, 4, 4096 + 8, dtype, 8, 0, true});
      Case bad = {Op::kPost, 7, 4, 64, dtype};
      bad.bad_token = 3;
      bad.huge_token = 5;
      run(cpu, g, bad);
    }
  }
}

TEST(hc_pre_hc_head_and_hc_post_pre_are_within_their_bounds) {
  for (const std::int32_t threads : {1, 3}) {
    Cpu cpu(threads);
    auto& g = fixture::generator();
    for (const Op op : {Op::kPre, Op::kHead, Op::kPostPre}) {
      for (const std::int32_t dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
        for (int n = 1; n <= 16; n += n < 5 ? 1 : 3)
          run(cpu, g, {op, 5, n, 8 * (n % 4 + 1), dtype, n % 3, n % 2, n % 2 == 0});
        run(cpu, g, {op, 19, 4, 512, dtype, 0, 0, false, true});
        run(cpu, g, {op, 33, 4, 1000, dtype, 8});
        Case spoiled = {op, 20, 4, 64, dtype};
        spoiled.zero_token = 2;
        spoiled.bad_token = 17;
        run(cpu, g, spoiled);
        spoiled.bad_token = -1;
        spoiled.huge_token = 4;
        run(cpu, g, spoiled);
      }
      run(cpu, g, {op, 17, 4, 7168});
      run(cpu, g, {op, 2, 4, 7168, NVFP4J_DTYPE_BF16, 0, 0, false, true});
    }
  }
}

TEST(hc_post_pre_normalises_and_quantises) {
  Cpu cpu(2);
  auto& g = fixture::generator();
  for (const std::int32_t dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
    for (const std::int64_t columns : {16, 528, 4096}) {
      for (const std::int32_t norm : {-1, NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}) {
        for (const std::int32_t layout :
             {NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4}) {
          Case c = {Op::kPostPre, 21, 4, columns, dtype};
          c.norm = norm;
          c.quantize = norm != NVFP4J_DTYPE_BF16 || layout == NVFP4J_SCALE_LAYOUT_LINEAR;
          c.scale_layout = layout;
          run(cpu, g, c);
          c.no_collapsed = c.quantize;
          run(cpu, g, c);
        }
      }
    }
  }
}

TEST(no_tokens_are_no_work) {
  Cpu cpu(1);
  auto& g = fixture::generator();
  for (const Op op : {Op::kPre, Op::kPost, Op::kHead, Op::kPostPre}) run(cpu, g, {op, 0, 4, 64});
  run(cpu, g, SinkhornCase{0, 4, 20, 1e-6f, 1.0f});
}

TEST(hc_pre_takes_every_number_of_streams) {
  Cpu cpu(2);
  auto& g = fixture::generator();
  for (int n = 1; n <= 16; ++n) {
    for (const Op op : {Op::kPre, Op::kHead, Op::kPostPre}) {
      run(cpu, g, {op, 3, n, 520, NVFP4J_DTYPE_BF16, n % 2, n % 3});
      run(cpu, g, {op, n % 5 == 0 ? 26 : 2, n, 24, NVFP4J_DTYPE_F32, n % 3, 1, n % 2 == 0});
    }
  }
  run(cpu, g, {Op::kPostPre, 3, 4, 4096 + 8, NVFP4J_DTYPE_BF16, 8, 1, true});
}

TEST(mixes_are_within_their_bound_on_any_data) {
  Cpu cpu(2);
  auto& g = fixture::generator();
  for (const std::int64_t columns : {8, 504, 7168}) run_all_mixes(cpu, g, 4, columns);
  run_all_mixes(cpu, g, 1, 4096 + 8);
  run_all_mixes(cpu, g, 16, 64);
}

TEST(rows_too_long_to_be_kept) {
  Cpu cpu(2);
  auto& g = fixture::generator();
  for (const std::int32_t dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
    for (const std::int64_t columns : {16384, 16384 + 16}) {
      for (const std::int32_t norm : {-1, NVFP4J_DTYPE_F32}) {
        Case c = {Op::kPostPre, 2, 2, columns, dtype};
        c.norm = norm;
        c.quantize = true;
        run(cpu, g, c);
        c.quantize = norm < 0;
        run(cpu, g, c);
      }
    }
  }
}

TEST(results_do_not_depend_on_the_number_of_threads) {
  auto& g = fixture::generator();
  // Few tokens, whose slices are cut, and many.
  for (const Case& shape :
       {Case{Op::kPostPre, 45, 4, 1032}, Case{Op::kPre, 1, 4, 16384 + 8},
        Case{Op::kHead, 5, 4, 16384}, Case{Op::kPostPre, 7, 4, 4096 + 8},
        Case{Op::kPre, 2, 16, 2056, NVFP4J_DTYPE_F32}, Case{Op::kPost, 9, 4, 4104}}) {
    for (const bool in_place : {false, true}) {
      Case c = shape;
      c.in_place = in_place && (c.op == Op::kPostPre || c.op == Op::kPost);
      if (c.op == Op::kPostPre) c.norm = NVFP4J_DTYPE_BF16;
      const Inputs in = inputs(g, c);
      Cpu one(1);
      const Written expected = call(one, c, in);
      CHECK_EQ(expected.status, NVFP4J_OK);
      for (const std::int32_t threads : {2, 3, 7, 20}) {
        Cpu other(threads);
        CHECK(call(other, c, in) == expected);
      }
    }
  }
}

TEST(a_token_has_the_bits_that_it_has_alone) {
  auto& g = fixture::generator();
  for (const std::int64_t columns : {72, 2056}) {
    Case c = {Op::kPostPre, 34, 4, columns};
    c.norm = NVFP4J_DTYPE_F32;
    const Inputs in = inputs(g, c);
    Cpu cpu(3);
    const Written together = call(cpu, c, in);
    const std::int64_t all = c.n * columns;
    for (std::int64_t t = 0; t < c.tokens; ++t) {
      const auto part = [&](const std::vector<float>& v, std::int64_t size) {
        return std::vector<float>(v.begin() + t * size, v.begin() + (t + 1) * size);
      };
      Inputs one = in;
      one.x = part(in.x, all);
      one.sub = part(in.sub, columns);
      one.post = part(in.post, c.n);
      one.comb = part(in.comb, c.n * c.n);
      Case alone = c;
      alone.tokens = 1;
      const Written w = call(cpu, alone, one);
      CHECK(same_bits(w.out, part(together.out, all)));
      CHECK(same_bits(w.collapsed, part(together.collapsed, columns)));
      CHECK(same_bits(w.post, part(together.post, c.n)));
      CHECK(same_bits(w.comb, part(together.comb, c.n * c.n)));
    }
  }
}

TEST(the_first_token_that_is_not_finite_is_reported) {
  auto& g = fixture::generator();
  for (const Op op : {Op::kPre, Op::kHead, Op::kPostPre}) {
    const std::int32_t number = op == Op::kPre    ? NVFP4J_OP_HC_PRE
                                : op == Op::kHead ? NVFP4J_OP_HC_HEAD
                                                  : NVFP4J_OP_HC_POST_PRE;
    for (const std::int64_t columns : {64, 4096}) {
      Case c = {op, 29, 4, columns};
      c.bad_token = 23;
      c.huge_token = 11;
      const Inputs in = inputs(g, c);
      Cpu one(1);
      const Written expected = call(one, c, in);
      for (const std::int32_t threads : {1, 2, 7}) {
        Cpu cpu(threads);
        const Written w = call(cpu, c, in);
        CHECK(w == expected);
        CHECK_EQ(w.status, NVFP4J_ERROR_REPORTED);
        CHECK_EQ(w.record.causes[number], std::uint64_t{1} << NVFP4J_CAUSE_NON_FINITE_RESULT);
        CHECK_EQ(w.record.first_op, number);
        CHECK_EQ(w.record.first_cause, NVFP4J_CAUSE_NON_FINITE_RESULT);
        CHECK_EQ(w.record.first_row, 11);
        CHECK_EQ(w.record.first_column, -1);
      }
      // A NaN is the one NaN of results.
      const auto nan = [&](const std::vector<float>& v, std::int64_t size) {
        return std::all_of(v.begin() + 23 * size, v.begin() + 24 * size,
                           [](float x) { return nvfp4j::bits_of(x) == nvfp4j::kNan; });
      };
      CHECK(nan(expected.collapsed, columns));
      if (op != Op::kHead) CHECK(nan(expected.post, 4) && nan(expected.comb, 16));
    }
  }
}

TEST(a_base_that_is_not_finite_is_reported) {
  auto& g = fixture::generator();
  const Case c = {Op::kPre, 3, 2, 16};
  for (const std::size_t row : {0u, 3u, 7u}) {
    for (const float value : {INFINITY, -INFINITY, NAN}) {
      Inputs in = inputs(g, c);
      in.module.base[row] = value;
      Cpu cpu(1);
      const Written w = call(cpu, c, in);
      CHECK_EQ(w.status, NVFP4J_ERROR_REPORTED);
      CHECK_EQ(w.record.first_cause, NVFP4J_CAUSE_NON_FINITE_RESULT);
      CHECK_EQ(w.record.first_row, 0);
    }
  }
}

TEST(what_is_quantised_is_reported_as_quantize_does) {
  auto& g = fixture::generator();
  for (const std::int64_t columns : {64, 16384 + 32}) {
    Case c = {Op::kPostPre, 5, 4, columns};
    c.quantize = true;
    c.bad_token = 3;
    const Inputs in = inputs(g, c);
    Cpu cpu(2);
    const Written w = call(cpu, c, in);
    CHECK_EQ(w.status, NVFP4J_ERROR_REPORTED);
    CHECK_EQ(w.record.causes[NVFP4J_OP_HC_POST_PRE],
             std::uint64_t{1} << NVFP4J_CAUSE_NON_FINITE_RESULT |
                 std::uint64_t{1} << NVFP4J_CAUSE_NON_FINITE_INPUT);
    CHECK_EQ(w.record.causes[NVFP4J_OP_QUANTIZE], std::uint64_t{0});
    CHECK_EQ(w.record.first_row, 3);
    const Written expected = quantized(cpu, c, w.collapsed);
    CHECK(w.codes == expected.codes);
    CHECK(w.scales == expected.scales);
    CHECK(same_bits(w.global_scales, expected.global_scales));
  }
}

int main(int count, char** arguments) { return check::main(count, arguments); }
