// SPDX-License-Identifier: Apache-2.0
// sample: its random numbers, its plans, its tokens on the CPU device against the definition, what it reports and what it refuses.
#include <cmath>
#include <functional>
#include <limits>

#include "common/float_formats.hpp"
#include "common/workspace_layout.hpp"
#include "fixture.hpp"
#include "ops/sample/sample_kernels.hpp"
#include "ops/sample/sample_math.hpp"
#include "ops/sample/sample_plan.hpp"

using namespace fixture;
using namespace nvfp4j;

namespace {

constexpr int32_t kInvalid = NVFP4J_ERROR_INVALID_ARGUMENT;
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

constexpr CudaDeviceProperties device(int multiprocessors) {
  return {0, 9, 0, multiprocessors, 227 << 10, 228 << 10, 50 << 20, 1, 1};
}

// ---- the definition --------------------------------------------------------------------------------------------------

struct Problem {
  std::int64_t tokens;
  std::int64_t columns;
  std::vector<float> logits;
  std::vector<float> noise;  // or empty
  float temperature = 0;
  std::uint64_t seed = 0;
  std::uint64_t offset = 0;
  std::int64_t more = 0;
  bool has_more = false;
  std::int32_t dtype = NVFP4J_DTYPE_F32;
  std::int64_t gap = 0;
};

/// Of row t, column i.
float value(const Problem& p, std::int64_t t, std::int64_t i) {
  const float l = p.logits[static_cast<std::size_t>(t * p.columns + i)];
  if (p.temperature == 0) return l;
  float e;
  if (!p.noise.empty()) {
    e = p.noise[static_cast<std::size_t>(t * p.columns + i)];
  } else {
    const std::uint64_t o = p.offset + static_cast<std::uint64_t>(p.has_more ? p.more : 0);
    const PhiloxWords r =
        philox({static_cast<std::uint32_t>(i / 4), static_cast<std::uint32_t>(t),
                static_cast<std::uint32_t>(o), static_cast<std::uint32_t>(o >> 32)},
               {static_cast<std::uint32_t>(p.seed), static_cast<std::uint32_t>(p.seed >> 32)});
    const std::uint32_t word = i % 4 == 0 ? r.x : i % 4 == 1 ? r.y : i % 4 == 2 ? r.z : r.w;
    const auto u = static_cast<float>((static_cast<double>(word / 512) + 0.5) * 0x1p-23);
    e = -math::log(u);
  }
  return l / std::max(p.temperature, 1e-5f) - math::log(e);
}

std::vector<std::int32_t> expected_tokens(const Problem& p) {
  std::vector<std::int32_t> tokens;
  for (std::int64_t t = 0; t < p.tokens; ++t) {
    bool bad = false;
    bool above = false;
    std::int64_t best = 0;
    for (std::int64_t i = 0; i < p.columns; ++i) {
      const float l = p.logits[static_cast<std::size_t>(t * p.columns + i)];
      bad = bad || std::isnan(l);
      above = above || l != -kInf;
      if (p.temperature != 0 && !p.noise.empty()) {
        const float e = p.noise[static_cast<std::size_t>(t * p.columns + i)];
        bad = bad || !(e > 0 && e < kInf);
      }
      if (value(p, t, i) > value(p, t, best)) best = i;
    }
    tokens.push_back(bad || !above ? -1 : static_cast<std::int32_t>(best));
  }
  return tokens;
}

// ---- a call ----------------------------------------------------------------------------------------------------------

struct Result {
  std::vector<std::int32_t> tokens;
  std::int32_t status;
  nvfp4j_status_record record;
};

Result call(nvfp4j_context* context, const Problem& p) {
  const std::int64_t stride = p.columns + p.gap;
  const std::int64_t element = element_bytes(p.dtype);
  Bytes logits(p.tokens * stride * element);
  Bytes noise(p.tokens * stride * 4);
  std::memset(logits.data(), 0xFF, static_cast<std::size_t>(logits.size()));  // NaNs between rows
  std::memset(noise.data(), 0xFF, static_cast<std::size_t>(noise.size()));
  for (std::int64_t t = 0; t < p.tokens; ++t) {
    for (std::int64_t i = 0; i < p.columns; ++i) {
      const auto from = static_cast<std::size_t>(t * p.columns + i);
      const std::int64_t to = t * stride + i;
      if (p.dtype == NVFP4J_DTYPE_F32) {
        std::memcpy(logits.data() + 4 * to, &p.logits[from], 4);
      } else {
        const std::uint16_t h = f32_to_bf16(p.logits[from]);
        std::memcpy(logits.data() + 2 * to, &h, 2);
      }
      if (!p.noise.empty()) std::memcpy(noise.data() + 4 * to, &p.noise[from], 4);
    }
  }
  Result r{std::vector<std::int32_t>(static_cast<std::size_t>(p.tokens) + 1, 12345), 0,
           status_record()};
  std::int64_t more = p.more;
  const nvfp4j_tensor l = matrix(logits.data(), p.dtype, p.tokens, p.columns, stride);
  const nvfp4j_tensor e = matrix(noise.data(), NVFP4J_DTYPE_F32, p.tokens, p.columns, stride);
  const nvfp4j_tensor o = tensor(&more, NVFP4J_DTYPE_I64, {1});
  const nvfp4j_tensor out = tensor(r.tokens.data(), NVFP4J_DTYPE_I32, {p.tokens});
  const nvfp4j_sample_options options = {sizeof options, p.temperature, p.seed, p.offset};
  CHECK_OK(nvfp4j_sample(context, &l, p.noise.empty() ? nullptr : &e, p.has_more ? &o : nullptr,
                         &options, &out, error));
  CHECK_EQ(more, p.more);
  CHECK_EQ(r.tokens.back(), 12345);
  r.tokens.pop_back();
  r.status = nvfp4j_context_synchronize(context, &r.record, nullptr);
  return r;
}

void run(nvfp4j_context* context, const Problem& p) {
  const Result r = call(context, p);
  CHECK(r.tokens == expected_tokens(p));
  CHECK_EQ(r.status, NVFP4J_OK);
}

/// Logits that BF16 has too.
std::vector<float> random_logits(std::int64_t count, float scale) {
  auto& g = generator();
  std::vector<float> v(static_cast<std::size_t>(count));
  for (float& x : v) {
    float s = 0;
    for (int i = 0; i < 4; ++i) s += static_cast<float>(g() >> 40) * 0x1p-24f - 0.5f;
    x = bf16_to_f32(f32_to_bf16(s * 1.7f * scale));
  }
  return v;
}
std::vector<float> random_noise(std::int64_t count) {
  auto& g = generator();
  std::vector<float> v(static_cast<std::size_t>(count));
  for (float& x : v)
    x = static_cast<float>(-std::log((static_cast<double>(g() >> 12) + 0.5) * 0x1p-52));
  return v;
}

void check_report(const Result& r, std::uint64_t causes, std::int32_t first, std::int64_t row,
                  std::int64_t column) {
  CHECK_EQ(r.status, NVFP4J_ERROR_REPORTED);
  CHECK_EQ(r.record.causes[NVFP4J_OP_SAMPLE], causes);
  CHECK_EQ(r.record.first_op, NVFP4J_OP_SAMPLE);
  CHECK_EQ(r.record.first_cause, first);
  CHECK_EQ(r.record.first_row, row);
  CHECK_EQ(r.record.first_column, column);
}

constexpr std::uint64_t bit(std::int32_t cause) { return std::uint64_t{1} << cause; }

}  // namespace

