// SPDX-License-Identifier: Apache-2.0
// The matrix products on the GPU against exact sums on the host: in integers for NVFP4 A (bit for bit where gemm.h promises it), in
// binary64 for BF16 A. Every kind of A, layout of W and type of D, and each implementation that takes the shape; prepare_weights and
// pack_activations byte for byte on the way.
#include "common/workspace_layout.hpp"
#include "gemm_calls.cuh"
#include "gemm_configurations.cuh"
#include "ops/gemm/gemm_cuda.hpp"
#include "ops/pack_activations/pack_activations_cuda.hpp"
#include "ops/prepare_weights/prepare_weights_cuda.hpp"

namespace nvfp4j::test {
namespace {

constexpr std::int64_t kRows[] = {1, 3, 8, 16, 17, 33, 64, 100, 129, 300};
constexpr std::int64_t kColumns[] = {8, 16, 24, 64, 208, 1024};
constexpr std::int64_t kInner[] = {16, 48, 64, 256, 512, 1536};

// The rest of a problem whose shape is given.
Problem varied(std::mt19937& g, Problem p) {
  p.bf16 = g() % 2 == 0;
  p.wide = g() % 3 == 0;
  p.scale_per_row = g() % 2 == 0;
  p.weighted = p.swiglu && g() % 2 == 0;
  p.limit = p.swiglu ? (g() % 2 == 0 ? 0.0f : 7.0f) : 0.0f;
  const std::int64_t pads[] = {0, 0, 8, 5};
  p.pad = pads[g() % 4];
  p.misalign = g() % 4 == 0 ? 1 : 0;
  int kinds[3] = {NVFP4J_GLOBAL_SCALE_TENSOR};
  int count = 1;
  if (p.op != NVFP4J_OP_GEMM) kinds[count++] = NVFP4J_GLOBAL_SCALE_GROUP;
  if (p.op != NVFP4J_OP_BATCHED_GEMM) kinds[count++] = NVFP4J_GLOBAL_SCALE_HALVES;
  p.w_kind = kinds[g() % static_cast<unsigned>(count)];
  return p;
}

void test_gemm(Gpu& gpu, std::mt19937& g) {
  for (const std::int64_t m : kRows) {
    for (const std::int64_t n : kColumns) {
      for (const std::int64_t k : kInner) {
        // Both kinds of A, and of the larger ones aligned rows for certain.
        Problem p = varied(g, shaped(NVFP4J_OP_GEMM, 1, m, n, k));
        for (const bool bf16 : {false, true}) {
          p.bf16 = bf16;
          test_problem(gpu, g, p);
          if (n < 64 || k < 256) break;
          p.pad = p.misalign = 0;
        }
      }
    }
  }
}

void test_swiglu(Gpu& gpu, std::mt19937& g) {
  for (const std::int64_t m : {1, 8, 17, 64, 129, 300}) {
    for (const std::int64_t n : {16, 64, 208, 224, 1024}) {
      for (const std::int64_t k : {48, 256, 1536}) {
        Problem p = varied(g, shaped(NVFP4J_OP_GEMM, 1, m, n, k, true));
        for (const bool bf16 : {false, true}) {
          p.bf16 = bf16;
          p.weighted = !p.weighted;
          test_problem(gpu, g, p);
          p.pad = p.misalign = 0;
        }
      }
    }
  }
}

// Offsets of `experts` in [0, m]: a random distribution with empty ones and rows outside, or all to one.
std::vector<std::int32_t> some_offsets(std::mt19937& g, std::int64_t experts, std::int64_t m,
                                       bool one) {
  std::vector<std::int32_t> offsets;
  const auto chosen = static_cast<std::int64_t>(g() % static_cast<unsigned>(experts));
  for (std::int64_t e = 0; e <= experts; ++e) {
    offsets.push_back(one ? (e <= chosen ? 0 : static_cast<std::int32_t>(m))
                          : static_cast<std::int32_t>(g() % static_cast<unsigned>(m + 1)));
  }
  std::sort(offsets.begin(), offsets.end());
  for (std::int64_t e = 1; !one && e <= experts; ++e) {
    if (g() % 3 == 0) offsets[e] = offsets[e - 1];
  }
  return offsets;
}

void test_grouped(Gpu& gpu, std::mt19937& g) {
  for (const std::int64_t experts : {1, 5, 40, 130}) {
    for (const std::int64_t m : {1, 16, 77, 300}) {
      for (const std::int64_t n : {24, 64, 208}) {
        for (const std::int64_t k : {48, 256, 1536}) {
          if (experts * n * k > 8 << 20) continue;
          for (const bool swiglu : {false, true}) {
            if (swiglu && n % 16 != 0) continue;
            Problem p = varied(g, shaped(NVFP4J_OP_GROUPED_GEMM, experts, m, n, k, swiglu));
            p.offsets = some_offsets(g, experts, m, g() % 4 == 0);
            test_problem(gpu, g, p);
          }
        }
      }
    }
  }
}

void test_batched(Gpu& gpu, std::mt19937& g) {
  for (const std::int64_t groups : {1, 3, 8}) {
    for (const std::int64_t m : {1, 16, 33, 129, 300}) {
      for (const std::int64_t n : {8, 64, 208}) {
        for (const std::int64_t k : {48, 256, 1536}) {
          Problem p = varied(g, shaped(NVFP4J_OP_BATCHED_GEMM, groups, m, n, k));
          test_problem(gpu, g, p);
        }
      }
    }
  }
}

void test_bad_offsets(Gpu& gpu, std::mt19937& g, bool quick) {
  const std::vector<std::int32_t> all[] = {
      {0, 5, 4, 9}, {-1, 2, 3, 9}, {0, 2, 3, 10}, {3, 2, 2, 9}};
  for (const auto& offsets : all) {
    for (const bool swiglu : {false, true}) {
      Problem p = shaped(NVFP4J_OP_GROUPED_GEMM, 3, 9, 64, 512, swiglu);
      p.bf16 = g() % 2 == 0;
      p.offsets = offsets;
      Operands o(g, p);
      o.upload(gpu);
      // Nothing is compared: the sums are of an empty distribution.
      Problem none = p;
      none.offsets = {0, 0, 0, 0};
      const Operands empty(g, none);
      const Expected expected(empty);
      Fault fault;
      fault.causes = 1ull << NVFP4J_CAUSE_BAD_OFFSETS;
      fault.first_cause = NVFP4J_CAUSE_BAD_OFFSETS;
      for_every_variant(p, [&](const Variant& v) { run(gpu, o, expected, v, fault, true); });
      if (quick) return;
    }
  }
}

// Bad scales of W and of A, and an infinity in a BF16 A: where it is reported, and what D has.
void test_faults(Gpu& gpu, std::mt19937& g, bool quick) {
  constexpr std::uint64_t kBad = 1ull << NVFP4J_CAUSE_BAD_BLOCK_SCALE;
  constexpr std::uint64_t kNonFinite = 1ull << NVFP4J_CAUSE_NON_FINITE_RESULT;
  const std::int64_t rows[] = {5, 70, 150};
  const std::uint8_t bytes[] = {0x7F, 0x80, 0xFF, 0xB8};
  for (const int op : {NVFP4J_OP_GEMM, NVFP4J_OP_GROUPED_GEMM, NVFP4J_OP_BATCHED_GEMM}) {
    for (const std::int64_t m : rows) {
      for (const std::int64_t k : {48, 768}) {
        for (int what = 0; what < 3; ++what) {
          const bool swiglu = op != NVFP4J_OP_BATCHED_GEMM && g() % 2 == 0;
          Problem p = shaped(op, op == NVFP4J_OP_GEMM ? 1 : 3, m, 64, k, swiglu);
          p.bf16 = what == 2;
          if (op == NVFP4J_OP_GROUPED_GEMM) {
            const auto end = static_cast<std::int32_t>(m);
            p.offsets = {0, 1, end - 1, end};
          }
          Operands o(g, p);
          // In the second group of three, and its rows.
          const std::int64_t group = p.groups / 2;
          const std::int64_t row =
              1 + static_cast<std::int64_t>(g() % static_cast<unsigned>(m - 2));
          const std::int64_t n = static_cast<std::int64_t>(g() % 64);
          const std::int64_t block = static_cast<std::int64_t>(g() % static_cast<unsigned>(k / 16));
          const std::int64_t a_column = (p.batched() ? group * k : 0) + 16 * block;
          Fault fault;
          fault.causes = kNonFinite | (what < 2 ? kBad : 0);
          fault.first_cause =
              what < 2 ? NVFP4J_CAUSE_BAD_BLOCK_SCALE : NVFP4J_CAUSE_NON_FINITE_RESULT;
          if (what == 0) {
            o.w_scales[(group * p.n + n) * (k / 16) + block] = bytes[g() % 4];
            fault.column = p.batched() ? group * p.n + n : swiglu ? n % 32 : n;
          } else if (what == 1) {
            o.a_scales[(row * p.a_columns() + a_column) / 16] = bytes[g() % 4];
            fault.row = row;
          } else {
            o.a_bf16[row * p.a_stride() + a_column + 3] = g() % 2 == 0 ? 0x7F80 : 0xFF80;
            fault.row = row;
            fault.column = -2;
          }
          o.upload(gpu);
          const Expected expected(o);
          for_every_variant(p, [&](const Variant& v) {
            Fault f = fault;
            if (what == 1 && v.a_kind == NVFP4J_GEMM_A_PACKED) {
              f.causes = kNonFinite;  // its scales are gone
              f.first_cause = NVFP4J_CAUSE_NON_FINITE_RESULT;
              f.column = -2;
            }
            run(gpu, o, expected, v, f);
          });
          if (quick && what == 2) return;
        }
      }
    }
  }
}

// The elements of row m of D.
std::vector<std::uint8_t> row_of(const Problem& p, const std::vector<std::uint8_t>& d, int dtype,
                                 std::int64_t m) {
  const std::int64_t bytes = element_bytes(dtype);
  const auto from = d.begin() + ((m + 1) * p.d_stride() + p.misalign) * bytes;
  return {from, from + p.d_columns() * bytes};
}

// The bits of a row, in products of as many rows as there are and of fewer, where the order of the sum shows.
void test_batch_invariance(Gpu& gpu, std::mt19937& g, bool quick) {
  for (const std::int64_t n : {64, 1024}) {
    for (const std::int64_t k : {256, 1536, 48}) {
      for (int what = 0; what < 4; ++what) {  // BF16, NVFP4, SwiGLU of BF16, experts
        Problem p = shaped(what == 3 ? NVFP4J_OP_GROUPED_GEMM : NVFP4J_OP_GEMM, what == 3 ? 3 : 1,
                           300, n, k, what == 2);
        p.bf16 = what != 1;
        p.wide = what == 1;
        p.limit = 10.0f;
        if (what == 3) p.offsets = {0, 7, 299, 300};
        Operands all(g, p);
        all.upload(gpu);
        for (const int a_kind : a_kinds(p)) {
          for (const int w_layout : {NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_SCALE_LAYOUT_PREPARED}) {
            const int d_dtype = p.swiglu ? NVFP4J_DTYPE_BF16 : NVFP4J_DTYPE_F32;
            const Variant v = {a_kind, w_layout, d_dtype, NVFP4J_GEMM_PATH_AUTO, true};
            const std::vector<std::uint8_t> d = launch(gpu, all, v, {}, false);
            for (const std::int64_t m : kRows) {
              // Rows 7 to 7 + m - 1, by themselves or among fewer experts' rows.
              if (m == 300) continue;
              Problem few = p;
              few.m = m;
              if (what == 3)
                few.offsets = {0, 0, static_cast<std::int32_t>(m), static_cast<std::int32_t>(m)};
              Operands some(g, few);
              some.w_codes = all.w_codes;
              some.w_scales = all.w_scales;
              some.w_gs = all.w_gs;
              some.a_gs = all.a_gs;
              const std::int64_t width = p.a_columns();
              const auto take = [&](auto& to, const auto& from, std::int64_t row) {
                if (!from.empty()) std::copy_n(from.begin() + 7 * row, m * row, to.begin());
              };
              take(some.a_codes, all.a_codes, width / 2);
              take(some.a_scales, all.a_scales, width / 16);
              take(some.a_bf16, all.a_bf16, p.a_stride());
              some.upload(gpu);
              const std::vector<std::uint8_t> mine = launch(gpu, some, v, {}, false);
              std::int64_t wrong = d.empty() || mine.empty() ? m : 0;
              for (std::int64_t i = 0; wrong == 0 && i < m; ++i)
                wrong += row_of(p, d, d_dtype, 7 + i) != row_of(few, mine, d_dtype, i);
              check(wrong == 0, name_of(some, v) + ": rows are not those of 300 rows");
              if (quick) break;
            }
          }
        }
        if (quick && what == 0) return;
      }
    }
  }
}

// Few calls that reach each implementation with every kind of operand.
void test_quickly(Gpu& gpu, std::mt19937& g) {
  for (const std::int64_t m : kRows) {
    const bool even = m % 2 == 0;
    Problem p = shaped(NVFP4J_OP_GEMM, 1, m, even ? 208 : 64, 512);
    p.bf16 = even;
    test_problem(gpu, g, p);
    p.bf16 = !even;
    p.swiglu = true;
    p.weighted = true;
    p.limit = 7.0f;
    test_problem(gpu, g, p);
  }
  test_problem(gpu, g, shaped(NVFP4J_OP_GEMM, 1, 3, 24, 48));
  for (const bool swiglu : {false, true}) {
    for (const std::int64_t m : {12, 200}) {
      Problem p = shaped(NVFP4J_OP_GROUPED_GEMM, 5, m, 64, 256, swiglu);
      p.offsets = some_offsets(g, 5, m, false);
      for (const bool bf16 : {false, true}) {
        p.bf16 = bf16;
        test_problem(gpu, g, p);
      }
    }
  }
  for (const std::int64_t m : {4, 70})
    test_problem(gpu, g, varied(g, shaped(NVFP4J_OP_BATCHED_GEMM, 2, m, 64, 256)));
}

}  // namespace
}  // namespace nvfp4j::test

