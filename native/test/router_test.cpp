// SPDX-License-Identifier: Apache-2.0
// The routers on the CPU device.
#include "common/cpu_isa.hpp"
#include "ops/router_dense/router_kernels.hpp"
#include "ops/router_dense/router_math.hpp"
#include "router_calls.hpp"

using namespace router;
using fixture::Context;

namespace {

constexpr std::int32_t kBf16 = NVFP4J_DTYPE_BF16;
constexpr std::int32_t kF32 = NVFP4J_DTYPE_F32;
constexpr std::int32_t kNvfp4 = NVFP4J_DTYPE_U8;

template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

/// The CPU adds in F64 and rounds once; of NVFP4 a second time.
void check_logits(const Problem& p, const std::vector<float>& logits) {
  const Shape& s = p.shape;
  double worst = 0.0;
  for (std::int64_t t = 0; t < s.tokens; ++t) {
    for (int e = 0; e < s.experts; ++e) {
      const float z = logits[static_cast<std::size_t>(t * s.experts + e)];
      worst = std::max(worst, error_units(z, exact_logit(p, t, e)));
    }
  }
  if (!(worst <= (s.nvfp4() ? 2.01 : 1.01)))
    check::failed(__FILE__, __LINE__,
                  s.name() + ": off by " + std::to_string(worst) + " * 2^-24 * sum of |x W|");
}

/// Indices and weights are those of the logits, bit for bit.
void check_choice(const Problem& p, const Result& r) {
  const Shape& s = p.shape;
  const auto k = static_cast<std::size_t>(s.topk);
  std::vector<std::int32_t> indices(k);
  std::vector<float> weights(k);
  for (std::int64_t t = 0; t < s.tokens; ++t) {
    const float* z = &r.logits[static_cast<std::size_t>(t * s.experts)];
    choose(z, p.bias.data(), s.experts, s.topk, indices.data());
    weigh(z, indices.data(), s.topk, p.scale, weights.data());
    for (std::size_t j = 0; j < k; ++j) {
      const std::size_t at = static_cast<std::size_t>(t) * k + j;
      if (r.indices[at] != indices[j] || !same_bits(r.weights[at], weights[j])) {
        check::failed(__FILE__, __LINE__,
                      s.name() + ": token " + std::to_string(t) + " has choice " +
                          std::to_string(r.indices[at]) + " with " + check::show(r.weights[at]) +
                          ", expected " + std::to_string(indices[j]) + " with " +
                          check::show(weights[j]));
        return;
      }
    }
  }
}

void test_dense(nvfp4j_context* context, const Shape& shape, const Gaps& gaps = {}) {
  const Problem p = make_problem(fixture::generator(), shape);
  const Result r = run_dense(context, p, gaps);
  CHECK_EQ(r.said.message, "");
  check_logits(p, r.logits);
  check_choice(p, r);
  const Result again = run_dense(context, p, gaps, false);
  CHECK(same(again.indices, r.indices));
  CHECK(same(again.weights, r.weights));
}

/// Ids and experts at random.
Lookup random_lookup(const Shape& s, std::int64_t vocabulary) {
  auto& g = fixture::generator();
  Lookup lookup;
  lookup.table_is_64_bit = g() % 2 == 0;
  lookup.ids_are_64_bit = g() % 2 == 0;
  for (std::int64_t i = 0; i < vocabulary * s.topk; ++i)
    lookup.table.push_back(static_cast<std::int64_t>(g() % static_cast<unsigned>(s.experts)));
  for (std::int64_t t = 0; t < s.tokens; ++t)
    lookup.ids.push_back(static_cast<std::int64_t>(g() % static_cast<unsigned>(vocabulary)));
  return lookup;
}

/// The logits of router_hash are those of router_dense; what else it does is expected from them.
void test_hash(nvfp4j_context* context, const Problem& p, const Lookup& lookup,
               const Gaps& gaps = {}) {
  const Shape& s = p.shape;
  Problem one = p;
  one.shape.topk = 1;
  const Result dense = run_dense(context, one);
  const Result r = run_hash(context, p, lookup, gaps);
  const auto k = static_cast<std::size_t>(s.topk);
  const auto vocabulary = static_cast<std::int64_t>(lookup.table.size() / k);
  bool out_of_range = false;
  std::vector<std::int32_t> indices(k);
  std::vector<float> weights(k);
  for (std::int64_t t = 0; t < s.tokens; ++t) {
    const std::int64_t id = lookup.ids[static_cast<std::size_t>(t)];
    for (std::size_t j = 0; j < k; ++j) {
      const bool known = id >= 0 && id < vocabulary;
      const std::int64_t e = known ? lookup.table[static_cast<std::size_t>(id) * k + j] : -1;
      const bool good = e >= 0 && e < s.experts;
      indices[j] = good ? static_cast<std::int32_t>(e) : -1;
      out_of_range = out_of_range || !good;
    }
    weigh(&dense.logits[static_cast<std::size_t>(t * s.experts)], indices.data(), s.topk, p.scale,
          weights.data());
    const std::size_t at = static_cast<std::size_t>(t) * k;
    CHECK(std::memcmp(&r.indices[at], indices.data(), 4 * k) == 0);
    CHECK(std::memcmp(&r.weights[at], weights.data(), 4 * k) == 0);
  }
  CHECK_EQ(r.record.causes[NVFP4J_OP_ROUTER_HASH],
           std::uint64_t{out_of_range ? 1u << NVFP4J_CAUSE_INDEX_OUT_OF_RANGE : 0u});
}

void expect_report(const Result& r, std::int32_t op, std::uint64_t causes, std::int32_t first,
                   std::int64_t row, std::int64_t column) {
  CHECK_EQ(r.said.status, NVFP4J_ERROR_REPORTED);
  CHECK_EQ(r.record.causes[op], causes);
  CHECK_EQ(r.record.first_op, op);
  CHECK_EQ(r.record.first_cause, first);
  CHECK_EQ(r.record.first_row, row);
  CHECK_EQ(r.record.first_column, column);
}

constexpr std::uint64_t bit(std::int32_t cause) { return std::uint64_t{1} << cause; }

}  // namespace