TEST(philox_has_the_published_answers) {
  const struct {
    PhiloxWords counter;
    PhiloxKey key;
    PhiloxWords words;
  } known[] = {{{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
               {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
               {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                {0xa4093822, 0x299f31d0},
                {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
  for (const auto& k : known) {
    const PhiloxWords r = philox(k.counter, k.key);
    CHECK_EQ(r.x, k.words.x);
    CHECK_EQ(r.y, k.words.y);
    CHECK_EQ(r.z, k.words.z);
    CHECK_EQ(r.w, k.words.w);
  }
}

TEST(noise_is_the_definition_s_for_every_word) {
  // The lowest 9 bits do not count.
  for (std::uint32_t n = 0; n < 1u << 23; ++n) {
    const double exact = (n + 0.5) * 0x1p-23;
    const auto u = static_cast<float>(exact);
    if (!(static_cast<double>(u) == exact && u > 0 && u < 1)) {
      CHECK(false);
      break;
    }
    const float e = -math::log(u);
    const float expected = math::log(e);
    const float got = log_exponential(n << 9 | (n * 37 & 511));
    if (bits_of(got) != bits_of(expected) || !usable_noise(e)) {
      CHECK_EQ(bits_of(got), bits_of(expected));
      break;
    }
  }
}

TEST(keys_have_the_order_of_the_draw) {
  const float values[] = {-kInf, -3e38f, -1, -0x1p-149f, -0.0f, 0.0f, 0x1p-149f, 1, 3e38f, kInf};
  const std::uint32_t columns[] = {0, 1, 5, 0x7ffffffe};
  for (const float a : values) {
    for (const float b : values) {
      for (const std::uint32_t i : columns) {
        for (const std::uint32_t j : columns) {
          if (i == j) continue;
          const bool first = a > b || (a == b && i < j);
          for (const int above : {0, 1, 2, 3}) {
            const SampleKey x = sample_key(ordered_bits(a), i, (above & 1) != 0);
            const SampleKey y = sample_key(ordered_bits(b), j, (above & 2) != 0);
            const SampleKey both = merge_keys(x, y);
            CHECK_EQ(both, merge_keys(y, x));
            CHECK(x != 0);
            CHECK_EQ(is_above(both), above != 0);
            CHECK_EQ(token_of(both), above == 0 ? -1 : static_cast<std::int32_t>(first ? i : j));
            CHECK_EQ(token_of(merge_keys(both, sample_key(kBadRow, 3, true))), -1);
            CHECK_EQ(merge_keys(both, 0), both);
          }
        }
      }
    }
  }
}

TEST(kernels_have_the_same_bits_on_every_instruction_set) {
  constexpr int kCount = kSampleChunk - 3;
  const std::vector<float> logits = random_logits(kCount, 10);
  const std::vector<float> noise = random_noise(kCount);
  std::vector<std::uint16_t> narrow;
  for (const float l : logits) narrow.push_back(f32_to_bf16(l));
  std::vector<std::vector<float>> all;
  for (int isa = 0; isa <= static_cast<int>(cpu_isa()); ++isa) {
    const SampleKernels& k = sample_kernels[isa];
    std::vector<float> wide(kCount), drawn(kCount), given(kCount);
    k.widen(narrow.data(), NVFP4J_DTYPE_BF16, kCount, wide.data());
    k.widen(logits.data(), NVFP4J_DTYPE_F32, kCount, drawn.data());
    CHECK(wide == logits && drawn == logits);
    k.drawn(drawn.data(), {0xFFFFFFFF, 1, 2, 3}, {4, 5}, 0.3f, kCount);
    given = logits;
    k.given(given.data(), noise.data(), 0.3f, kCount);
    all.push_back(drawn);
    all.back().insert(all.back().end(), given.begin(), given.end());
    CHECK(std::memcmp(all.back().data(), all.front().data(), all.front().size() * 4) == 0);
  }
}

TEST(plans_fit_their_device_and_workspace) {
  CHECK(kWorkspaceSampleAt + static_cast<std::int64_t>(sizeof(SampleExchange)) <= kWorkspaceHcAt);
  for (const int multiprocessors : {1, 2, 16, 66, 114, 132, 148, 200, 1000}) {
    for (const std::int64_t columns : {1, 3, 255, 256, 257, 1000, 4099, 129280, 0x7fffffff}) {
      for (const std::int64_t tokens : {1, 2, 3, 7, 64, 255, 256, 257, 1000, 70000, 1 << 30}) {
        const SamplePlan p = plan_sample(device(multiprocessors), tokens, columns);
        const std::int64_t quads = (columns + 3) / 4;
        CHECK(p.threads >= 32 && p.threads <= kSampleThreads && p.threads % 32 == 0);
        CHECK(p.grid_x >= 1 && p.grid_y >= 1 && p.grid_y <= 65535);
        CHECK_EQ(p.kernel == SampleKernel::kWarps, quads <= kSampleWarpQuads);
        if (p.kernel == SampleKernel::kWarps) {
          CHECK_EQ(p.splits, 1);
          CHECK_EQ(p.grid_y, 1);
          continue;
        }
        CHECK_EQ(p.grid_x, p.splits);
        if (p.splits == 1) continue;
        CHECK(tokens <= kSampleSplitRows);
        CHECK_EQ(p.grid_y, tokens);  // a thread block has one row
        CHECK(tokens * p.splits <= kSampleSplitBlocks);
        CHECK(tokens * p.splits <= std::int64_t{kSampleBlocksPerSm} * multiprocessors);
        // None without columns.
        const std::int64_t part = (quads + p.splits - 1) / p.splits;
        CHECK((p.splits - 1) * part < quads);
      }
    }
  }
  // A step of decoding: a group of columns a thread.
  const SamplePlan one = plan_sample(device(132), 1, 129280);
  CHECK_EQ(one.splits, 127);
  CHECK_EQ(plan_sample(device(132), 64, 129280).splits, 8);
  CHECK_EQ(plan_sample(device(132), 257, 129280).splits, 1);
}

TEST(greedy_takes_the_lowest_of_the_largest) {
  for (const std::int32_t threads : {1, 3}) {
    const Context context(threads);
    const auto tokens = [&](std::int64_t columns, const std::vector<float>& logits) {
      const Result r =
          call(context, {static_cast<std::int64_t>(logits.size()) / columns, columns, logits, {}});
      CHECK_EQ(r.status, NVFP4J_OK);
      return r.tokens;
    };
    using Tokens = std::vector<std::int32_t>;
    CHECK(tokens(1, {-5, 0, 3e38f, kInf}) == (Tokens{0, 0, 0, 0}));
    CHECK(tokens(3, {1, 2, 2, 2, 1, 2, -1, -3, -2}) == (Tokens{1, 0, 0}));
    CHECK(tokens(3, {-0.0f, 0.0f, -1, 0.0f, -0.0f, 0, -1, -0.0f, 0}) == (Tokens{0, 0, 1}));
    CHECK(tokens(4, {1, kInf, kInf, 2, -kInf, -3e38f, -kInf, -kInf}) == (Tokens{1, 1}));
    CHECK(tokens(2, {-kInf, kInf, -0x1p-149f, -0x1p-148f}) == (Tokens{1, 0}));
    // Far apart, so that threads have a part each.
    std::vector<float> ties(100000, -1);
    ties[99999] = ties[70001] = ties[33333] = 7;
    CHECK(tokens(100000, ties) == (Tokens{33333}));
    for (const std::int64_t columns : {1, 3, 1000, 1024, 1025, 129280}) {
      Problem p = {columns > 2000 ? 2 : 9, columns, {}, {}};
      p.logits = random_logits(p.tokens * columns, 1);
      p.gap = columns % 3;
      run(context, p);
      p.dtype = NVFP4J_DTYPE_BF16;
      run(context, p);
    }
  }
}

TEST(draws_equal_the_definition) {
  auto& g = generator();
  for (const std::int32_t threads : {1, 3}) {
    const Context context(threads);
    for (const std::int64_t columns : {1, 2, 3, 5, 1000, 1025, 5003}) {
      for (const float temperature : {1.0f, 0.6f, 30.0f, 1e-30f, 1e-5f, 0x1p-149f, 3e38f}) {
        for (const bool given : {false, true}) {
          Problem p = {columns > 2000 ? 2 : 7, columns, {}, {}, temperature, g(), g()};
          p.logits = random_logits(p.tokens * columns, 3);
          if (given) p.noise = random_noise(p.tokens * columns);
          p.gap = static_cast<std::int64_t>(g() % 3);
          p.dtype = g() % 2 == 0 ? NVFP4J_DTYPE_F32 : NVFP4J_DTYPE_BF16;
          p.has_more = g() % 2 == 0;
          p.more = static_cast<std::int64_t>(g());
          run(context, p);
        }
      }
    }
  }
}

TEST(the_offset_tensor_is_added) {
  const Context context;
  Problem p = {50, 300, random_logits(50 * 300, 1), {}, 1.0f, 77, 1000};
  const std::vector<std::int32_t> plain = call(context, p).tokens;
  p.has_more = true;
  p.more = 0;
  CHECK(call(context, p).tokens == plain);
  p.more = -400;
  p.offset = 1400;
  CHECK(call(context, p).tokens == plain);
  p.offset = std::numeric_limits<std::uint64_t>::max();
  p.more = 1001;
  CHECK(call(context, p).tokens == plain);
  p.more = 1002;
  CHECK(call(context, p).tokens != plain);
  p.more = 1001;
  p.seed = 78;
  CHECK(call(context, p).tokens != plain);
  // At temperature 0 nothing is drawn.
  p.temperature = 0;
  const std::vector<std::int32_t> greedy = call(context, p).tokens;
  p.seed = 5;
  p.more = 9;
  CHECK(call(context, p).tokens == greedy);
}

TEST(infinities_and_denormals_are_ordinary) {
  const Context context(2);
  for (const float temperature : {0.0f, 1e-30f, 1.0f, 3e38f}) {
    Problem p = {6,
                 4,
                 {0,     -kInf, kInf,  1,         -kInf,   -kInf,  -kInf,  -3e38f,
                  kInf,  kInf,  kInf,  kInf,      -kInf,   -3e38f, -3e38f, -3e38f,
                  -0.0f, 0.0f,  -0.0f, 0x1p-149f, -1e-45f, -kInf,  -kInf,  -kInf},
                 {},
                 temperature,
                 5,
                 6};
    run(context, p);
    p.noise = random_noise(24);
    p.noise[3] = 0x1p-149f;
    p.noise[9] = 3e38f;
    run(context, p);
  }
  // Divided, both are -infinity, and the lower column is taken, whatever its logit was.
  const Problem p = {1, 2, {-kInf, -3e38f}, {}, 1e-5f};
  CHECK_EQ(call(context, p).tokens[0], 0);
}

TEST(rows_without_a_token_are_reported) {
  for (const std::int32_t threads : {1, 3}) {
    const Context context(threads);
    for (const float temperature : {0.0f, 0.7f}) {
      for (const std::int64_t columns : {1, 5, 5003}) {
        for (const std::int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}) {
          const auto at = [&](std::int64_t row, std::int64_t column) {
            return static_cast<std::size_t>(row * columns + column);
          };
          Problem good = {4, columns, random_logits(4 * columns, 1), {}, temperature, 1, 2};
          good.dtype = dtype;
          const std::vector<std::int32_t> clean = call(context, good).tokens;
          const std::int64_t last = columns - 1;
          for (const float nan : {kNaN, -kNaN}) {
            Problem p = good;
            p.logits[at(2, last)] = nan;
            p.logits[at(2, last / 2)] = nan;
            const Result r = call(context, p);
            check_report(r, bit(NVFP4J_CAUSE_NON_FINITE_INPUT), NVFP4J_CAUSE_NON_FINITE_INPUT, 2,
                         last / 2);
            for (std::size_t t = 0; t < 4; ++t) CHECK_EQ(r.tokens[t], t == 2 ? -1 : clean[t]);
          }
          Problem p = good;
          for (std::int64_t i = 0; i < columns; ++i) p.logits[at(1, i)] = -kInf;
          Result r = call(context, p);
          check_report(r, bit(NVFP4J_CAUSE_NON_FINITE_RESULT), NVFP4J_CAUSE_NON_FINITE_RESULT, 1,
                       -1);
          for (std::size_t t = 0; t < 4; ++t) CHECK_EQ(r.tokens[t], t == 1 ? -1 : clean[t]);
          // With a NaN among them, they are not all -infinity.
          p.logits[at(1, last)] = kNaN;
          r = call(context, p);
          check_report(r, bit(NVFP4J_CAUSE_NON_FINITE_INPUT), NVFP4J_CAUSE_NON_FINITE_INPUT, 1,
                       last);
          CHECK_EQ(r.tokens[1], -1);
          // Finite logits whose quotients are all -infinity have a token.
          p = good;
          p.temperature = temperature == 0 ? 0 : 1e-30f;
          for (std::int64_t i = 0; i < columns; ++i) p.logits[at(3, i)] = -0x1p127f;
          r = call(context, p);
          CHECK_EQ(r.status, NVFP4J_OK);
          CHECK_EQ(r.tokens[3], 0);
        }
      }
    }
  }
}

TEST(noise_that_is_not_usable_is_reported) {
  const Context context(2);
  for (const std::int64_t columns : {1, 6, 5003}) {
    for (const float bad : {0.0f, -0.0f, -1.0f, -0x1p-149f, kInf, -kInf, kNaN, -kNaN}) {
      Problem p = {3, columns, random_logits(3 * columns, 1), random_noise(3 * columns), 1.0f};
      const std::vector<std::int32_t> clean = call(context, p).tokens;
      const std::int64_t column = columns / 2;
      p.noise[static_cast<std::size_t>(columns + column)] = bad;
      // Where the logit is -infinity too.
      if (columns > 1) p.logits[static_cast<std::size_t>(columns + column)] = -kInf;
      Result r = call(context, p);
      check_report(r, bit(NVFP4J_CAUSE_BAD_NOISE), NVFP4J_CAUSE_BAD_NOISE, 1, column);
      CHECK_EQ(r.tokens[0], clean[0]);
      CHECK_EQ(r.tokens[1], -1);
      CHECK_EQ(r.tokens[2], clean[2]);
      // Each fault of a row is reported.
      p.logits[static_cast<std::size_t>(columns)] = kNaN;
      r = call(context, p);
      check_report(r, bit(NVFP4J_CAUSE_BAD_NOISE) | bit(NVFP4J_CAUSE_NON_FINITE_INPUT),
                   NVFP4J_CAUSE_NON_FINITE_INPUT, 1, 0);
      // Nobody reads it at temperature 0.
      p.temperature = 0;
      p.logits[static_cast<std::size_t>(columns)] = 0;
      r = call(context, p);
      CHECK_EQ(r.status, NVFP4J_OK);
    }
  }
}

TEST(tokens_do_not_depend_on_the_number_of_threads) {
  const Problem p = {3, 40000, random_logits(3 * 40000, 2), {}, 0.8f, 11, 12};
  const Context one(1);
  const std::vector<std::int32_t> expected = call(one, p).tokens;
  for (const std::int32_t threads : {2, 3, 7, 20}) {
    const Context other(threads);
    CHECK(call(other, p).tokens == expected);
  }
}

TEST(no_rows_are_no_work) {
  const Context context;
  const Result r = call(context, {0, 7, {}, {}, 1.0f});
  CHECK_EQ(r.status, NVFP4J_OK);
}

// ---- what is refused -------------------------------------------------------------------------------------------------

namespace {

struct Call {
  Call() {
    for (const Bytes* b : {&logits, &noise, &offset})
      std::memset(b->data(), 0, static_cast<std::size_t>(b->size()));
  }
  Outcome run() {
    return outcome([&](nvfp4j_error* error) {
      return nvfp4j_sample(context, &logits_t, &noise_t, &offset_t, &options, &tokens_t, error);
    });
  }
  Context context;
  Bytes logits{3 * 20 * 4}, noise{3 * 20 * 4}, offset{8}, tokens{3 * 4};
  nvfp4j_tensor logits_t = tensor(logits.data(), NVFP4J_DTYPE_F32, {3, 20});
  nvfp4j_tensor noise_t = tensor(noise.data(), NVFP4J_DTYPE_F32, {3, 20});
  nvfp4j_tensor offset_t = tensor(offset.data(), NVFP4J_DTYPE_I64, {1});
  nvfp4j_tensor tokens_t = tensor(tokens.data(), NVFP4J_DTYPE_I32, {3});
  nvfp4j_sample_options options{sizeof(nvfp4j_sample_options), 0.5f, 1, 2};
};

bool nothing_written(const Call& c) {
  for (std::int64_t i = 0; i < c.tokens.size(); ++i) {
    if (c.tokens[i] != 0xA5) return false;
  }
  return true;
}

void refused(const std::string& sentence, const std::function<void(Call&)>& spoil) {
  Call c;
  spoil(c);
  const Outcome said = c.run();
  check::equal(__FILE__, __LINE__, sentence.c_str(), said.message, "sample: " + sentence);
  CHECK_EQ(said.status, kInvalid);
  CHECK(nothing_written(c));
}

void refused_overlap(const std::string& other, const std::function<void(Call&)>& spoil) {
  Call c;
  spoil(c);
  const Outcome said = c.run();
  CHECK_EQ(said.status, kInvalid);
  CHECK_EQ(said.message.rfind("sample: tokens (", 0), std::size_t{0});
  CHECK(said.message.find("overlaps " + other + " (") != std::string::npos);
}

}  // namespace

TEST(wrong_arguments_are_refused_by_name) {
  struct Argument {
    std::string name;
    nvfp4j_tensor Call::* tensor;
    std::string dtypes;
  };
  const Argument all[] = {{"logits", &Call::logits_t, "F32 or BF16"},
                          {"noise", &Call::noise_t, "F32"},
                          {"offset", &Call::offset_t, "I64"},
                          {"tokens", &Call::tokens_t, "I32"}};
  for (const Argument& a : all) {
    refused(a.name + ".struct_size is 7, expected " + std::to_string(sizeof(nvfp4j_tensor)) +
                " (ABI version " NVFP4J_ABI_TEXT ")",
            [&](Call& c) { (c.*a.tensor).struct_size = 7; });
    refused(a.name + " has dtype U8, expected " + a.dtypes,
            [&](Call& c) { (c.*a.tensor).dtype = NVFP4J_DTYPE_U8; });
    refused(a.name + " is in DEVICE memory, expected HOST or PINNED (the context's device is cpu)",
            [&](Call& c) { (c.*a.tensor).memory = NVFP4J_MEMORY_DEVICE; });
    refused(a.name + ".shape[0] is -1, expected 0 or more",
            [&](Call& c) { (c.*a.tensor).shape[0] = -1; });
  }
  for (const Argument& a : {all[0], all[1]}) {
    refused(a.name + " has column stride 2 (shape [3, 20]), expected 1",
            [&](Call& c) { (c.*a.tensor).stride[1] = 2; });
    refused(a.name + " has row stride 19 (shape [3, 20]), expected 20 or more",
            [&](Call& c) { (c.*a.tensor).stride[0] = 19; });
  }
  refused("offset has dtype I32, expected I64",
          [](Call& c) { c.offset_t.dtype = NVFP4J_DTYPE_I32; });
  refused("tokens has dtype I64, expected I32",
          [](Call& c) { c.tokens_t.dtype = NVFP4J_DTYPE_I64; });
  refused("logits has 0 columns, expected 1 to 2147483647",
          [](Call& c) { c.logits_t.shape[1] = 0; });
  refused("logits has 2147483648 columns, expected 1 to 2147483647", [](Call& c) {
    c.logits_t.shape[0] = 1;
    c.logits_t.shape[1] = std::int64_t{1} << 31;
  });
  refused("noise has shape [3, 19], expected [3, 20] (the shape of logits)",
          [](Call& c) { c.noise_t.shape[1] = 19; });
  refused("noise has shape [2, 20], expected [3, 20] (the shape of logits)",
          [](Call& c) { c.noise_t.shape[0] = 2; });
  refused("tokens has 2 elements, expected 3 (one per row of logits)",
          [](Call& c) { c.tokens_t.shape[0] = 2; });
  refused("tokens has stride 2 (shape [3]), expected 1: it must be contiguous",
          [](Call& c) { c.tokens_t.stride[0] = 2; });
  refused("offset has 2 elements, expected 1 (a scalar)", [](Call& c) { c.offset_t.shape[0] = 2; });
  refused("options.struct_size is 8, expected 24 (ABI version " NVFP4J_ABI_TEXT ")",
          [](Call& c) { c.options.struct_size = 8; });
  for (const auto& [temperature, text] :
       {std::pair<float, const char*>{-1.0f, "-1"}, {kInf, "inf"}, {-kInf, "-inf"}, {kNaN, "nan"}})
    refused(std::string("options.temperature is ") + text + ", expected 0 or more, and finite",
            [t = temperature](Call& c) { c.options.temperature = t; });
  for (const Argument& a : {all[0], all[1], all[2]})
    refused_overlap(a.name, [&](Call& c) { c.tokens_t.data = (c.*a.tensor).data; });
  refused_overlap("logits", [](Call& c) { c.tokens_t.data = c.logits.data() + 3 * 20 * 4 - 4; });
  Call c;
  CHECK_FAILS(nvfp4j_sample(c.context, nullptr, nullptr, nullptr, &c.options, &c.tokens_t, error),
              kInvalid, "sample: logits is NULL, expected a structure");
  CHECK_FAILS(nvfp4j_sample(c.context, &c.logits_t, nullptr, nullptr, nullptr, &c.tokens_t, error),
              kInvalid, "sample: options is NULL, expected a structure");
  CHECK_FAILS(nvfp4j_sample(c.context, &c.logits_t, nullptr, nullptr, &c.options, nullptr, error),
              kInvalid, "sample: tokens is NULL, expected a structure");
  CHECK_FAILS(nvfp4j_sample(nullptr, &c.logits_t, nullptr, nullptr, &c.options, &c.tokens_t, error),
              kInvalid, "sample: context is NULL, expected a context");
  // -0 is 0.
  c.options.temperature = -0.0f;
  CHECK_EQ(c.run().message, "");
}

int main(int count, char** arguments) { return check::main(count, arguments); }
