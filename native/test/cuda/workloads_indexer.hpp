// SPDX-License-Identifier: Apache-2.0
// Calls of indexer_topk.
#pragma once
#include "workload.hpp"

namespace nvfp4j::test {

// Multiples of 1/4: every order of a sum is exact, and many scores are equal.
inline Memory exact_values(std::mt19937& g, std::int32_t dtype, std::int64_t elements) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(elements * element_bytes(dtype)));
  for (std::int64_t i = 0; i < elements; ++i)
    store_element(bytes.data(), dtype, i, 0.25f * (static_cast<float>(g() % 9) - 4.0f));
  return std::make_shared<Twin>(bytes);
}

// Rows that each query sees: all, none, or any number.
inline Memory visible_rows(std::mt19937& g, std::int64_t queries, std::int64_t rows) {
  std::vector<std::int32_t> valid(static_cast<std::size_t>(queries));
  for (std::int32_t& v : valid) {
    v = static_cast<std::int32_t>(g() % 3 == 0   ? static_cast<std::uint32_t>(rows)
                                  : g() % 8 == 0 ? 0u
                                                 : g() % static_cast<std::uint32_t>(rows + 1));
  }
  return i32_memory(valid);
}

inline Workload indexer_workload(std::mt19937& g, std::int32_t dtype, std::int64_t queries,
                                 std::int64_t rows, std::int64_t k, std::int64_t heads = 5,
                                 std::int64_t columns = 48) {
  const Memory q = exact_values(g, dtype, queries * heads * columns);
  const Memory keys = exact_values(g, dtype, rows * (columns + 8));
  const Memory weights = exact_values(g, NVFP4J_DTYPE_F32, queries * heads);
  const Memory valid = visible_rows(g, queries, rows);
  const Memory indices = std::make_shared<Twin>(queries * (k + 3) * 4);
  const Memory scores = std::make_shared<Twin>(queries * (rows + 1) * 4);
  return {"indexer_topk dtype " + std::to_string(dtype) + " k " + std::to_string(k) + " heads " +
              std::to_string(heads) + shape_name(queries, rows),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_tensor q_in = streams(side, q, dtype, queries, heads, columns);
            const nvfp4j_tensor keys_in = matrix(side, keys, dtype, rows, columns, columns + 8);
            const nvfp4j_tensor w = matrix(side, weights, NVFP4J_DTYPE_F32, queries, heads, heads);
            const nvfp4j_tensor v = vector(side, valid, NVFP4J_DTYPE_I32, queries);
            const nvfp4j_tensor i = matrix(side, indices, NVFP4J_DTYPE_I32, queries, k, k + 3);
            const nvfp4j_tensor s = matrix(side, scores, NVFP4J_DTYPE_F32, queries, rows, rows + 1);
            return nvfp4j_indexer_topk(context, &q_in, &keys_in, &w, &v, &i, &s, error);
          },
          {indices, scores}};
}

// As many queries as there are rows of other ops, and somewhat more rows of keys than they have columns.
inline void for_every_indexer(std::mt19937& g, std::int64_t rows, std::int64_t columns,
                              const std::function<void(const Workload&)>& use) {
  const std::int64_t queries = std::min<std::int64_t>(rows, 200);
  use(indexer_workload(g, NVFP4J_DTYPE_BF16, queries, 2 * columns + 37, 512));
  use(indexer_workload(g, NVFP4J_DTYPE_BF16, std::min<std::int64_t>(rows, 3), columns, 1));
  use(indexer_workload(g, NVFP4J_DTYPE_F32, std::min<std::int64_t>(rows, 9), columns, 1024));
}

}  // namespace nvfp4j::test
