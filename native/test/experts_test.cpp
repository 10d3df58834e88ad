// SPDX-License-Identifier: Apache-2.0
// expert_dispatch and expert_combine on the CPU device, and the grids that they choose on a GPU.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/float_formats.hpp"
#include "fixture.hpp"
#include "ops/expert_combine/expert_combine_kernels.hpp"
#include "ops/expert_combine/expert_combine_plan.hpp"
#include "ops/expert_dispatch/expert_dispatch_plan.hpp"

using namespace fixture;

namespace {

using Ids = std::vector<std::int32_t>;

constexpr std::int32_t kGap = 0x7A7A7A7A;  // between rows

std::int64_t below(std::int64_t end) {
  return static_cast<std::int64_t>(generator()() % static_cast<std::uint64_t>(end));
}

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

struct Dispatched {
  Ids offsets, rows, positions;
  std::vector<float> row_weights;
};

/// By sorting.
Dispatched sorted(const Ids& ids, const std::vector<float>& weights, int k, int experts) {
  Ids order(ids.size());
  std::iota(order.begin(), order.end(), 0);
  const auto good = [&](std::int32_t n) { return ids[at(n)] >= 0 && ids[at(n)] < experts; };
  std::erase_if(order, [&](std::int32_t n) { return !good(n); });
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int32_t a, std::int32_t b) { return ids[at(a)] < ids[at(b)]; });
  Dispatched d;
  d.rows.assign(ids.size(), -1);
  d.positions.assign(ids.size(), -1);
  d.row_weights.assign(ids.size(), 0.0f);
  for (std::size_t place = 0; place < order.size(); ++place) {
    d.rows[place] = order[place] / k;
    d.positions[at(order[place])] = static_cast<std::int32_t>(place);
    d.row_weights[place] = weights[at(order[place])];
  }
  for (int e = 0; e <= experts; ++e) {
    d.offsets.push_back(static_cast<std::int32_t>(
        std::count_if(order.begin(), order.end(), [&](std::int32_t n) { return ids[at(n)] < e; })));
  }
  return d;
}

/// `gap` elements behind each row of [tokens, k].
template <class T>
std::vector<T> spread(const std::vector<T>& values, int k, int gap, T between) {
  std::vector<T> all(values.size() / at(k) * at(k + gap), between);
  for (std::size_t i = 0; i < values.size(); ++i)
    all[i / at(k) * at(k + gap) + i % at(k)] = values[i];
  return all;
}

template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

void dispatch(const Context& context, const Ids& ids, int k, int experts, int gap = 0,
              bool weighted = true) {
  const auto tokens = static_cast<std::int64_t>(ids.size()) / k;
  std::vector<float> weights;
  for (std::size_t i = 0; i < ids.size(); ++i) weights.push_back(static_cast<float>(i) + 0.5f);
  const Dispatched expected = sorted(ids, weights, k, experts);
  Ids given = spread(ids, k, gap, kGap);
  std::vector<float> given_weights = spread(weights, k, gap, NAN);
  Ids offsets(at(experts + 1), kGap), rows(ids.size(), kGap), positions(given.size(), kGap);
  std::vector<float> row_weights(ids.size(), NAN);
  const nvfp4j_tensor i = matrix(given.data(), NVFP4J_DTYPE_I32, tokens, k, k + gap);
  const nvfp4j_tensor w = matrix(given_weights.data(), NVFP4J_DTYPE_F32, tokens, k, k + gap);
  const nvfp4j_tensor o = tensor(offsets.data(), NVFP4J_DTYPE_I32, {experts + 1});
  const nvfp4j_tensor r =
      tensor(rows.data(), NVFP4J_DTYPE_I32, {static_cast<std::int64_t>(rows.size())});
  const nvfp4j_tensor p = matrix(positions.data(), NVFP4J_DTYPE_I32, tokens, k, k + gap);
  const nvfp4j_tensor q = tensor(row_weights.data(), NVFP4J_DTYPE_F32, {r.shape[0]});
  CHECK_OK(nvfp4j_expert_dispatch(context, &i, weighted ? &w : nullptr, &o, &r, &p,
                                  weighted ? &q : nullptr, error));
  CHECK(same(offsets, expected.offsets));
  CHECK(same(rows, expected.rows));
  CHECK(same(positions, spread(expected.positions, k, gap, kGap)));
  CHECK(!weighted || same(row_weights, expected.row_weights));

  const auto bad = std::find_if(ids.begin(), ids.end(),
                                [&](std::int32_t id) { return id < 0 || id >= experts; });
  nvfp4j_status_record record = status_record();
  const std::int32_t status = nvfp4j_context_synchronize(context, &record, nullptr);
  if (bad == ids.end()) {
    CHECK_EQ(status, NVFP4J_OK);
  } else {
    CHECK_EQ(status, NVFP4J_ERROR_REPORTED);
    CHECK_EQ(record.first_op, NVFP4J_OP_EXPERT_DISPATCH);
    CHECK_EQ(record.first_cause, NVFP4J_CAUSE_INDEX_OUT_OF_RANGE);
    CHECK_EQ(record.first_row, (bad - ids.begin()) / k);
    CHECK_EQ(record.first_column, (bad - ids.begin()) % k);
  }
}

