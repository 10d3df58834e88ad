// SPDX-License-Identifier: Apache-2.0
// Each configuration of DECODE and of WGMMA by itself, whichever the plan would choose: every kernel that the library holds, with every kind of operand it takes. On Hopper alone; elsewhere there are none.
#pragma once
#include <limits>

#include "gemm_calls.cuh"

namespace nvfp4j::test {

// What a call of one configuration of DECODE or WGMMA is given, besides its shape. (A is BF16 where the problem says so.)
struct Kind {
  bool grouped;
  bool nvfp4;   // A; else packed
  bool linear;  // W
};

inline constexpr Kind kKinds[] = {{false, false, false}, {true, false, false}, {false, true, false},
                                  {true, true, false},   {false, false, true}, {true, false, true},
                                  {false, true, true},   {true, true, true}};

inline Variant variant_of(const Problem& p, const Kind& kind, bool f32) {
  Variant v = {};
  v.a_kind = p.bf16 ? NVFP4J_GEMM_A_BF16 : kind.nvfp4 ? NVFP4J_GEMM_A_NVFP4 : NVFP4J_GEMM_A_PACKED;
  v.w_layout = kind.linear ? NVFP4J_SCALE_LAYOUT_LINEAR : NVFP4J_SCALE_LAYOUT_PREPARED;
  v.d_dtype = f32 ? NVFP4J_DTYPE_F32 : NVFP4J_DTYPE_BF16;
  return v;
}

inline Variant decode_variant(int config, const Problem& p, const Kind& kind, bool f32) {
  Variant v = variant_of(p, kind, f32);
  v.path = NVFP4J_GEMM_PATH_DECODE;
  v.decode = config;
  return v;
}

inline Variant wgmma_variant(int config, const Problem& p, const Kind& kind, bool f32) {
  Variant v = variant_of(p, kind, f32);
  v.path = NVFP4J_GEMM_PATH_WGMMA;
  v.wgmma = config;
  return v;
}

// Whether there is a kernel.
inline bool wgmma_takes(int config, const Kind& kind) {
  if (kind.grouped && config >= kWgmmaBasicConfigs) return false;
  return !kind.linear || wgmma_takes_linear(config);
}

// Every kernel for Hopper that the library holds has been launched.
inline void check_all_reached() {
  const auto reached = [](std::string name, const Kind& kind, bool nvfp4, bool swiglu) {
    name += nvfp4 ? ", nvfp4" : "";
    name += kind.linear ? ", linear" : "";
    name += kind.grouped ? ", grouped" : "";
    name += swiglu ? ", swiglu" : "";
    check(kernels.count(name) == 1, name + " was not reached");
  };
  for (const Kind& kind : kKinds) {
    for (const bool swiglu : {false, true}) {
      for (int i = 0; i < kDecodeConfigs; ++i) {
        const DecodeShape& s = kDecodeShapes[i];
        if ((swiglu && s.wn % 2 != 0) || (kind.grouped && !takes_groups(s))) continue;
        reached("decode " + std::to_string(i) + ", " + std::to_string(8 * s.nt) + " tokens", kind,
                kind.nvfp4, swiglu);
      }
      for (int i = 0; i < kWgmmaConfigs; ++i) {
        if (!wgmma_takes(i, kind)) continue;
        reached(
            "wgmma " + std::to_string(i) + ", " + std::to_string(kWgmmaShapes[i].bm) + " tokens",
            kind, false, swiglu);
      }
    }
  }
}

// A bad scale of the last row of W (with SwiGLU, of up) and the last block of K: who sees it is the last warp, warpgroup or thread block of those that share K.
inline void test_bad_weight(Gpu& gpu, std::mt19937& g, const Problem& p, const Variant& v) {
  Operands o(g, p);
  o.w_scales.back() = 0x7F;
  o.upload(gpu);
  Fault fault;
  fault.causes = 1ull << NVFP4J_CAUSE_BAD_BLOCK_SCALE | 1ull << NVFP4J_CAUSE_NON_FINITE_RESULT;
  fault.first_cause = NVFP4J_CAUSE_BAD_BLOCK_SCALE;
  fault.column = p.batched() ? p.groups * p.n - 1 : p.swiglu ? p.n / 2 - 1 : p.n - 1;
  run(gpu, o, Expected(o), v, fault);
}

// Each kernel of decode, with rows of W that fill no thread block and K that its warps and clusters cannot share evenly; then with faults that one thread sees, all of which must be reported.
inline void test_decode_kernel(Gpu& gpu, std::mt19937& g, int config, bool swiglu,
                               const Kind& kind) {
  const bool grouped = kind.grouped, nvfp4 = kind.nvfp4;
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
      run(gpu, o, expected, decode_variant(config, p, kind, f32));
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
    run(gpu, o, Expected(o), decode_variant(config, p, kind, false), fault);
    if (grouped) p.offsets.back() = static_cast<std::int32_t>(p.m);
    test_bad_weight(gpu, g, p, decode_variant(config, p, kind, false));
    if (swiglu) continue;
    // K that goes round the ring of tokens twice.
    p.n = 16 * s.wn + 32;
    p.k = 1024 * (2 * s.pieces + 1) * s.ck + 256;
    p.scale_per_row = false;
    p.bf16 = !nvfp4;
    Operands more(g, p);
    more.upload(gpu);
    run(gpu, more, Expected(more), decode_variant(config, p, kind, false));
    if (grouped) continue;
    Problem batch = shaped(NVFP4J_OP_BATCHED_GEMM, 3, m, p.n, 256 * (s.ck * s.wk * s.stages + 1));
    Operands batched(g, batch);
    batched.upload(gpu);
    run(gpu, batched, Expected(batched), decode_variant(config, batch, kind, false));
  }
}

