// SPDX-License-Identifier: Apache-2.0
// expert_combine on the GPU: every kernel and plan, bit for bit against scalar host code.
#include <set>

#include "ops/expert_combine/expert_combine_cuda.hpp"
#include "ops/expert_combine/expert_combine_plan.hpp"
#include "strided.cuh"

namespace nvfp4j::test {
namespace {

constexpr std::int32_t kBf16 = NVFP4J_DTYPE_BF16;
constexpr std::int32_t kF32 = NVFP4J_DTYPE_F32;

struct Case {
  std::int64_t tokens;
  std::int64_t columns;
  int k;
  int dtype = kBf16;
  int out_dtype = kBf16;
  std::int64_t rows = -1;  // -1: tokens * k
  std::int64_t gap = 0;    // elements, behind the rows of all
  int misalign = 0;        // elements, of all but positions and weights
  bool weighted = true;
  bool shared = true;
  bool in_place = false;
  bool bad_positions = false;
};

std::string name_of(const Case& c) {
  char text[200];
  std::snprintf(text, sizeof text,
                "combine [%lld, %lld] k %d dtypes %d %d rows %lld gap %lld misalign %d%s%s%s%s",
                static_cast<long long>(c.tokens), static_cast<long long>(c.columns), c.k, c.dtype,
                c.out_dtype, static_cast<long long>(c.rows), static_cast<long long>(c.gap),
                c.misalign, c.weighted ? " weights" : "", c.shared ? " shared" : "",
                c.in_place ? " in place" : "", c.bad_positions ? " bad positions" : "");
  return text;
}

// Of the plans that were launched.
std::set<std::string> reached;

void note_plan(const Gpu& gpu, const ExpertCombineArgs& args) {
  const int bytes = element_bytes(args.dtype);
  const auto aligned = [](const void* p, std::int64_t rows, std::int64_t stride) {
    return aligned16(p, rows > 1 ? stride : 0);
  };
  const bool packets =
      args.columns * bytes % 16 == 0 && aligned(args.y, args.rows, args.y_stride * bytes) &&
      aligned(args.shared, args.tokens, args.shared_stride * bytes) &&
      aligned(args.out, args.tokens, args.out_stride * element_bytes(args.out_dtype));
  const ExpertCombinePlan plan =
      plan_expert_combine(gpu.properties.sm_count, args.tokens, args.columns, bytes, packets);
  char text[80];
  std::snprintf(text, sizeof text, "%s dtypes %d %d", packets ? "packets" : "columns", args.dtype,
                args.out_dtype);
  reached.insert(text);
  std::snprintf(text, sizeof text, "threads %d", plan.threads);
  reached.insert(text);
  if (plan.chunks > 1) reached.insert("chunks");
  if (plan.threads >> plan.lanes_log2 > 1) reached.insert("tokens in a block");
}

void check_all_reached() {
  std::vector<std::string> all = {"threads 32", "threads 64", "threads 128", "chunks",
                                  "tokens in a block"};
  for (const char* way : {"packets", "columns"}) {
    for (const int in : {kBf16, kF32}) {
      for (const int out : {kBf16, kF32})
        all.push_back(std::string(way) + " dtypes " + std::to_string(in) + " " +
                      std::to_string(out));
    }
  }
  for (const std::string& name : all) check(reached.count(name) != 0, "no case reaches: " + name);
}

void run_case(Gpu& gpu, std::mt19937& g, Case c) {
  if (c.rows < 0) c.rows = c.tokens * c.k;
  const std::string name = name_of(c);
  // At least a row of memory, so that there is an address.
  Strided y(Role::kInput, c.dtype, std::max<std::int64_t>(c.rows, 1), 1, c.columns, c.gap,
            c.misalign);
  Strided shared(Role::kInput, c.dtype, c.tokens, 1, c.columns, c.gap, c.misalign);
  Strided out(Role::kOutput, c.out_dtype, c.tokens, 1, c.columns, c.gap, c.misalign);
  y.fill(random_part(g, c.dtype, std::max<std::int64_t>(c.rows, 1) * c.columns,
                     g() % 2 == 0 ? kWide : kNonFinite));
  shared.fill(random_part(g, c.dtype, c.tokens * c.columns, kGauss));

  const std::int64_t stride = c.k + c.gap;
  std::vector<std::int32_t> positions(static_cast<std::size_t>(c.tokens * stride), 0);
  std::vector<float> weights(positions.size(), 1.0f);
  const auto slot = [&](std::int64_t t, int j) { return static_cast<std::size_t>(t * stride + j); };
  std::set<std::pair<std::int64_t, std::int64_t>> faults;
  for (std::int64_t t = 0; t < c.tokens; ++t) {
    for (int j = 0; j < c.k; ++j) {
      std::int32_t p = c.rows == 0 || g() % 11 == 0
                           ? -1
                           : static_cast<std::int32_t>(g() % static_cast<std::uint64_t>(c.rows));
      float w = random_value(g, kGauss);
      if (p == -1) w = std::numeric_limits<float>::quiet_NaN();  // it has no part in the sum
      if (c.bad_positions && g() % 7 == 0) {
        const std::int32_t wrong[] = {-2, INT32_MIN, INT32_MAX, static_cast<std::int32_t>(c.rows)};
        p = wrong[g() % 4];
        faults.insert({t, j});
      }
      positions[slot(t, j)] = p;
      weights[slot(t, j)] = w;
    }
  }
  Buffer positions_at(static_cast<std::int64_t>(4 * positions.size()), 4);
  Buffer weights_at(static_cast<std::int64_t>(4 * weights.size()), 4);
  positions_at.put(positions.data(), positions_at.bytes());
  weights_at.put(weights.data(), weights_at.bytes());

  Strided& to = c.in_place ? shared : out;
  std::vector<std::uint8_t> expected = to.image();
  parallel(c.tokens, [&](std::int64_t from, std::int64_t end) {
    const auto n = static_cast<std::size_t>(c.columns);
    std::vector<float> sum(n), row(n);
    for (std::int64_t t = from; t < end; ++t) {
      std::fill(sum.begin(), sum.end(), 0.0f);
      for (int j = 0; j < c.k; ++j) {
        const std::int32_t p = positions[slot(t, j)];
        if (p < 0 || p >= c.rows) continue;
        y.token(y.image(), p, row.data());
        for (std::size_t d = 0; d < n; ++d)
          sum[d] = c.weighted ? std::fma(weights[slot(t, j)], row[d], sum[d]) : sum[d] + row[d];
      }
      if (c.shared) {
        shared.token(shared.image(), t, row.data());
        for (std::size_t d = 0; d < n; ++d) sum[d] = sum[d] + row[d];
      }
      for (std::size_t d = 0; d < n; ++d)
        to.set(expected, t, 0, static_cast<std::int64_t>(d), sum[d]);
    }
  });

  const HcRows y_at = y.rows();
  const HcRows shared_at = shared.rows();
  const HcRows out_at = to.rows();
  const ExpertCombineArgs args = {y_at.data,
                                  c.dtype,
                                  y_at.stride,
                                  c.rows,
                                  positions_at.as<std::int32_t>(),
                                  stride,
                                  c.weighted ? weights_at.as<float>() : nullptr,
                                  stride,
                                  c.shared ? shared_at.data : nullptr,
                                  shared_at.stride,
                                  out_at.data,
                                  c.out_dtype,
                                  out_at.stride,
                                  c.tokens,
                                  c.columns,
                                  c.k};
  note_plan(gpu, args);
  y.upload();
  shared.upload();
  for (int run = 0; run < 2; ++run) {
    to.reset();
    const auto call = [&] {
      must(static_cast<cudaError_t>(expert_combine_cuda(gpu.launch, args)), "expert_combine_cuda");
    };
    if (run == 0) {
      call();
      gpu.wait();
    } else {
      gpu.replay(call, c.in_place ? 1 : 2);
    }
    check(to.download("out") == expected, name);
    const DeviceStatus s = gpu.take_status();
    bool right = (s.claimed != 0) == !faults.empty();
    for (int op = 0; op < NVFP4J_STATUS_WORDS; ++op) {
      const bool mine = op == NVFP4J_OP_EXPERT_COMBINE && !faults.empty();
      right = right && s.causes[op] == (mine ? 1ull << NVFP4J_CAUSE_INDEX_OUT_OF_RANGE : 0);
    }
    if (!faults.empty()) {
      right = right && s.first_op == NVFP4J_OP_EXPERT_COMBINE &&
              s.first_cause == NVFP4J_CAUSE_INDEX_OUT_OF_RANGE &&
              faults.count({s.first_row, s.first_column}) == 1;
    }
    check(right, name + ": status");
  }
}

void test_shapes(Gpu& gpu, std::mt19937& g, bool quick) {
  for (const int dtype : {kBf16, kF32}) {
    for (const int out_dtype : {kBf16, kF32}) {
      for (const std::int64_t columns : {1, 8, 24, 67, 256, 1000, 1025, 7168}) {
        if (quick && columns != 8 && columns != 67 && columns != 1000) continue;
        for (const std::int64_t tokens : {1, 3, 17, 100}) {
          if (quick && tokens != 17) continue;
          for (int k = 1; k <= 16; k += quick ? 9 : 1 + static_cast<int>(g() % 3)) {
            Case c = {tokens, columns, k, dtype, out_dtype};
            c.gap = static_cast<std::int64_t>(g() % 3) * 8;
            c.misalign = g() % 4 == 0 ? 1 : 0;
            c.weighted = g() % 3 != 0;
            c.shared = g() % 3 != 0;
            c.bad_positions = g() % 3 == 0;
            run_case(gpu, g, c);
            c.in_place = c.shared && dtype == out_dtype;
            c.gap = static_cast<std::int64_t>(g() % 3);
            run_case(gpu, g, c);
          }
        }
      }
    }
  }
}

void test_large(Gpu& gpu, std::mt19937& g, bool quick) {
  // The second has thread blocks of 64.
  run_case(gpu, g, {1, 7168, 6});
  run_case(gpu, g, {std::max(1, gpu.properties.sm_count * 96 / 896), 7168, 6});
  if (quick) return;
  for (const std::int64_t tokens : {1, 2, 5, 16, 64, 1024}) {
    run_case(gpu, g, {tokens, 7168, 6});
    run_case(gpu, g, {tokens, 7168, 6, kF32, kBf16});
    run_case(gpu, g, {tokens, 5120, 8, kBf16, kF32, -1, 0, 0, false, false});
    run_case(gpu, g, {tokens, 4096, 16, kF32, kF32, 10, 4, 0, true, true, true});
  }
  run_case(gpu, g, {20000, 64, 6});
  run_case(gpu, g, {20000, 9, 6, kF32, kF32});
  run_case(gpu, g, {2, 100003, 2});
}

void test_no_rows(Gpu& gpu, std::mt19937& g) {
  for (const bool bad : {false, true}) {
    for (const std::int64_t columns : {64, 67}) {
      Case c = {9, columns, 6, kBf16, kF32, 0};
      c.bad_positions = bad;
      run_case(gpu, g, c);
      c.shared = false;  // zeros
      run_case(gpu, g, c);
    }
  }
}

}  // namespace
}  // namespace nvfp4j::test

int main(int argc, char** argv) {
  using namespace nvfp4j::test;
  const bool quick = quick_option(argc, argv);
  Gpu gpu;
  std::printf("%s\n", nvfp4j::expert_combine_cuda_path(gpu.properties));
  must(static_cast<cudaError_t>(nvfp4j::expert_combine_cuda_warm_up(gpu.properties)),
       "expert_combine_cuda_warm_up");
  std::mt19937 g(20261201);
  test_shapes(gpu, g, quick);
  test_large(gpu, g, quick);
  test_no_rows(gpu, g);
  check_all_reached();
  return finish();
}