TEST(dense_of_every_type_and_shape) {
  for (const std::int32_t threads : {1, 3}) {
    const Context context(threads);
    for (const std::int32_t x : {kBf16, kF32}) {
      for (const std::int32_t w : {kBf16, kF32, kNvfp4}) {
        for (const std::int64_t columns : {1, 3, 16, 17, 100, 512, 528, 1040}) {
          if (w == kNvfp4 && columns % 16 != 0) continue;
          for (const int experts : {1, 7, 16, 100}) {
            for (const std::int64_t tokens : {1, 5, 33, 70}) {
              const int topk = std::min(experts, static_cast<int>(tokens % 7 + 1));
              test_dense(context, {tokens, experts, columns, topk, x, w},
                         {tokens % 3, tokens % 4, tokens % 2});
            }
          }
        }
        test_dense(context, {2, 1024, 64, 16, x, w}, {1, 1, 1});
        test_dense(context, {40, 1024, 64, 6, x, w});
        test_dense(context, {3, 385, 256, 6, x, w, Data::kWide, Bias::kZero});
        test_dense(context, {3, 256, 1024, 8, x, w, Data::kPositive});
        test_dense(context, {4, 16, 64, 16, x, w, Data::kEqual, Bias::kZero});
        for (const Bias bias : {Bias::kZero, Bias::kLarge, Bias::kInfinite})
          test_dense(context, {9, 48, 32, 6, x, w, Data::kNormal, bias});
        if (w == kNvfp4) continue;
        test_dense(context, {9, 384, 17, 6, x, w, Data::kLogits, Bias::kZero});
        test_dense(context, {9, 384, 17, 6, x, w, Data::kLow, Bias::kNormal});
      }
    }
    test_dense(context, {1, 384, 7168, 6});
    test_dense(context, {33, 256, 4096, 6});
  }
}

TEST(no_tokens_are_no_work) {
  const Context context;
  test_dense(context, {0, 16, 64, 4});
  const Problem p = make_problem(fixture::generator(), {0, 16, 64, 4});
  test_hash(context, p, random_lookup(p.shape, 9));
}