Ids random_ids(std::int64_t count, int experts) {
  Ids ids;
  for (std::int64_t i = 0; i < count; ++i) ids.push_back(static_cast<std::int32_t>(below(experts)));
  return ids;
}

// ---- combine ---------------------------------------------------------------------------------------------------------

float value(const void* data, std::int32_t dtype, std::int64_t i) {
  return dtype == NVFP4J_DTYPE_F32
             ? static_cast<const float*>(data)[i]
             : nvfp4j::bf16_to_f32(static_cast<const std::uint16_t*>(data)[i]);
}

struct CombineCase {
  std::int32_t dtype, out_dtype;
  std::int64_t tokens, columns, rows;
  int k;
  int gap;
  bool weighted, shared, in_place;
};

void combine(const Context& context, const CombineCase& c, bool faulty = false) {
  const std::int64_t stride = c.columns + c.gap;
  const std::int64_t out_stride = c.in_place ? stride : stride + c.gap;
  const auto random = [&](std::int32_t dtype, std::int64_t elements) {
    Bytes bytes(elements * element_bytes(dtype));
    for (std::int64_t i = 0; i < elements; ++i) {
      // Wide enough that the order of the sums shows; a NaN with a sign and an infinity among them.
      const std::int64_t pick = below(200);
      const float v = pick == 0   ? nvfp4j::float_of(0xFFC12345)
                      : pick == 1 ? INFINITY
                                  : std::ldexp(static_cast<float>(below(2001) - 1000),
                                               static_cast<int>(below(12)) - 6);
      if (dtype == NVFP4J_DTYPE_F32) {
        std::memcpy(bytes.data() + 4 * i, &v, 4);
      } else {
        const std::uint32_t b = nvfp4j::bits_of(v);
        const auto h = static_cast<std::uint16_t>(b >> 16);
        std::memcpy(bytes.data() + 2 * i, &h, 2);
      }
    }
    return bytes;
  };
  const Bytes y = random(c.dtype, std::max<std::int64_t>(c.rows * stride, 1));
  const Bytes shared = random(c.dtype, c.tokens * stride);
  std::vector<float> weights;
  Ids positions;
  std::int64_t first_bad = -1;
  for (std::int64_t i = 0; i < c.tokens * c.k; ++i) {
    weights.push_back(static_cast<float>(below(1000)) * 0.013f - 5.0f);
    std::int32_t p = c.rows == 0 || below(9) == 0 ? -1 : static_cast<std::int32_t>(below(c.rows));
    if (p == -1) weights.back() = NAN;  // its weight has no part in it
    if (faulty && below(5) == 0) {
      const std::int32_t wrong[] = {-2, INT32_MIN, INT32_MAX, static_cast<std::int32_t>(c.rows)};
      p = wrong[below(4)];
      if (first_bad < 0) first_bad = i;
    }
    positions.push_back(p);
  }
  Ids spread_positions = spread(positions, c.k, 3, std::int32_t{0});
  std::vector<float> spread_weights = spread(weights, c.k, 2, 1.0f);
  Bytes out(c.tokens * out_stride * element_bytes(c.out_dtype));
  Bytes expected(out.size());
  if (c.in_place) {
    std::memcpy(out.data(), shared.data(), at(out.size()));
    std::memcpy(expected.data(), shared.data(), at(out.size()));
  }
  for (std::int64_t t = 0; t < c.tokens; ++t) {
    for (std::int64_t d = 0; d < c.columns; ++d) {
      float sum = 0.0f;
      for (int j = 0; j < c.k; ++j) {
        const std::int64_t p = positions[at(t * c.k + j)];
        if (p < 0 || p >= c.rows) continue;
        const float v = value(y.data(), c.dtype, p * stride + d);
        sum = c.weighted ? std::fma(weights[at(t * c.k + j)], v, sum) : sum + v;
      }
      if (c.shared) sum = sum + value(shared.data(), c.dtype, t * stride + d);
      const std::int64_t i = t * out_stride + d;
      if (c.out_dtype == NVFP4J_DTYPE_F32) {
        const std::uint32_t b = std::isnan(sum) ? 0x7FC00000u : nvfp4j::bits_of(sum);
        std::memcpy(expected.data() + 4 * i, &b, 4);
      } else {
        const std::uint16_t h = nvfp4j::f32_to_bf16(sum);
        std::memcpy(expected.data() + 2 * i, &h, 2);
      }
    }
  }
  const nvfp4j_tensor y_t = matrix(y.data(), c.dtype, c.rows, c.columns, stride);
  const nvfp4j_tensor p_t =
      matrix(spread_positions.data(), NVFP4J_DTYPE_I32, c.tokens, c.k, c.k + 3);
  const nvfp4j_tensor w_t = matrix(spread_weights.data(), NVFP4J_DTYPE_F32, c.tokens, c.k, c.k + 2);
  const nvfp4j_tensor s_t = matrix(c.in_place ? out.data() : shared.data(), c.dtype, c.tokens,
                                   c.columns, c.in_place ? out_stride : stride);
  const nvfp4j_tensor o_t = matrix(out.data(), c.out_dtype, c.tokens, c.columns, out_stride);
  CHECK_OK(nvfp4j_expert_combine(context, &y_t, &p_t, c.weighted ? &w_t : nullptr,
                                 c.shared ? &s_t : nullptr, &o_t, error));
  CHECK(out == expected);
  nvfp4j_status_record record = status_record();
  const std::int32_t status = nvfp4j_context_synchronize(context, &record, nullptr);
  if (first_bad < 0) {
    CHECK_EQ(status, NVFP4J_OK);
  } else {
    CHECK_EQ(record.first_op, NVFP4J_OP_EXPERT_COMBINE);
    CHECK_EQ(record.first_cause, NVFP4J_CAUSE_INDEX_OUT_OF_RANGE);
    CHECK_EQ(record.first_row, first_bad / c.k);
    CHECK_EQ(record.first_column, first_bad % c.k);
  }
}