int main(int argc, char** argv) {
  using namespace nvfp4j::test;
  const bool quick = quick_option(argc, argv);
  Gpu gpu(nvfp4j::kWorkspaceExchangeBytes + nvfp4j::kPackedTokenBytes);
  must(static_cast<cudaError_t>(nvfp4j::gemm_cuda_warm_up(gpu.properties)), "gemm_cuda_warm_up");
  must(static_cast<cudaError_t>(nvfp4j::prepare_weights_cuda_warm_up(gpu.properties)),
       "prepare_weights_cuda_warm_up");
  must(static_cast<cudaError_t>(nvfp4j::pack_activations_cuda_warm_up(gpu.properties)),
       "pack_activations_cuda_warm_up");
  std::mt19937 g(20261124);
  if (quick) {
    test_quickly(gpu, g);
  } else {
    test_gemm(gpu, g);
    test_swiglu(gpu, g);
    test_grouped(gpu, g);
    test_batched(gpu, g);
  }
  test_decode(gpu, g, quick);
  test_wgmma(gpu, g, quick);
  test_bad_offsets(gpu, g, quick);
  test_faults(gpu, g, quick);
  test_batch_invariance(gpu, g, quick);
  std::printf("calls: AUTO %d, GENERIC %d, DECODE %d, WGMMA %d\n", path_runs[0], path_runs[1],
              path_runs[2], path_runs[3]);
  if (runs_sm90a(gpu.properties)) check_all_reached();
  return finish();
}