TEST(bits_do_not_depend_on_threads_or_on_other_tokens) {
  const Context one(1), many(5);
  for (const std::int32_t w : {kBf16, kF32, kNvfp4}) {
    // Of so many products that experts are spread over threads, then tokens.
    for (const std::int64_t tokens : {1, 12, 200}) {
      const Shape shape = {tokens, 200, 2080, 6, kBf16, w};
      const Problem p = make_problem(fixture::generator(), shape);
      const Result a = run_dense(one, p), b = run_dense(many, p);
      CHECK(same(a.logits, b.logits) && same(a.indices, b.indices) && same(a.weights, b.weights));
      Problem last = p;
      last.shape.tokens = 1;
      last.x.erase(last.x.begin(), last.x.end() - 2080);
      const Result alone = run_dense(many, last);
      CHECK(std::memcmp(alone.logits.data(), &a.logits[a.logits.size() - 200], 800) == 0);
    }
  }
}

TEST(equal_scores_go_to_the_lowest_experts) {
  const Context context;
  for (const std::int32_t w : {kBf16, kF32, kNvfp4}) {
    const Problem p =
        make_problem(fixture::generator(), {3, 40, 64, 16, kF32, w, Data::kEqual, Bias::kZero});
    const Result r = run_dense(context, p);
    for (std::size_t i = 0; i < r.indices.size(); ++i) {
      CHECK_EQ(r.indices[i], static_cast<std::int32_t>(i % 16));
      CHECK(std::fabs(r.weights[i] - p.scale / 16) <= 1e-6f);
    }
  }
  // Duplicates among others: 3 and 5, then 0, 2 and 7. A bias of -0 is one of 0.
  Problem p = make_problem(fixture::generator(), {1, 8, 1, 5, kF32, kF32});
  p.x = {1.0f};
  p.w = {1, 0, 1, 2, 0, 2, 0, 1};
  p.bias = {0, 0, -0.0f, 0, 0, 0, 0, 0};
  CHECK(run_dense(context, p).indices == (std::vector<std::int32_t>{3, 5, 0, 2, 7}));
}

TEST(biases_choose_and_do_not_weigh) {
  const Context context;
  Problem p = make_problem(fixture::generator(), {1, 6, 1, 3, kF32, kF32});
  const float infinity = std::numeric_limits<float>::infinity();
  p.x = {1.0f};
  p.w = {5, 4, 3, 2, 1, 0};
  p.scale = 2.5f;
  p.bias = {-1e4f, 0, 0, 0, 0, 1e4f};
  Result r = run_dense(context, p);
  CHECK(r.indices == (std::vector<std::int32_t>{5, 1, 2}));
  const double sum = score(0.0) + score(4.0) + score(3.0);
  CHECK(std::fabs(static_cast<double>(r.weights[0]) - score(0.0) / sum * 2.5) <= 1e-6);
  p.bias = {-infinity, -infinity, infinity, -infinity, infinity, -infinity};
  r = run_dense(context, p);
  // Of equal infinities the lowest, and -infinity is a number.
  CHECK(r.indices == (std::vector<std::int32_t>{2, 4, 0}));
  CHECK(!std::isnan(r.weights[2]) && r.weights[2] > r.weights[0]);
  p.bias[0] = std::numeric_limits<float>::quiet_NaN();
  p.bias[1] = from_bits(0xFFC00001);
  r = run_dense(context, p);
  CHECK(r.indices == (std::vector<std::int32_t>{2, 4, 3}));
  CHECK_EQ(r.said.message, "");
  p.shape.topk = 6;
  p.bias = {p.bias[0], p.bias[0], infinity, -infinity, p.bias[0], -1e4f};
  r = run_dense(context, p);
  CHECK(r.indices == (std::vector<std::int32_t>{2, 5, 3, 0, 1, 4}));
}

TEST(weights_are_near_the_exact_ones) {
  const Context context(2);
  for (const std::int32_t dtype : {kBf16, kF32}) {
    for (int round = 0; round < 20; ++round) {
      const Problem p = make_problem(fixture::generator(),
                                     {4, 64, 24, 6, dtype, dtype, Data::kLogits, Bias::kLarge});
      const Result r = run_dense(context, p);
      for (std::int64_t t = 0; t < 4; ++t) {
        double scores[6], sum = 1e-20, largest = 0.0;
        for (int j = 0; j < 6; ++j) {
          const Exact z = exact_logit(p, t, r.indices[static_cast<std::size_t>(6 * t + j)]);
          scores[j] = score(z.z);
          sum += scores[j];
          largest = std::max(largest, z.magnitude);
        }
        for (int j = 0; j < 6; ++j) {
          const double exact = scores[j] / sum * static_cast<double>(p.scale);
          const auto got = static_cast<double>(r.weights[static_cast<std::size_t>(6 * t + j)]);
          CHECK(std::fabs(got - exact) <= exact * weight_bound(largest));
        }
      }
    }
  }
}

