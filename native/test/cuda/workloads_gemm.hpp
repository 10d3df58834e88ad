// SPDX-License-Identifier: Apache-2.0
// Calls of the matrix products, prepare_weights and pack_activations.
#pragma once
#include <algorithm>

#include "workload.hpp"

namespace nvfp4j::test {

// The data is such that every order of a sum is exact, up to K = 16384: magnitudes up to 1 as codes, block scales from one binade.

inline Nvfp4Twin exact_nvfp4(std::mt19937& g, std::int64_t rows, std::int64_t columns,
                             std::int32_t kind, std::int64_t groups = 1) {
  Nvfp4Twin x(rows, columns, NVFP4J_SCALE_LAYOUT_LINEAR, kind, groups);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(x.codes->bytes()));
  const auto code = [&] { return g() % 3 | (g() % 2) << 3; };
  for (std::uint8_t& b : codes) b = static_cast<std::uint8_t>(code() | code() << 4);
  std::vector<std::uint8_t> scales(static_cast<std::size_t>(x.scales->bytes()));
  for (std::uint8_t& b : scales) b = static_cast<std::uint8_t>(0x38 + g() % 8);
  x.codes = std::make_shared<Twin>(codes);
  x.scales = std::make_shared<Twin>(scales);
  x.global_scales = random_scales(g, x.global_scales->bytes() / 4);
  return x;
}

// Multiples of 1/4 up to 2.
inline Memory exact_bf16(std::mt19937& g, std::int64_t elements) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(2 * elements));
  for (std::int64_t i = 0; i < elements; ++i) {
    store_element(bytes.data(), NVFP4J_DTYPE_BF16, i,
                  0.25f * (static_cast<float>(g() % 17) - 8.0f));
  }
  return std::make_shared<Twin>(bytes);
}

// The same tensor PREPARED or PACKED, by the CPU: what it writes is what the device reads.
inline Nvfp4Twin in_layout(const Nvfp4Twin& x, std::int32_t layout) {
  if (layout == x.layout) return x;
  static const fixture::Context cpu;
  const Nvfp4Twin to(x.rows, x.columns, layout, x.kind, x.groups);
  const nvfp4j_nvfp4_tensor source = x.at(Side::kCpu);
  const nvfp4j_nvfp4_tensor target = to.at(Side::kCpu);
  CHECK_OK(layout == NVFP4J_SCALE_LAYOUT_PREPARED
               ? nvfp4j_prepare_weights(cpu, &source, &target, error)
               : nvfp4j_pack_activations(cpu, &source, &target, error));
  CHECK_OK(nvfp4j_context_synchronize(cpu, nullptr, error));
  to.codes->copy_to_device();
  to.global_scales->copy_to_device();
  return to;
}

// gemm, grouped_gemm or batched_gemm of `rows` rows of A; a_kind is one of NVFP4J_GEMM_A_*.
inline Workload gemm_workload(std::mt19937& g, std::int32_t op, std::int64_t groups,
                              std::int64_t rows, std::int64_t n, std::int64_t k,
                              std::int32_t a_kind, std::int32_t w_layout, std::int32_t dtype,
                              bool swiglu = false) {
  const bool batched = op == NVFP4J_OP_BATCHED_GEMM;
  const std::int64_t width = batched ? groups * k : k;
  const std::int64_t columns = batched ? groups * n : swiglu ? n / 2 : n;
  const std::int64_t stride = columns + 8;
  const bool bf16 = a_kind == NVFP4J_GEMM_A_BF16;
  const Memory x = exact_bf16(g, bf16 ? rows * width : 0);
  const Nvfp4Twin a = in_layout(
      exact_nvfp4(
          g, bf16 ? 0 : rows, width,
          a_kind == NVFP4J_GEMM_A_NVFP4 ? NVFP4J_GLOBAL_SCALE_ROW : NVFP4J_GLOBAL_SCALE_TENSOR),
      a_kind == NVFP4J_GEMM_A_PACKED ? NVFP4J_SCALE_LAYOUT_PACKED : NVFP4J_SCALE_LAYOUT_LINEAR);
  const std::int32_t kind = swiglu                 ? NVFP4J_GLOBAL_SCALE_HALVES
                            : op != NVFP4J_OP_GEMM ? NVFP4J_GLOBAL_SCALE_GROUP
                                                   : NVFP4J_GLOBAL_SCALE_TENSOR;
  const Nvfp4Twin w = in_layout(exact_nvfp4(g, n, k, kind, groups), w_layout);
  // An expert without rows, and a row of nobody's, where there are that many.
  std::vector<std::int32_t> ends(static_cast<std::size_t>(groups) + 1);
  for (std::int32_t& end : ends)
    end = static_cast<std::int32_t>(g() % static_cast<std::uint32_t>(rows + 1));
  std::sort(ends.begin(), ends.end());
  if (groups > 2) ends[2] = ends[1];
  const Memory offsets = i32_memory(ends);
  const Memory weight = random_memory(g, NVFP4J_DTYPE_F32, rows);
  // Rows of nobody's stay as they are, on both sides.
  const Memory d = std::make_shared<Twin>(rows * stride * element_bytes(dtype));
  nvfp4j_gemm_options options = fixture::gemm_options(swiglu);
  options.weights_settled = static_cast<std::int32_t>(g() % 2);  // as they are here
  return {"product " + std::to_string(op) + " of " + std::to_string(groups) + " groups, A " +
              std::to_string(a_kind) + " W " + std::to_string(w_layout) + " D " +
              std::to_string(dtype) + (swiglu ? " swiglu" : "") + shape_name(rows, width) + " x" +
              shape_name(n, k),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_tensor x_in =
                matrix(side, x, NVFP4J_DTYPE_BF16, bf16 ? rows : 0, width, width);
            const nvfp4j_nvfp4_tensor a_in = a.at(side);
            const nvfp4j_nvfp4_tensor w_in = w.at(side);
            const nvfp4j_tensor o = vector(side, offsets, NVFP4J_DTYPE_I32, groups + 1);
            const nvfp4j_tensor factors = vector(side, weight, NVFP4J_DTYPE_F32, rows);
            const nvfp4j_tensor out = matrix(side, d, dtype, rows, columns, stride);
            const nvfp4j_tensor* dense = bf16 ? &x_in : nullptr;
            const nvfp4j_nvfp4_tensor* coded = bf16 ? nullptr : &a_in;
            const nvfp4j_tensor* row_weight = swiglu ? &factors : nullptr;
            switch (op) {
              case NVFP4J_OP_GROUPED_GEMM:
                return nvfp4j_grouped_gemm(context, dense, coded, &w_in, &o, row_weight, &options,
                                           &out, error);
              case NVFP4J_OP_BATCHED_GEMM:
                return nvfp4j_batched_gemm(context, dense, coded, &w_in, &options, &out, error);
              default:
                return nvfp4j_gemm(context, dense, coded, &w_in, row_weight, &options, &out, error);
            }
          },
          {d}};
}

