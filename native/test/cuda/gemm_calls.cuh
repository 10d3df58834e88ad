// SPDX-License-Identifier: Apache-2.0
// One matrix product on the GPU, twice, compared with what it must give; and all variants of a problem.
#pragma once
#include <set>

#include "gemm_expected.cuh"
#include "ops/gemm/gemm_cuda.hpp"
#include "ops/gemm/gemm_plan.hpp"

namespace nvfp4j::test {

constexpr const char* kPathNames[] = {"AUTO", "GENERIC", "DECODE", "WGMMA"};

struct Variant {
  int a_kind;
  int w_layout;
  int d_dtype;
  int path;
  bool batch_invariant;
  int wgmma = -1;   // the configuration of wgmma that the call has instead of the plan's
  int decode = -1;  // or of decode
  std::int64_t packed_rows = 0;  // of NVFP4 A that such a call of wgmma decodes at a time; 0: all
};

// What the data makes a product report.
struct Fault {
  std::uint64_t causes = 0;
  int first_cause = 0;  // -2, and in what follows: any
  std::int64_t row = -1;
  std::int64_t column = -1;
};

inline int path_runs[4];
inline std::set<std::string> kernels;  // that were launched

inline GemmArgs arguments(const Operands& o, const Variant& v) {
  const Problem& p = o.p;
  GemmArgs args{};
  args.op = p.op;
  args.groups = p.groups;
  args.m = p.m;
  args.n = p.n;
  args.k = p.k;
  args.a.kind = v.a_kind;
  args.a.global_scale_per_row = p.scale_per_row && !p.bf16;
  if (v.a_kind == NVFP4J_GEMM_A_BF16) {
    args.a.data = o.a_bf16_at.data();
    args.a.stride = p.a_stride();
  } else {
    const bool packed = v.a_kind == NVFP4J_GEMM_A_PACKED;
    args.a.data = packed ? o.packed_at.data() : o.a_codes_at.data();
    args.a.scales = packed ? nullptr : o.a_scales_at.data();
    args.a.stride = p.a_columns();
    args.a.global_scales = packed ? o.packed_gs_at.as<float>() : o.a_gs_at.as<float>();
  }
  const bool is_prepared = v.w_layout == NVFP4J_SCALE_LAYOUT_PREPARED;
  args.w = {v.w_layout, is_prepared ? o.prepared_at.data() : o.w_codes_at.data(),
            is_prepared ? nullptr : o.w_scales_at.data(),
            is_prepared ? o.prepared_gs_at.as<float>() : o.w_gs_at.as<float>(), p.w_kind};
  const std::int64_t bytes = element_bytes(v.d_dtype);
  args.d = {o.d_at.data() + (p.d_stride() + p.misalign) * bytes, v.d_dtype, p.d_stride()};
  args.offsets = p.op == NVFP4J_OP_GROUPED_GEMM ? o.offsets_at.as<std::int32_t>() : nullptr;
  args.row_weight = p.weighted ? o.row_weight_at.as<float>() : nullptr;
  args.swiglu = p.swiglu;
  args.limit = p.limit;
  args.batch_invariant = v.batch_invariant;
  args.path = v.path;
  return args;
}

inline GemmPlan plan_of(const Gpu& gpu, const GemmArgs& args, const Variant& v) {
  if (v.decode >= 0) {
    return {GemmKernel::kDecode, v.decode, 8 * kDecodeShapes[v.decode].nt,
            "decode: as the test asks", nullptr};
  }
  if (v.wgmma < 0) return plan_gemm(gpu.properties, gemm_shape(args));
  const bool packs = args.a.kind == NVFP4J_GEMM_A_NVFP4;
  return {
      GemmKernel::kWgmma,        v.wgmma, kWgmmaShapes[v.wgmma].bm,
      "wgmma: as the test asks", nullptr, !packs ? 0 : v.packed_rows > 0 ? v.packed_rows : args.m};
}

inline std::string kernel_name(const GemmPlan& plan, const GemmArgs& args) {
  constexpr const char* kNames[] = {"generic", "decode", "wgmma"};
  return std::string(kNames[static_cast<int>(plan.kernel)]) + " " + std::to_string(plan.config) +
         ", " + std::to_string(plan.token_tile) + " tokens" +
         (args.a.kind == NVFP4J_GEMM_A_NVFP4 && plan.packed_rows == 0 ? ", nvfp4" : "") +
         (args.w.layout == NVFP4J_SCALE_LAYOUT_LINEAR ? ", linear" : "") +
         (args.op == NVFP4J_OP_GROUPED_GEMM ? ", grouped" : "") + (args.swiglu ? ", swiglu" : "");
}

inline std::string name_of(const Operands& o, const Variant& v) {
  char text[100];
  std::snprintf(text, sizeof text, " A %d W %d D %d %s%s", v.a_kind, v.w_layout, v.d_dtype,
                kPathNames[v.path], v.batch_invariant ? " batch invariant" : "");
  const int config = v.decode >= 0 ? v.decode : v.wgmma;
  return o.p.name() + text + (config < 0 ? "" : " configuration " + std::to_string(config));
}

inline void check_report(Gpu& gpu, const Operands& o, const Fault& fault, const std::string& name) {
  const DeviceStatus s = gpu.take_status();
  bool right = s.causes[o.p.op] == fault.causes && (s.claimed != 0) == (fault.causes != 0);
  if (right && fault.causes != 0) {
    right = s.first_op == o.p.op &&
            (fault.first_cause == -2 || s.first_cause == fault.first_cause) &&
            (fault.row == -2 || s.first_row == fault.row) &&
            (fault.column == -2 || s.first_column == fault.column);
  }
  char text[120];
  std::snprintf(text, sizeof text, ": report %llx cause %d row %lld column %lld, expected %llx",
                s.causes[o.p.op], s.first_cause, s.first_row, s.first_column,
                static_cast<unsigned long long>(fault.causes));
  check(right, name + text);
}

// D as it lies in memory after a call, with the guard rows around it. Empty where the implementation does not take the shape.
inline std::vector<std::uint8_t> launch(Gpu& gpu, const Operands& o, const Variant& v,
                                        const Fault& fault, bool replayed) {
  const GemmArgs args = arguments(o, v);
  const GemmPlan plan = plan_of(gpu, args, v);
  if (plan.refusal != nullptr) return {};
  const std::string name = name_of(o, v);
  o.d_at.poison();
  const auto call = [&] {
    must(static_cast<cudaError_t>(gemm_cuda(gpu.launch, args, plan)), name.c_str());
  };
  if (replayed) {
    gpu.replay(call, 2);
  } else {
    call();
    gpu.wait();
  }
  ++path_runs[v.path];
  kernels.insert(kernel_name(plan, args));
  check_report(gpu, o, fault, name);
  return o.d_at.get(name.c_str());
}

// Twice, to the same bits, all of which are expected ones; nothing beside D's elements is written. False: refused.
inline bool run(Gpu& gpu, const Operands& o, const Expected& expected, const Variant& v,
                const Fault& fault = {}, bool nothing_written = false) {
  std::vector<std::uint8_t> got = launch(gpu, o, v, fault, false);
  if (got.empty()) return false;
  const std::string name = name_of(o, v);
  static int calls = 0;
  check(got == launch(gpu, o, v, fault, ++calls % 3 == 0), "two runs of " + name);
  const Problem& p = o.p;
  const std::int64_t bytes = element_bytes(v.d_dtype);
  std::uint8_t* d = &got[static_cast<std::size_t>((p.d_stride() + p.misalign) * bytes)];
  std::atomic<std::int64_t> wrong{0};
  std::atomic<std::int64_t> where{-1};
  if (!nothing_written) {
    share(p.m * p.d_columns(), p.swiglu ? 256 : 64, [&](std::int64_t from, std::int64_t to) {
      for (std::int64_t i = from; i < to; ++i) {
        const std::int64_t m = i / p.d_columns(), c = i % p.d_columns();
        if (p.group_of(m, c) < 0) continue;
        std::uint8_t* at = d + (m * p.d_stride() + c) * bytes;
        if (!expected.allows(m, c, at, v.d_dtype)) {
          ++wrong;
          where = i;
        }
        std::memset(at, Buffer::kPoison, static_cast<std::size_t>(bytes));
      }
    });
  }
  check(wrong == 0, name + ": " + std::to_string(wrong) + " of " +
                        std::to_string(p.m * p.d_columns()) + " differ, one at row " +
                        std::to_string(where / p.d_columns()) + " column " +
                        std::to_string(where % p.d_columns()));
  const bool clean =
      std::all_of(got.begin(), got.end(), [](std::uint8_t b) { return b == Buffer::kPoison; });
  check(clean, name + ": bytes beside the elements of D were written");
  return true;
}

inline std::vector<int> a_kinds(const Problem& p) {
  if (p.bf16) return {NVFP4J_GEMM_A_BF16};
  return {NVFP4J_GEMM_A_NVFP4, NVFP4J_GEMM_A_PACKED};
}

// Every implementation, layout and type.
template <class Use>
inline void for_every_variant(const Problem& p, const Use& use) {
  for (const int a_kind : a_kinds(p)) {
    for (const int w_layout : {NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_SCALE_LAYOUT_PREPARED}) {
      for (const int d_dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
        if (p.swiglu && d_dtype == NVFP4J_DTYPE_F32) continue;
        for (int path = 0; path < 4; ++path) use(Variant{a_kind, w_layout, d_dtype, path, false});
      }
    }
  }
}

inline void test_problem(Gpu& gpu, std::mt19937& g, const Problem& p) {
  Operands o(g, p);
  o.upload(gpu);
  const Expected expected(o);
  if (!p.bf16 && !p.wide && p.k <= 512 && p.op != NVFP4J_OP_GROUPED_GEMM)
    check(expected.certified() == p.m * p.columns(), "the certificate of " + p.name());
  for_every_variant(p, [&](const Variant& v) {
    const bool taken = run(gpu, o, expected, v);
    if (v.path <= NVFP4J_GEMM_PATH_GENERIC) check(taken, name_of(o, v) + " is refused");
  });
}

}  // namespace nvfp4j::test
