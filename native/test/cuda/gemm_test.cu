// SPDX-License-Identifier: Apache-2.0
// The matrix products on the GPU against exact sums on the host: in integers for NVFP4 A (bit for bit where gemm.h promises it), in
// binary64 for BF16 A. Every kind of A, layout of W and type of D, and each implementation that takes the shape; prepare_weights and
// pack_activations byte for byte on the way.
#include "gemm_calls.cuh"
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

Problem shaped(int op, std::int64_t groups, std::int64_t m, std::int64_t n, std::int64_t k,
               bool swiglu = false) {
  Problem p;
  p.op = op;
  p.groups = groups;
  p.m = m;
  p.n = n;
  p.k = k;
  p.swiglu = swiglu;
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

// A bad scale of the last row of W (with SwiGLU, of up) and the last block of K: who sees it is the last warp, warpgroup or thread block of those that share K.
void test_bad_weight(Gpu& gpu, std::mt19937& g, const Problem& p, const Variant& v) {
  Operands o(g, p);
  o.w_scales.back() = 0x7F;
  o.upload(gpu);
  Fault fault;
  fault.causes = 1ull << NVFP4J_CAUSE_BAD_BLOCK_SCALE | 1ull << NVFP4J_CAUSE_NON_FINITE_RESULT;
  fault.first_cause = NVFP4J_CAUSE_BAD_BLOCK_SCALE;
  fault.column = p.batched() ? p.groups * p.n - 1 : p.swiglu ? p.n / 2 - 1 : p.n - 1;
  run(gpu, o, Expected(o), v, fault);
}

// A call of one configuration of decode.
Variant decode_variant(int config, const Problem& p, bool nvfp4, bool linear, bool f32) {
  const int a_kind = p.bf16  ? NVFP4J_GEMM_A_BF16
                     : nvfp4 ? NVFP4J_GEMM_A_NVFP4
                             : NVFP4J_GEMM_A_PACKED;
  return {a_kind,
          linear ? NVFP4J_SCALE_LAYOUT_LINEAR : NVFP4J_SCALE_LAYOUT_PREPARED,
          f32 ? NVFP4J_DTYPE_F32 : NVFP4J_DTYPE_BF16,
          NVFP4J_GEMM_PATH_DECODE,
          false,
          -1,
          config};
}

// Each kernel of decode, with rows of W that fill no thread block and K that its warps and clusters cannot share evenly; then with faults that one thread sees, all of which must be reported.
void test_decode_kernel(Gpu& gpu, std::mt19937& g, int config, bool swiglu, bool grouped,
                        bool nvfp4, bool linear) {
  const DecodeShape& s = kDecodeShapes[config];
  const int tokens = 8 * s.nt;
  for (const int fewer : {0, 3, tokens - 1}) {
    const std::int64_t m = tokens - fewer;
    Problem p = shaped(grouped ? NVFP4J_OP_GROUPED_GEMM : NVFP4J_OP_GEMM, grouped ? 3 : 1,
                       grouped ? 2 * tokens + m : m, 224 + 32 * s.wn,
                       256 * (s.ck * s.wk * s.stages + 1), swiglu);
    p.scale_per_row = fewer != 3;
    p.weighted = swiglu && fewer == 0;
    if (grouped) p.offsets = {1, 1 + tokens / 2, 1 + tokens / 2, static_cast<std::int32_t>(p.m)};
    Operands o(g, p);
    o.upload(gpu);
    const Expected expected(o);
    for (const bool f32 : {false, true}) {
      if (f32 && swiglu) continue;
      run(gpu, o, expected, decode_variant(config, p, nvfp4, linear, f32));
    }
    if (fewer != 0) continue;
    o.a_gs[grouped ? 2 : 0] = std::numeric_limits<float>::infinity();
    o.a_scales[(grouped ? 3 : 1) * (p.k / 16) + 3] = 0x7F;
    o.upload(gpu);
    Fault fault;
    fault.causes = 1ull << NVFP4J_CAUSE_NON_FINITE_RESULT;
    if (nvfp4) fault.causes |= 1ull << NVFP4J_CAUSE_BAD_BLOCK_SCALE;
    fault.first_cause = -2;
    fault.row = fault.column = -2;
    run(gpu, o, Expected(o), decode_variant(config, p, nvfp4, linear, false), fault);
    if (grouped) p.offsets.back() = static_cast<std::int32_t>(p.m);
    test_bad_weight(gpu, g, p, decode_variant(config, p, nvfp4, linear, false));
    if (swiglu) continue;
    // K that goes round the ring of tokens twice.
    p.n = 16 * s.wn + 32;
    p.k = 1024 * (2 * s.pieces + 1) * s.ck + 256;
    p.scale_per_row = false;
    p.bf16 = !nvfp4;
    Operands more(g, p);
    more.upload(gpu);
    run(gpu, more, Expected(more), decode_variant(config, p, nvfp4, linear, false));
    if (grouped) continue;
    Problem batch = shaped(NVFP4J_OP_BATCHED_GEMM, 3, m, p.n, 256 * (s.ck * s.wk * s.stages + 1));
    Operands batched(g, batch);
    batched.upload(gpu);
    run(gpu, batched, Expected(batched), decode_variant(config, batch, nvfp4, linear, false));
  }
}

// More jobs than thread blocks at a time, of rows of W, of tiles of tokens, or of groups.
void test_decode_jobs(Gpu& gpu, std::mt19937& g, int config, bool swiglu, bool grouped, bool nvfp4,
                      bool linear) {
  const DecodeShape& s = kDecodeShapes[config];
  if (s.ck > 1) return;
  const int blocks = 2 * gpu.properties.sm_count;
  const std::int64_t k = 256 * s.wk * s.stages;
  for (const bool wide : {false, true}) {
    Problem p = shaped(grouped ? NVFP4J_OP_GROUPED_GEMM : NVFP4J_OP_GEMM, grouped ? 2 : 1,
                       wide ? 8 * s.nt : 40 * s.nt + 3,
                       16 * s.wn * (wide ? blocks + 3 : 2 * blocks / 6 + 1), k, swiglu);
    p.bf16 = !nvfp4;
    if (grouped)
      p.offsets = {0, static_cast<std::int32_t>(p.m / 2), static_cast<std::int32_t>(p.m)};
    Operands o(g, p);
    o.upload(gpu);
    run(gpu, o, Expected(o), decode_variant(config, p, nvfp4, linear, false));
  }
}

void test_decode(Gpu& gpu, std::mt19937& g, bool quick) {
  if (gpu.properties.major != 9 || gpu.properties.minor != 0) return;
  for (int config = 0; config < kDecodeConfigs; ++config) {
    const DecodeShape& s = kDecodeShapes[config];
    for (int how = 0; how < 16; ++how) {
      const bool swiglu = (how & 1) != 0, grouped = (how & 2) != 0, nvfp4 = (how & 4) != 0,
                 linear = (how & 8) != 0;
      if ((swiglu && s.wn % 2 != 0) || (grouped && !takes_groups(s))) continue;
      test_decode_kernel(gpu, g, config, swiglu, grouped, nvfp4, linear);
      // (Large weights take the host long.)
      if (nvfp4 == linear && !(quick && (swiglu || nvfp4)))
        test_decode_jobs(gpu, g, config, swiglu, grouped, nvfp4, linear);
    }
  }
}

// Kinds of operands that there are kernels of wgmma for.
struct Kind {
  bool grouped;
  bool nvfp4;   // A
  bool linear;  // W
};
constexpr Kind kKinds[] = {{false, false, false}, {true, false, false}, {false, true, false},
                           {true, true, false},   {false, false, true}, {true, false, true},
                           {false, true, true},   {true, true, true}};
bool wgmma_takes(int config, const Kind& kind) {
  if (kind.grouped && config >= kWgmmaBasicConfigs) return false;
  return (!kind.nvfp4 && !kind.linear) || wgmma_takes_all_kinds(config);
}

// A call of one configuration of wgmma.
Variant wgmma_variant(int config, const Problem& p, const Kind& kind, bool f32) {
  const bool nvfp4 = kind.nvfp4;
  const int a_kind = p.bf16  ? NVFP4J_GEMM_A_BF16
                     : nvfp4 ? NVFP4J_GEMM_A_NVFP4
                             : NVFP4J_GEMM_A_PACKED;
  return {a_kind,
          kind.linear ? NVFP4J_SCALE_LAYOUT_LINEAR : NVFP4J_SCALE_LAYOUT_PREPARED,
          f32 ? NVFP4J_DTYPE_F32 : NVFP4J_DTYPE_BF16,
          NVFP4J_GEMM_PATH_WGMMA,
          false,
          config};
}

// Each kernel of wgmma, with two tiles of tokens, the last not full, rows of W that fill no thread block, K that cannot be cut evenly and goes round the rings, and D at every alignment; then with faults in rows of one thread,
// all of which must be reported.
void test_wgmma_kernel(Gpu& gpu, std::mt19937& g, int config, bool swiglu, const Kind& kind,
                       bool quick) {
  const bool grouped = kind.grouped;
  const WgmmaShape& s = kWgmmaShapes[config];
  constexpr std::int64_t kPads[][2] = {{0, 0}, {8, 8}, {2, 2}, {5, 1}};  // and misalignments
  const std::int64_t m = s.bm + s.bm / 2 + 5;
  for (const auto& pad : kPads) {
    Problem p = shaped(grouped ? NVFP4J_OP_GROUPED_GEMM : NVFP4J_OP_GEMM, grouped ? 3 : 1, m, 224,
                       256 * (6 * s.ck + 1), swiglu);
    p.wide = kind.linear && pad[0] != 0;  // scales that are zero or subnormal, too
    p.scale_per_row = pad[0] != 2;
    p.weighted = swiglu && pad[0] != 0;
    p.pad = pad[0];
    p.misalign = pad[1];
    if (grouped) p.offsets = {1, 6, 6, static_cast<std::int32_t>(m)};
    Operands o(g, p);
    o.upload(gpu);
    const Expected expected(o);
    for (const bool f32 : {false, true}) {
      if (f32 && swiglu) continue;
      run(gpu, o, expected, wgmma_variant(config, p, kind, f32));
    }
    if (!p.scale_per_row || (quick && pad[0] != 0)) continue;
    test_bad_weight(gpu, g, p, wgmma_variant(config, p, kind, false));
    // A row whose results are infinite, and in the same tile one with a bad scale, in the same lane of a warp.
    const std::int64_t first = grouped ? 6 : 0;
    o.a_gs[first + 2] = std::numeric_limits<float>::infinity();
    o.a_scales[(first + s.bm - 6) * (p.k / 16) + 3] = 0x7F;
    o.upload(gpu);
    const Expected faulty(o);
    Fault fault;
    fault.causes = 1ull << NVFP4J_CAUSE_NON_FINITE_RESULT;
    if (kind.nvfp4) fault.causes |= 1ull << NVFP4J_CAUSE_BAD_BLOCK_SCALE;
    fault.first_cause = -2;
    fault.row = fault.column = -2;
    for (const bool f32 : {false, true}) {
      if (f32 && swiglu) continue;
      run(gpu, o, faulty, wgmma_variant(config, p, kind, f32), fault);
    }
  }
}

// A batch of more jobs than thread blocks at a time, each of few units: the warps that decode tokens skip whole jobs. Where K is cut, a few jobs.
void test_wgmma_batch(Gpu& gpu, std::mt19937& g, int config, const Kind& kind) {
  const WgmmaShape& s = kWgmmaShapes[config];
  const bool many = s.ck == 1 && (kind.nvfp4 || config == 0);
  const std::int64_t groups = many ? 3 * gpu.properties.sm_count + 1 : 3;
  for (const std::int64_t chunks : {s.ck, 3 * s.ck}) {
    if (many && chunks > 1) continue;
    Problem p = shaped(NVFP4J_OP_BATCHED_GEMM, groups, 5, 64, 256 * chunks);
    Operands o(g, p);
    o.upload(gpu);
    run(gpu, o, Expected(o), wgmma_variant(config, p, kind, false));
    if (!many) test_bad_weight(gpu, g, p, wgmma_variant(config, p, kind, false));
  }
}

// More jobs than thread blocks at a time.
void test_wgmma_waves(Gpu& gpu, std::mt19937& g, int config, bool swiglu, const Kind& kind) {
  const bool grouped = kind.grouped, nvfp4 = kind.nvfp4;
  const WgmmaShape& s = kWgmmaShapes[config];
  const std::int64_t blocks = gpu.properties.sm_count / s.ck / 2 + 3;
  Problem p = shaped(grouped ? NVFP4J_OP_GROUPED_GEMM : NVFP4J_OP_GEMM, 1, s.bm + 1,
                     64 * s.wgn * blocks, 256 * (s.ck + 1), swiglu);
  p.bf16 = !nvfp4;
  if (grouped) p.offsets = {0, static_cast<std::int32_t>(p.m)};
  Operands o(g, p);
  o.upload(gpu);
  run(gpu, o, Expected(o), wgmma_variant(config, p, kind, false));
}

// The configurations that add up K in one go agree on every bit, whatever the tokens are; and linear weights with prepared ones in each configuration.
void test_wgmma_orders(Gpu& gpu, std::mt19937& g) {
  for (int how = 0; how < 8; ++how) {
    const bool swiglu = (how & 1) != 0, grouped = (how & 2) != 0, nvfp4 = (how & 4) != 0;
    Problem p =
        shaped(grouped ? NVFP4J_OP_GROUPED_GEMM : NVFP4J_OP_GEMM, 1, 300, 416, 2816, swiglu);
    p.bf16 = !nvfp4;
    p.wide = true;
    if (grouped) p.offsets = {0, 300};
    Operands o(g, p);
    o.upload(gpu);
    std::vector<std::uint8_t> first;
    for (int config = 0; config < kWgmmaConfigs; ++config) {
      const WgmmaShape& s = kWgmmaShapes[config];
      std::vector<std::uint8_t> expected =
          s.wgk > 1 || s.ck > 1 ? std::vector<std::uint8_t>() : first;
      for (const bool linear : {false, true}) {
        const Kind kind = {grouped, nvfp4, linear};
        if (!wgmma_takes(config, kind)) continue;
        const Variant v = wgmma_variant(config, p, kind, !swiglu);
        const std::vector<std::uint8_t> d = launch(gpu, o, v, {}, false);
        if (expected.empty()) expected = d;
        if (config == 0 && !linear) first = d;
        check(d == expected, name_of(o, v) + ": bits are not those of the same order");
      }
    }
  }
}

void test_wgmma(Gpu& gpu, std::mt19937& g, bool quick) {
  if (gpu.properties.major != 9 || gpu.properties.minor != 0) return;
  for (int config = 0; config < kWgmmaConfigs; ++config) {
    for (const bool swiglu : {false, true}) {
      for (const Kind& kind : kKinds) {
        if (!wgmma_takes(config, kind)) continue;
        test_wgmma_kernel(gpu, g, config, swiglu, kind, quick);
        if (!quick || (!kind.grouped && kind.nvfp4 == kind.linear))
          test_wgmma_waves(gpu, g, config, swiglu, kind);
        if (!swiglu && !kind.grouped && !(quick && kind.nvfp4 != kind.linear))
          test_wgmma_batch(gpu, g, config, kind);
      }
    }
  }
  test_wgmma_orders(gpu, g);
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
  Gpu gpu;
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
  if (gpu.properties.major == 9 && gpu.properties.minor == 0)
    check(path_runs[NVFP4J_GEMM_PATH_DECODE] > 0 && path_runs[NVFP4J_GEMM_PATH_WGMMA] > 0,
          "DECODE and WGMMA were reached");
  for (const std::string& kernel : kernels) std::printf("  %s\n", kernel.c_str());
  return finish();
}