inline Workload prepare_weights_workload(std::mt19937& g, std::int64_t groups, std::int64_t n,
                                         std::int64_t k) {
  Nvfp4Twin w = exact_nvfp4(g, n, k, NVFP4J_GLOBAL_SCALE_GROUP, groups);
  w.codes = random_bytes(g, w.codes->bytes());
  w.scales = random_bytes(g, w.scales->bytes(), 0x7F);
  const Nvfp4Twin to(n, k, NVFP4J_SCALE_LAYOUT_PREPARED, w.kind, groups);
  return {"prepare_weights of " + std::to_string(groups) + " groups" + shape_name(n, k),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_nvfp4_tensor in = w.at(side);
            const nvfp4j_nvfp4_tensor out = to.at(side);
            return nvfp4j_prepare_weights(context, &in, &out, error);
          },
          {to.codes, to.global_scales}};
}

inline Workload pack_activations_workload(std::mt19937& g, std::int64_t rows,
                                          std::int64_t columns) {
  Nvfp4Twin a = exact_nvfp4(g, rows, columns, NVFP4J_GLOBAL_SCALE_ROW);
  a.codes = random_bytes(g, a.codes->bytes());
  a.scales = random_bytes(g, a.scales->bytes(), 0x7F);
  const Nvfp4Twin to(rows, columns, NVFP4J_SCALE_LAYOUT_PACKED, a.kind);
  return {"pack_activations" + shape_name(rows, columns),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_nvfp4_tensor in = a.at(side);
            const nvfp4j_nvfp4_tensor out = to.at(side);
            return nvfp4j_pack_activations(context, &in, &out, error);
          },
          {to.codes, to.global_scales}};
}

// Products of [rows, columns] with few weights: each kind of A and each layout of W, tiled where columns allow it.
inline void for_every_product(std::mt19937& g, std::int64_t rows, std::int64_t columns,
                              const std::function<void(const Workload&)>& use) {
  constexpr std::int32_t kLinear = NVFP4J_SCALE_LAYOUT_LINEAR;
  constexpr std::int32_t kPrepared = NVFP4J_SCALE_LAYOUT_PREPARED;
  constexpr std::int32_t kBf16 = NVFP4J_DTYPE_BF16;
  constexpr std::int32_t kF32 = NVFP4J_DTYPE_F32;
  const auto gemm = [&](std::int64_t n, std::int32_t a, std::int32_t w, std::int32_t d,
                        bool swiglu = false) {
    use(gemm_workload(g, NVFP4J_OP_GEMM, 1, rows, n, columns, a, w, d, swiglu));
  };
  gemm(24, NVFP4J_GEMM_A_BF16, kLinear, kF32);
  gemm(64, NVFP4J_GEMM_A_NVFP4, kPrepared, kBf16);
  gemm(208, NVFP4J_GEMM_A_PACKED, kPrepared, kF32);
  gemm(64, NVFP4J_GEMM_A_BF16, kPrepared, kBf16, true);
  const auto grouped = [&](std::int32_t a, std::int32_t w, std::int32_t d, bool swiglu) {
    use(gemm_workload(g, NVFP4J_OP_GROUPED_GEMM, 5, rows, 64, columns, a, w, d, swiglu));
  };
  grouped(NVFP4J_GEMM_A_NVFP4, kLinear, kF32, false);
  grouped(NVFP4J_GEMM_A_PACKED, kPrepared, kBf16, false);
  grouped(NVFP4J_GEMM_A_BF16, kPrepared, kBf16, true);
  const std::int64_t groups = columns % 32 == 0 ? 2 : 1;
  use(gemm_workload(g, NVFP4J_OP_BATCHED_GEMM, groups, rows, 64, columns / groups,
                    NVFP4J_GEMM_A_BF16, kPrepared, kBf16));
  use(gemm_workload(g, NVFP4J_OP_BATCHED_GEMM, groups, rows, 24, columns / groups,
                    NVFP4J_GEMM_A_NVFP4, kLinear, kF32));
  use(prepare_weights_workload(g, 2, 64, columns));
  use(pack_activations_workload(g, rows, columns));
}

}  // namespace nvfp4j::test