constexpr nvfp4j::CudaDeviceProperties kH200 = {0, 9, 0, 132, 232448, 233472, 50 << 20, 1, 1};
constexpr nvfp4j::CudaDeviceProperties kSmall = {0, 8, 6, 1, 101376, 102400, 1 << 20, 1, 0};

}  // namespace

TEST(dispatch_equals_a_stable_sort) {
  for (const std::int32_t threads : {1, 3}) {
    const Context context(threads);
    for (int k = 1; k <= 16; ++k) {
      for (const int experts : {1, 2, 8, 257, 1024}) {
        for (const std::int64_t tokens : {0, 1, 2, 7, 100})
          dispatch(context, random_ids(tokens * k, experts), k, experts, k % 3);
      }
    }
    dispatch(context, random_ids(10923 * 6, 256), 6, 256);
    dispatch(context, random_ids(10923 * 6, 1024), 6, 1024, 2, false);
  }
}

TEST(dispatch_of_special_choices) {
  for (const std::int32_t threads : {1, 2}) {
    const Context context(threads);
    dispatch(context, Ids(60000, 5), 6, 256);  // one expert has all
    Ids each(1024);
    std::iota(each.rbegin(), each.rend(), 0);  // each once, backwards
    dispatch(context, each, 8, 1024);
    Ids few(600, 3);
    for (std::size_t i = 0; i < few.size(); i += 7) few[i] = 60;  // all others have none
    dispatch(context, few, 6, 64);
    dispatch(context, {}, 6, 384);
  }
}

TEST(dispatch_leaves_out_and_reports_what_is_no_expert) {
  for (const std::int32_t threads : {1, 3}) {
    const Context context(threads);
    for (const std::int32_t wrong : {-1, 64, INT32_MIN, INT32_MAX}) {
      for (const std::int64_t where : {0, 37, 599}) {
        Ids ids = random_ids(600, 64);
        ids[at(where)] = wrong;
        dispatch(context, ids, 6, 64, 1);
      }
      dispatch(context, Ids(50000, wrong), 5, 64);
    }
    Ids ids = random_ids(50000, 100);
    for (std::int32_t& id : ids) id -= 20;  // a part of them
    dispatch(context, ids, 10, 64);
  }
}

