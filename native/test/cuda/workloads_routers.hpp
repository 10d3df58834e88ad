// SPDX-License-Identifier: Apache-2.0
// Calls of router_dense and router_hash.
#pragma once
#include "workloads_gemm.hpp"

namespace nvfp4j::test {

// The data is such that every order of a sum is exact, up to D = 16384, also in F32.

// x [rows, columns] of multiples of 1/4 and W [experts, columns] of such or NVFP4, with a gap behind each row.
struct RouterInputs {
  RouterInputs(std::mt19937& g, std::int32_t x_type, std::int32_t w_type, std::int64_t tokens,
               std::int64_t d, std::int64_t e)
      : rows(tokens),
        columns(d),
        experts(e),
        x_dtype(x_type),
        w_dtype(w_type),
        x(exact(g, x_type, tokens * (d + kGap))),
        w(exact(g, w_type, w_type == NVFP4J_DTYPE_U8 ? 0 : e * (d + kGap))),
        coded(exact_nvfp4(g, e, d, NVFP4J_GLOBAL_SCALE_TENSOR)) {}

  static Memory exact(std::mt19937& g, std::int32_t dtype, std::int64_t elements) {
    if (dtype != NVFP4J_DTYPE_F32) return exact_bf16(g, elements);
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(4 * elements));
    for (std::int64_t i = 0; i < elements; ++i)
      store_element(bytes.data(), dtype, i, 0.25f * (static_cast<float>(g() % 17) - 8.0f));
    return std::make_shared<Twin>(bytes);
  }
  std::string name() const {
    return " x " + std::to_string(x_dtype) + " W " + std::to_string(w_dtype) + " E " +
           std::to_string(experts) + shape_name(rows, columns);
  }
  nvfp4j_tensor x_at(Side side) const {
    return matrix(side, x, x_dtype, rows, columns, columns + kGap);
  }
  bool is_coded() const { return w_dtype == NVFP4J_DTYPE_U8; }
  nvfp4j_tensor w_at(Side side) const {
    return matrix(side, w, is_coded() ? NVFP4J_DTYPE_BF16 : w_dtype, is_coded() ? 0 : experts,
                  columns, columns + kGap);
  }

  static constexpr std::int64_t kGap = 8;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t experts;
  std::int32_t x_dtype;
  std::int32_t w_dtype;
  Memory x;
  Memory w;
  Nvfp4Twin coded;
};

inline Workload router_dense_workload(std::mt19937& g, std::int32_t x_dtype, std::int32_t w_dtype,
                                      std::int64_t rows, std::int64_t columns, std::int64_t experts,
                                      std::int64_t k) {
  const RouterInputs in(g, x_dtype, w_dtype, rows, columns, experts);
  const Memory bias = random_memory(g, NVFP4J_DTYPE_F32, experts);
  const auto settled = static_cast<std::int32_t>(g() % 2);  // as the weights are here
  const Memory indices = std::make_shared<Twin>(rows * (k + 2) * 4);
  const Memory weights = std::make_shared<Twin>(rows * k * 4);
  const Memory logits = std::make_shared<Twin>(rows * (experts + 1) * 4);
  return {"router_dense" + in.name(),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_tensor x = in.x_at(side);
            const nvfp4j_tensor w = in.w_at(side);
            const nvfp4j_nvfp4_tensor coded = in.coded.at(side);
            const nvfp4j_tensor b = vector(side, bias, NVFP4J_DTYPE_F32, experts);
            const nvfp4j_tensor i = matrix(side, indices, NVFP4J_DTYPE_I32, rows, k, k + 2);
            const nvfp4j_tensor p = matrix(side, weights, NVFP4J_DTYPE_F32, rows, k, k);
            const nvfp4j_tensor z =
                matrix(side, logits, NVFP4J_DTYPE_F32, rows, experts, experts + 1);
            const nvfp4j_router_options options = {sizeof options, 2.5f, settled};
            return nvfp4j_router_dense(context, &x, in.is_coded() ? nullptr : &w,
                                       in.is_coded() ? &coded : nullptr, &b, &options, &i, &p, &z,
                                       error);
          },
          {indices, weights, logits}};
}

inline Workload router_hash_workload(std::mt19937& g, std::int32_t x_dtype, std::int32_t w_dtype,
                                     std::int64_t rows, std::int64_t columns, std::int64_t experts,
                                     std::int64_t k) {
  constexpr std::int64_t kVocabulary = 100;
  const RouterInputs in(g, x_dtype, w_dtype, rows, columns, experts);
  const auto integers = [&](std::int64_t count, std::int64_t end) {
    std::vector<std::int32_t> values(static_cast<std::size_t>(count));
    for (std::int32_t& v : values)
      v = static_cast<std::int32_t>(g() % static_cast<std::uint32_t>(end));
    return i32_memory(values);
  };
  const Memory table = integers(kVocabulary * k, experts);
  const Memory ids = integers(rows, kVocabulary);
  const auto settled = static_cast<std::int32_t>(g() % 2);  // as weights and table are here
  const Memory indices = std::make_shared<Twin>(rows * (k + 2) * 4);
  const Memory weights = std::make_shared<Twin>(rows * k * 4);
  return {"router_hash" + in.name(),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_tensor x = in.x_at(side);
            const nvfp4j_tensor w = in.w_at(side);
            const nvfp4j_nvfp4_tensor coded = in.coded.at(side);
            const nvfp4j_tensor t = matrix(side, table, NVFP4J_DTYPE_I32, kVocabulary, k, k);
            const nvfp4j_tensor d = vector(side, ids, NVFP4J_DTYPE_I32, rows);
            const nvfp4j_tensor i = matrix(side, indices, NVFP4J_DTYPE_I32, rows, k, k + 2);
            const nvfp4j_tensor p = matrix(side, weights, NVFP4J_DTYPE_F32, rows, k, k);
            const nvfp4j_router_options options = {sizeof options, 1.5f, settled};
            return nvfp4j_router_hash(context, &x, in.is_coded() ? nullptr : &w,
                                      in.is_coded() ? &coded : nullptr, &t, &d, &options, &i, &p,
                                      error);
          },
          {indices, weights}};
}

inline void for_every_router(std::mt19937& g, std::int64_t rows, std::int64_t columns,
                             const std::function<void(const Workload&)>& use) {
  for (const std::int32_t w : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32, NVFP4J_DTYPE_U8}) {
    for (const std::int32_t x : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
      use(router_dense_workload(g, x, w, rows, columns, w == NVFP4J_DTYPE_F32 ? 39 : 64, 6));
      use(router_hash_workload(g, x, w, rows, columns, 64, w == NVFP4J_DTYPE_F32 ? 5 : 6));
    }
  }
}

}  // namespace nvfp4j::test