// More jobs than thread blocks at a time, of rows of W, of tiles of tokens, or of groups.
inline void test_decode_jobs(Gpu& gpu, std::mt19937& g, int config, bool swiglu, const Kind& kind) {
  const bool grouped = kind.grouped, nvfp4 = kind.nvfp4;
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
    run(gpu, o, Expected(o), decode_variant(config, p, kind, false));
  }
}

inline void test_decode(Gpu& gpu, std::mt19937& g, bool quick) {
  if (!runs_sm90a(gpu.properties)) return;
  for (int config = 0; config < kDecodeConfigs; ++config) {
    const DecodeShape& s = kDecodeShapes[config];
    for (const bool swiglu : {false, true}) {
      for (const Kind& kind : kKinds) {
        if ((swiglu && s.wn % 2 != 0) || (kind.grouped && !takes_groups(s))) continue;
        test_decode_kernel(gpu, g, config, swiglu, kind);
        // (Large weights take the host long.)
        if (kind.nvfp4 == kind.linear && !(quick && (swiglu || kind.nvfp4)))
          test_decode_jobs(gpu, g, config, swiglu, kind);
      }
    }
  }
}

// Each kernel of wgmma, with two tiles of tokens, the last not full, rows of W that fill no thread block, K that cannot be cut evenly and goes round the rings, and D at every alignment; then with faults in rows of one thread,
// all of which must be reported.
inline void test_wgmma_kernel(Gpu& gpu, std::mt19937& g, int config, bool swiglu, const Kind& kind,
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
      Variant v = wgmma_variant(config, p, kind, f32);
      if (pad[0] >= 5)
        v.packed_rows = s.bm - pad[0];  // in parts, of which tiles of one are not full
      run(gpu, o, expected, v);
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

// A batch of more jobs than thread blocks at a time, each of few units. Where K is cut, a few jobs.
inline void test_wgmma_batch(Gpu& gpu, std::mt19937& g, int config, const Kind& kind) {
  const WgmmaShape& s = kWgmmaShapes[config];
  const bool many = config == 0;
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
inline void test_wgmma_waves(Gpu& gpu, std::mt19937& g, int config, bool swiglu, const Kind& kind) {
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
inline void test_wgmma_orders(Gpu& gpu, std::mt19937& g) {
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

inline void test_wgmma(Gpu& gpu, std::mt19937& g, bool quick) {
  if (!runs_sm90a(gpu.properties)) return;
  for (int config = 0; config < kWgmmaConfigs; ++config) {
    for (const bool swiglu : {false, true}) {
      for (const Kind& kind : kKinds) {
        if (!wgmma_takes(config, kind)) continue;
        test_wgmma_kernel(gpu, g, config, swiglu, kind, quick);
        // (How tokens were packed the kernels do not know.)
        if (kind.nvfp4 && config >= kWgmmaBasicConfigs) continue;
        if (!quick || (!kind.grouped && kind.nvfp4 == kind.linear))
          test_wgmma_waves(gpu, g, config, swiglu, kind);
        if (!swiglu && !kind.grouped && !(quick && kind.nvfp4 != kind.linear))
          test_wgmma_batch(gpu, g, config, kind);
      }
    }
  }
  test_wgmma_orders(gpu, g);
}

}  // namespace nvfp4j::test