TEST(dispatch_takes_ids_and_weights_of_one_matrix) {
  // Choices, positions: columns of one [tokens, 2k] matrix.
  const Context context;
  Ids both(2 * 2 * 3, kGap);
  const Ids ids = {2, 0, 1, 0, 2, 1};
  for (std::size_t i = 0; i < 6; ++i) both[i / 3 * 6 + i % 3] = ids[i];
  Ids offsets(4), rows(6);
  const nvfp4j_tensor i = matrix(both.data(), NVFP4J_DTYPE_I32, 2, 3, 6);
  const nvfp4j_tensor p = matrix(both.data() + 3, NVFP4J_DTYPE_I32, 2, 3, 6);
  const nvfp4j_tensor o = tensor(offsets.data(), NVFP4J_DTYPE_I32, {4});
  const nvfp4j_tensor r = tensor(rows.data(), NVFP4J_DTYPE_I32, {6});
  CHECK_OK(nvfp4j_expert_dispatch(context, &i, nullptr, &o, &r, &p, nullptr, error));
  CHECK(same(both, Ids{2, 0, 1, 4, 0, 2, 0, 2, 1, 1, 5, 3}));
  CHECK(same(offsets, Ids{0, 2, 4, 6}));
  CHECK(same(rows, Ids{0, 1, 0, 1, 0, 1}));
}

TEST(combine_equals_the_definition) {
  for (const std::int32_t threads : {1, 3}) {
    const Context context(threads);
    for (const std::int32_t dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
      for (const std::int32_t out : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
        for (int bits = 0; bits < 4; ++bits) {
          const bool weighted = (bits & 1) != 0, shared = (bits & 2) != 0;
          for (int k = 1; k <= 16; k += k < 3 ? 1 : 5) {
            for (const std::int64_t columns : {1, 8, 63, 1040}) {
              combine(context, {dtype, out, 5, columns, 11, k, k % 3, weighted, shared, false});
              if (shared && dtype == out)
                combine(context, {dtype, out, 5, columns, 11, k, k % 2, weighted, true, true});
            }
          }
          combine(context, {dtype, out, 3, 9000, 20, 6, 0, weighted, shared, false});
          combine(context, {dtype, out, 300, 70, 1000, 6, 2, weighted, shared, false}, true);
          combine(context, {dtype, out, 4, 24, 0, 3, 0, weighted, shared, false});
          combine(context, {dtype, out, 0, 24, 5, 3, 0, weighted, shared, false});
          combine(context, {dtype, out, 4, 0, 5, 3, 1, weighted, shared, false});
        }
      }
    }
  }
}

TEST(combine_starts_from_plus_zero) {
  const Context context;
  const std::vector<float> y = {-0.0f, 0x1p-149f};
  const Ids positions = {0};
  std::vector<float> out(2);
  float weight = -0x1p-149f;
  const nvfp4j_tensor y_t = tensor(const_cast<float*>(y.data()), NVFP4J_DTYPE_F32, {1, 2});
  const nvfp4j_tensor p =
      tensor(const_cast<std::int32_t*>(positions.data()), NVFP4J_DTYPE_I32, {1, 1});
  const nvfp4j_tensor w = tensor(&weight, NVFP4J_DTYPE_F32, {1, 1});
  const nvfp4j_tensor o = tensor(out.data(), NVFP4J_DTYPE_F32, {1, 2});
  CHECK_OK(nvfp4j_expert_combine(context, &y_t, &p, nullptr, nullptr, &o, error));
  CHECK_EQ(nvfp4j::bits_of(out[0]), 0u);
  CHECK_EQ(out[1], 0x1p-149f);
  // A negative product that is too small for F32.
  CHECK_OK(nvfp4j_expert_combine(context, &y_t, &p, &w, nullptr, &o, error));
  CHECK_EQ(nvfp4j::bits_of(out[0]), 0u);
  CHECK_EQ(nvfp4j::bits_of(out[1]), 0x80000000u);
}