TEST(scores_that_vanish) {
  const Context context;
  // Below -104 the exponential is 0, and so are the weights; 1e-20 keeps 0 / 0 away.
  Problem p = make_problem(fixture::generator(), {1, 4, 1, 2, kF32, kF32});
  p.x = {1.0f};
  p.w = {-105, -1000, -3e38f, -104.5f};
  p.bias = {0, 0, 0, 0};
  Result r = run_dense(context, p);
  CHECK_EQ(r.said.message, "");
  CHECK(r.indices == (std::vector<std::int32_t>{0, 1}));
  CHECK(same_bits(r.weights[0], 0.0f) && same_bits(r.weights[1], 0.0f));
  // A score below 1e-20 is lessened.
  p.w = {-100, -100, -200, -200};
  r = run_dense(context, p);
  CHECK(r.weights[0] > 0.0f && r.weights[0] < 0.2f);
}

TEST(non_finite_logits_are_reported) {
  const Context context(2);
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = from_bits(0xFFC12345);
  for (const std::int32_t x_dtype : {kBf16, kF32}) {
    for (const std::int32_t w_dtype : {kBf16, kF32, kNvfp4}) {
      for (const float value : {infinity, -infinity, nan}) {
        Problem p = make_problem(fixture::generator(), {7, 20, 32, 4, x_dtype, w_dtype});
        p.x[5 * 32 + 7] = value;
        Result r = run_dense(context, p);
        check_choice(p, r);
        expect_report(r, NVFP4J_OP_ROUTER_DENSE, bit(NVFP4J_CAUSE_NON_FINITE_RESULT),
                      NVFP4J_CAUSE_NON_FINITE_RESULT, 5, r.record.first_column);
        // The first expert whose logit it is.
        int e = 0;
        while (std::isfinite(exact_logit(p, 5, e).z)) ++e;
        CHECK_EQ(r.record.first_column, e);
        for (std::size_t i = 0; i < r.logits.size(); ++i) {
          if (std::isnan(r.logits[i])) CHECK(same_bits(r.logits[i], from_bits(0x7FC00000)));
        }
      }
    }
  }
  // A logit that does not fit binary32.
  Problem p =
      make_problem(fixture::generator(), {2, 3, 2, 2, kF32, kF32, Data::kNormal, Bias::kZero});
  p.x = {1, 1, 3e38f, 1};
  p.w = {1, 0, 1, 1, 2, 0};
  Result r = run_dense(context, p);
  expect_report(r, NVFP4J_OP_ROUTER_DENSE, bit(NVFP4J_CAUSE_NON_FINITE_RESULT),
                NVFP4J_CAUSE_NON_FINITE_RESULT, 1, 2);
  CHECK(r.indices[2] == 2 && std::isnan(r.weights[2]) && same_bits(r.weights[3], 0.0f));
  CHECK(same_bits(r.weights[2], from_bits(0x7FC00000)));
  // NaN comes behind every number, and is chosen where nothing else is left.
  p.w = {nan, 0, 1, 1, nan, 0};
  r = run_dense(context, p);
  CHECK(r.indices == (std::vector<std::int32_t>{1, 0, 1, 0}));
}

