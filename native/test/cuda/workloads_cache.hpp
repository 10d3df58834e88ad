// SPDX-License-Identifier: Apache-2.0
// Calls of copy, cache_append_window, cache_append and sample.
#pragma once
#include "workload.hpp"

namespace nvfp4j::test {

// Between two buffers of the side's own memory, with other strides.
inline Workload copy_workload(std::mt19937& g, std::int32_t dtype, std::int64_t rows,
                              std::int64_t columns) {
  const Memory from = random_memory(g, dtype, rows * (columns + 5));
  const Memory to = std::make_shared<Twin>(rows * (columns + 9) * element_bytes(dtype));
  return {"copy dtype " + std::to_string(dtype) + shape_name(rows, columns),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_tensor source = matrix(side, from, dtype, rows, columns, columns + 5);
            const nvfp4j_tensor destination = matrix(side, to, dtype, rows, columns, columns + 9);
            return nvfp4j_copy(context, &source, &destination, error);
          },
          {to}};
}

inline std::vector<std::uint8_t> bytes_of_i64(std::int64_t value) {
  std::vector<std::uint8_t> bytes(8);
  std::memcpy(bytes.data(), &value, 8);
  return bytes;
}

// Into a ring that is shorter than the rows where there are many, or behind what a cache has already.
inline Workload cache_workload(std::mt19937& g, bool window, std::int32_t dtype, std::int64_t rows,
                               std::int64_t columns) {
  constexpr std::int64_t kBefore = 3;
  const std::int64_t slots = window ? 32 : rows + kBefore;
  const Memory from = random_memory(g, dtype, rows * (columns + 5));
  const Memory cache = std::make_shared<Twin>(slots * (columns + 8) * element_bytes(dtype));
  const std::vector<std::uint8_t> before = bytes_of_i64(window ? 1'000'003 : kBefore);
  const Memory counter = std::make_shared<Twin>(before);
  Workload w = {(window ? "cache_append_window dtype " : "cache_append dtype ") +
                    std::to_string(dtype) + shape_name(rows, columns),
                [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
                  const nvfp4j_tensor r = matrix(side, from, dtype, rows, columns, columns + 5);
                  const nvfp4j_tensor c = matrix(side, cache, dtype, slots, columns, columns + 8);
                  const nvfp4j_tensor n = vector(side, counter, NVFP4J_DTYPE_I64, 1);
                  return window ? nvfp4j_cache_append_window(context, &c, &r, &n, error)
                                : nvfp4j_cache_append(context, &c, &r, &n, error);
                },
                {cache}};
  w.advanced = {{counter, before}};
  return w;
}

inline Workload sample_workload(std::mt19937& g, std::int32_t dtype, std::int64_t rows,
                                std::int64_t columns, float temperature, bool given) {
  const Memory logits = random_memory(g, dtype, rows * (columns + 3));
  const Memory offset = std::make_shared<Twin>(bytes_of_i64(-7));
  std::vector<std::uint8_t> e(static_cast<std::size_t>(given ? rows * columns * 4 : 4));
  for (std::size_t i = 0; i < e.size() / 4; ++i)
    store_element(e.data(), NVFP4J_DTYPE_F32, static_cast<std::int64_t>(i),
                  static_cast<float>(g() % 4096 + 1) * 0x1p-10f);
  const Memory noise = std::make_shared<Twin>(e);
  const Memory tokens = std::make_shared<Twin>(rows * 4);
  return {"sample dtype " + std::to_string(dtype) + " temperature " + std::to_string(temperature) +
              (given ? " noise" : "") + shape_name(rows, columns),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_tensor l = matrix(side, logits, dtype, rows, columns, columns + 3);
            const nvfp4j_tensor n = matrix(side, noise, NVFP4J_DTYPE_F32, rows, columns, columns);
            const nvfp4j_tensor o = vector(side, offset, NVFP4J_DTYPE_I64, 1);
            const nvfp4j_tensor t = vector(side, tokens, NVFP4J_DTYPE_I32, rows);
            const nvfp4j_sample_options options = {sizeof options, temperature, 11, 22};
            return nvfp4j_sample(context, &l, given ? &n : nullptr, &o, &options, &t, error);
          },
          {tokens}};
}

inline void for_every_cache_op(std::mt19937& g, std::int64_t rows, std::int64_t columns,
                               const std::function<void(const Workload&)>& use) {
  for (const bool window : {true, false}) {
    for (const std::int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F16})
      use(cache_workload(g, window, dtype, rows, columns));
  }
  for (const std::int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}) {
    use(sample_workload(g, dtype, rows, columns, 0, false));
    use(sample_workload(g, dtype, rows, columns, 0.7f, false));
    use(sample_workload(g, dtype, rows, columns, 0.7f, true));
  }
}

}  // namespace nvfp4j::test