TEST(combine_kernels_have_the_same_bits_on_every_instruction_set) {
  std::vector<float> y, results[3];
  for (int i = 0; i < 7 * 1000; ++i)
    y.push_back(std::ldexp(static_cast<float>(below(4001) - 2000), -3));
  y[123] = NAN;
  const Ids positions = {3, -1, 6, 0, 9};
  const std::vector<float> weights = {0.3f, 1.0f, -2.7f, 1.1f, 4.0f};
  for (int isa = 0; isa <= static_cast<int>(nvfp4j::cpu_isa()); ++isa) {
    std::vector<float>& out = results[isa];
    for (const bool weighted : {false, true}) {
      for (const std::int64_t count : {1, 8, 511, 1000}) {
        out.resize(out.size() + 1000, 0.0f);
        nvfp4j::expert_combine_kernels[isa](
            {y.data(), NVFP4J_DTYPE_F32, 1000, 7, positions.data(), 5,
             weighted ? weights.data() : nullptr, 5, y.data() + 1000, 1000,
             out.data() + out.size() - 1000, NVFP4J_DTYPE_F32, 1000, 1, 1000, 5},
            0, 0, count);
      }
    }
    CHECK(same(out, results[0]));
  }
}

TEST(plans_of_dispatch) {
  for (const nvfp4j::CudaDeviceProperties& device : {kH200, kSmall}) {
    for (const int experts : {1, 8, 31, 256, 384, 512, 1000, 1024}) {
      for (const std::int64_t choices :
           {std::int64_t{0}, std::int64_t{32}, std::int64_t{33}, std::int64_t{96},
            std::int64_t{1024}, std::int64_t{1025}, std::int64_t{65536}, std::int64_t{1000003},
            std::int64_t{INT32_MAX}}) {
        const nvfp4j::ExpertDispatchPlan p = nvfp4j::plan_expert_dispatch(device, choices, experts);
        CHECK_EQ(p.few, choices <= 32);
        CHECK(p.threads >= 32 && p.threads <= 1024 && p.threads % 32 == 0);
        CHECK(p.grid >= 1 && p.grid <= device.sm_count);
        if (p.few) continue;
        CHECK(p.threads >= experts);
        CHECK(p.parts >= 1 && p.parts <= p.threads / 32);
        CHECK_EQ(p.part % 32, 0u);
        CHECK_EQ(p.chunk % 32, 0u);
        // All choices have a place, and no thread block is without.
        CHECK(std::int64_t{p.chunk} * p.grid >= choices);
        CHECK(std::int64_t{p.chunk} * (p.grid - 1) < choices);
        CHECK(std::int64_t{p.part} * p.parts >= p.chunk);
        CHECK(std::int64_t{p.part} * (p.parts - 1) < p.chunk);
        CHECK(p.shared_bytes <= 48 << 10);
        CHECK(p.shared_bytes >= 4 * ((p.parts + 2) * experts + 32));
      }
    }
  }
  const nvfp4j::ExpertDispatchPlan many = nvfp4j::plan_expert_dispatch(kH200, 65536, 256);
  CHECK_EQ(many.grid, 64);
  CHECK_EQ(many.parts, 32);
  CHECK_EQ(many.part, 32u);
}

TEST(plans_of_combine) {
  for (const bool packets : {false, true}) {
    for (const int bytes : {2, 4}) {
      for (const std::int64_t columns : {std::int64_t{8}, std::int64_t{64}, std::int64_t{7168},
                                         std::int64_t{7176}, std::int64_t{1} << 30}) {
        for (const std::int64_t tokens : {std::int64_t{1}, std::int64_t{3}, std::int64_t{16},
                                          std::int64_t{8192}, std::int64_t{1} << 40}) {
          const nvfp4j::ExpertCombinePlan p =
              nvfp4j::plan_expert_combine(132, tokens, columns, bytes, packets);
          const std::int64_t lanes = std::int64_t{1} << p.lanes_log2;
          CHECK_EQ(p.pieces, packets ? columns * bytes / 16 : columns);
          CHECK(p.threads == 32 || p.threads == 64 || p.threads == 128);
          CHECK(lanes >= 8 && lanes <= p.threads);
          CHECK(p.threads / lanes <= nvfp4j::kCombineTokens);
          CHECK(p.chunks * lanes >= p.pieces);
          CHECK((p.chunks - 1) * lanes < p.pieces);
          CHECK(p.grid >= 1 && p.grid <= 0x7fffffff);
          CHECK_EQ(p.grid % p.chunks, 0);
          if (p.grid < (0x7fffffff / p.chunks) * p.chunks)
            CHECK(p.grid / p.chunks * (p.threads / lanes) >= tokens);
        }
      }
    }
  }
  // One token spreads over as many thread blocks as it has warps.
  CHECK_EQ(nvfp4j::plan_expert_combine(132, 1, 7168, 2, true).grid, 28);
  CHECK_EQ(nvfp4j::plan_expert_combine(132, 8192, 7168, 2, true).grid, 7 * 8192);
}

int main(int count, char** arguments) { return check::main(count, arguments); }