TEST(nvfp4_weights) {
  const Context context(2);
  auto& g = fixture::generator();
  for (const std::int64_t columns : {16, 112, 1024}) {
    // A decoded gate has the same products; the global scale is one more rounding.
    const Problem coded = make_problem(g, {6, 50, columns, 6, kBf16, kNvfp4});
    Problem plain = coded;
    plain.shape.w_dtype = kF32;
    for (float& w : plain.w) w *= coded.global_scale;
    plain.global_scale = 1.0f;
    const Result a = run_dense(context, coded), b = run_dense(context, plain);
    for (std::int64_t t = 0; t < 6; ++t) {
      for (int e = 0; e < 50; ++e) {
        const auto i = static_cast<std::size_t>(t * 50 + e);
        const double bound = 2.5 * 0x1p-24 * exact_logit(coded, t, e).magnitude;
        CHECK(std::fabs(static_cast<double>(a.logits[i]) - static_cast<double>(b.logits[i])) <=
              bound);
      }
    }
  }
  for (const int byte : {0x7F, 0x80, 0xB8, 0xFF}) {
    Problem p = make_problem(g, {3, 30, 1040, 4, kBf16, kNvfp4});
    p.scales[17 * 65 + 40] = static_cast<std::uint8_t>(byte);
    p.scales[17 * 65 + 50] = static_cast<std::uint8_t>(byte);
    p.scales[28 * 65] = static_cast<std::uint8_t>(byte);
    p.decode();
    Result r = run_dense(context, p);
    check_choice(p, r);
    for (std::size_t i = 0; i < r.logits.size(); ++i)
      CHECK(std::isnan(r.logits[i]) == (i % 30 == 17 || i % 30 == 28));
    const std::uint64_t both =
        bit(NVFP4J_CAUSE_BAD_BLOCK_SCALE) | bit(NVFP4J_CAUSE_NON_FINITE_RESULT);
    // The logits come first: row 0 is a token there, and 17 is the expert of the scale.
    expect_report(r, NVFP4J_OP_ROUTER_DENSE, both, NVFP4J_CAUSE_NON_FINITE_RESULT, 0, 17);
    // Of rows that nobody reads nothing is said.
    Lookup lookup = {{16, 18, 19, 29}, {0, 0, 0}};
    r = run_hash(context, p, lookup);
    CHECK_EQ(r.said.message, "");
    lookup.table[2] = 28;
    r = run_hash(context, p, lookup);
    expect_report(r, NVFP4J_OP_ROUTER_HASH, both, NVFP4J_CAUSE_NON_FINITE_RESULT, 0, 28);
  }
  for (const float scale : {0.0f, -1.0f, from_bits(0x7FC00000), HUGE_VALF}) {
    Problem p = make_problem(g, {3, 5, 32, 2, kBf16, kNvfp4});
    p.global_scale = scale;
    const Result r = run_dense(context, p);
    check_choice(p, r);
    const bool finite = std::isfinite(scale);
    const std::uint64_t causes =
        bit(NVFP4J_CAUSE_BAD_GLOBAL_SCALE) | (finite ? 0 : bit(NVFP4J_CAUSE_NON_FINITE_RESULT));
    expect_report(r, NVFP4J_OP_ROUTER_DENSE, causes, NVFP4J_CAUSE_BAD_GLOBAL_SCALE, -1, -1);
    expect_report(run_hash(context, p, {{0, 1}, {0, 0, 0}}), NVFP4J_OP_ROUTER_HASH, causes,
                  NVFP4J_CAUSE_BAD_GLOBAL_SCALE, -1, -1);
  }
}

TEST(hash_of_every_type_and_shape) {
  for (const std::int32_t threads : {1, 3}) {
    const Context context(threads);
    for (const std::int32_t x : {kBf16, kF32}) {
      for (const std::int32_t w : {kBf16, kF32, kNvfp4}) {
        for (const std::int64_t columns : {1, 3, 16, 17, 100, 512, 528, 1040}) {
          if (w == kNvfp4 && columns % 16 != 0) continue;
          for (const int experts : {1, 7, 100}) {
            for (const std::int64_t tokens : {1, 33}) {
              for (const int topk : {1, 6, 16}) {  // more than E, too: a table may repeat itself
                const Shape shape = {tokens, experts, columns, topk, x, w};
                const Problem p = make_problem(fixture::generator(), shape);
                test_hash(context, p, random_lookup(shape, 1 + tokens * 2),
                          {tokens % 3, tokens % 4, tokens % 2});
              }
            }
          }
        }
      }
    }
    const Shape large = {300, 384, 2048, 6};
    test_hash(context, make_problem(fixture::generator(), large), random_lookup(large, 1000));
  }
}

