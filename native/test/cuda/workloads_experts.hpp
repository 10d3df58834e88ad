// SPDX-License-Identifier: Apache-2.0
// Calls of expert_dispatch and expert_combine.
#pragma once
#include "workload.hpp"

namespace nvfp4j::test {

inline Workload expert_dispatch_workload(std::mt19937& g, std::int64_t tokens, std::int64_t k,
                                         std::int64_t experts, std::int64_t gap, bool weighted) {
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < tokens * (k + gap); ++i)
    ids.push_back(static_cast<std::int32_t>(g() % static_cast<std::uint64_t>(experts)));
  const Memory indices = i32_memory(ids);
  const Memory weights = random_memory(g, NVFP4J_DTYPE_F32, tokens * k);
  const Memory offsets = std::make_shared<Twin>((experts + 1) * 4);
  const Memory rows = std::make_shared<Twin>(tokens * k * 4);
  const Memory positions = std::make_shared<Twin>(tokens * (k + gap) * 4);
  const Memory row_weights = std::make_shared<Twin>(tokens * k * 4);
  return {"expert_dispatch experts " + std::to_string(experts) + " gap " + std::to_string(gap) +
              (weighted ? " weights" : "") + shape_name(tokens, k),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_tensor i = matrix(side, indices, NVFP4J_DTYPE_I32, tokens, k, k + gap);
            const nvfp4j_tensor w = matrix(side, weights, NVFP4J_DTYPE_F32, tokens, k, k);
            const nvfp4j_tensor o = vector(side, offsets, NVFP4J_DTYPE_I32, experts + 1);
            const nvfp4j_tensor r = vector(side, rows, NVFP4J_DTYPE_I32, tokens * k);
            const nvfp4j_tensor p = matrix(side, positions, NVFP4J_DTYPE_I32, tokens, k, k + gap);
            const nvfp4j_tensor q = vector(side, row_weights, NVFP4J_DTYPE_F32, tokens * k);
            return nvfp4j_expert_dispatch(context, &i, weighted ? &w : nullptr, &o, &r, &p,
                                          weighted ? &q : nullptr, error);
          },
          weighted ? std::vector<Memory>{offsets, rows, positions, row_weights}
                   : std::vector<Memory>{offsets, rows, positions}};
}

// Every seventh position is -1.
inline Workload expert_combine_workload(std::mt19937& g, std::int32_t dtype, std::int32_t out_dtype,
                                        std::int64_t tokens, std::int64_t k, std::int64_t columns,
                                        bool weighted) {
  constexpr std::int64_t kGap = 8;
  const std::int64_t y_rows = tokens * k;
  std::vector<std::int32_t> places;
  for (std::int64_t i = 0; i < y_rows; ++i) {
    places.push_back(
        i % 7 == 6 ? -1 : static_cast<std::int32_t>(g() % static_cast<std::uint64_t>(y_rows)));
  }
  const Memory y = random_memory(g, dtype, y_rows * columns);
  const Memory positions = i32_memory(places);
  const Memory weights = random_memory(g, NVFP4J_DTYPE_F32, y_rows);
  const Memory shared = random_memory(g, dtype, tokens * columns);
  const Memory out = std::make_shared<Twin>(tokens * (columns + kGap) * element_bytes(out_dtype));
  return {
      "expert_combine dtypes " + std::to_string(dtype) + " " + std::to_string(out_dtype) + " k " +
          std::to_string(k) + (weighted ? " weights" : "") + shape_name(tokens, columns),
      [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
        const nvfp4j_tensor y_in = matrix(side, y, dtype, y_rows, columns, columns);
        const nvfp4j_tensor p = matrix(side, positions, NVFP4J_DTYPE_I32, tokens, k, k);
        const nvfp4j_tensor w = matrix(side, weights, NVFP4J_DTYPE_F32, tokens, k, k);
        const nvfp4j_tensor s = matrix(side, shared, dtype, tokens, columns, columns);
        const nvfp4j_tensor o = matrix(side, out, out_dtype, tokens, columns, columns + kGap);
        return nvfp4j_expert_combine(context, &y_in, &p, weighted ? &w : nullptr, &s, &o, error);
      },
      {out}};
}

inline void for_every_expert_op(std::mt19937& g, std::int64_t rows, std::int64_t columns,
                                const std::function<void(const Workload&)>& use) {
  use(expert_dispatch_workload(g, rows, 6, 256, 0, true));
  use(expert_dispatch_workload(g, rows, 8, 384, 0, false));
  use(expert_dispatch_workload(g, rows, 3, 1024, 2, true));
  for (const std::int32_t dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
    for (const std::int32_t out : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32})
      use(expert_combine_workload(g, dtype, out, rows, 3, columns, dtype == out));
  }
}

}  // namespace nvfp4j::test