TEST(hash_of_ids_and_entries_out_of_range) {
  const Context context(2);
  const Shape shape = {6, 8, 32, 3, kBf16, kBf16};
  const Problem p = make_problem(fixture::generator(), shape);
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
  Lookup lookup;
  lookup.table = {0, 1, 2, 5, 5, 5, 7, 6, 7, 3, 8, 4, -1, 2, 1, 8, -1, 9};
  lookup.ids = {0, 1, 2, 5, 4, 3};
  test_hash(context, p, lookup);
  const Result r = run_hash(context, p, lookup);
  expect_report(r, NVFP4J_OP_ROUTER_HASH, bit(NVFP4J_CAUSE_INDEX_OUT_OF_RANGE),
                NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, 3, 0);
  // Three times the same expert: a third each.
  for (int j = 3; j < 6; ++j)
    CHECK(std::fabs(r.weights[static_cast<std::size_t>(j)] - p.scale / 3) <= 1e-6f);
  CHECK(r.indices[16] == -1 && same_bits(r.weights[16], 0.0f) && r.indices[15] == 3);
  for (const bool wide : {false, true}) {
    lookup.ids_are_64_bit = lookup.table_is_64_bit = wide;
    lookup.ids = {0, -1, 1, 6, 2, 1};
    lookup.table.assign({0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1});
    if (wide) {
      lookup.ids = {kMost, kLeast, 1, std::int64_t{1} << 32, 5, kLeast + 1};
      lookup.table[4] = kLeast;
      lookup.table[15] = kMost;
      lookup.table[16] = std::int64_t{1} << 32;  // 0 in its lower half
      lookup.table[17] = std::int64_t{1} << 63;
    }
    test_hash(context, p, lookup);
    const Result bad = run_hash(context, p, lookup);
    expect_report(bad, NVFP4J_OP_ROUTER_HASH, bit(NVFP4J_CAUSE_INDEX_OUT_OF_RANGE),
                  NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, wide ? 0 : 1, -1);
  }
}

TEST(scores_have_the_same_bits_on_every_instruction_set) {
  std::vector<float> z;
  for (std::uint64_t i = 0; i < 200000; ++i)
    z.push_back(from_bits(static_cast<std::uint32_t>(fixture::generator()())));
  for (float x = -130.0f; x < 130.0f; x += 0.0078125f) z.push_back(x);
  for (const std::uint32_t bits : {0u, 0x80000000u, 0x7F800000u, 0xFF800000u, 0x7FC00000u,
                                   0xFFFFFFFFu, 0x41A00000u, 0x41A00001u, 0x419FFFFFu}) {
    z.push_back(from_bits(bits));
  }
  std::vector<float> expected;
  for (const float x : z) expected.push_back(score(x));
  for (int isa = 0; isa <= static_cast<int>(nvfp4j::cpu_isa()); ++isa) {
    std::vector<float> got(z.size());
    nvfp4j::router_scores_kernels[isa](z.data(), static_cast<int>(z.size()), got.data());
    CHECK(same(got, expected));
  }
  for (std::size_t i = 0; i < z.size(); ++i) {
    if (!(z[i] >= -60.0f && z[i] <= 1e30f)) continue;
    const double exact = score(static_cast<double>(z[i]));
    CHECK(std::fabs(static_cast<double>(expected[i]) - exact) <= exact * 2.5e-7);
  }
}

TEST(keys_are_in_the_order_of_choice) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  const float ascending[] = {-infinity, -3e38f, -1.0f, -1e-45f, 0.0f,
                             1e-45f,    1.0f,   3e38f, infinity};
  for (const float* b = ascending; b != std::end(ascending); ++b) {
    CHECK(nvfp4j::router_key(nan, 0) < nvfp4j::router_key(*b, 1023));
    CHECK(nvfp4j::router_key(from_bits(0xFFFFFFFF), 0) < nvfp4j::router_key(*b, 1023));
    CHECK(nvfp4j::router_key(*b, 7) > nvfp4j::router_key(*b, 8));
    if (b != ascending) CHECK(nvfp4j::router_key(b[-1], 0) < nvfp4j::router_key(*b, 1023));
    for (const int e : {0, 1, 1023}) CHECK_EQ(nvfp4j::router_expert(nvfp4j::router_key(*b, e)), e);
  }
  CHECK_EQ(nvfp4j::router_key(-0.0f, 3), nvfp4j::router_key(0.0f, 3));
  CHECK(nvfp4j::router_key(nan, 3) > nvfp4j::router_key(nan, 4));
  CHECK(nvfp4j::router_key(nan, 1023) > 0);
}

int main(int count, char** arguments) { return check::main(count, arguments); }
