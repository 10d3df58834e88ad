// SPDX-License-Identifier: Apache-2.0
// Calls of the routers on the CPU device: a problem in strided memory, and what came out.
#pragma once
#include <optional>

#include "fixture.hpp"
#include "router_model.hpp"

namespace router {

/// Elements between rows.
struct Gaps {
  std::int64_t x = 0;
  std::int64_t w = 0;
  std::int64_t out = 0;
};

/// Rows with a gap behind each, in poisoned memory.
struct Rows {
  Rows(std::int64_t row_count, std::int64_t column_count, std::int32_t type, std::int64_t gap)
      : rows(row_count),
        columns(column_count),
        stride(column_count + gap),
        dtype(type),
        bytes(row_count * stride * fixture::element_bytes(type) + 16) {}
  nvfp4j_tensor tensor() const {
    return fixture::matrix(bytes.data(), dtype, rows, columns, stride);
  }
  void put(const std::vector<float>& values) const {
    for (std::int64_t i = 0; i < rows * columns; ++i) {
      const std::int64_t at = i / columns * stride + i % columns;
      const float v = values[static_cast<std::size_t>(i)];
      if (dtype == NVFP4J_DTYPE_F32) {
        std::memcpy(bytes.data() + 4 * at, &v, 4);
      } else {
        const std::uint16_t half = bf16_of(v);
        std::memcpy(bytes.data() + 2 * at, &half, 2);
      }
    }
  }
  /// The elements side by side, of outputs of four bytes; what is between them must be poison.
  template <class T>
  std::vector<T> get() const {
    std::vector<T> values(static_cast<std::size_t>(rows * columns));
    for (std::int64_t i = 0; i < rows * columns; ++i) {
      std::memcpy(&values[static_cast<std::size_t>(i)],
                  bytes.data() + 4 * (i / columns * stride + i % columns), 4);
    }
    bool clean = true;
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t i = 4 * (r * stride + columns); i < 4 * (r + 1) * stride; ++i)
        clean = clean && bytes[i] == 0xA5;
    }
    for (std::int64_t i = 4 * rows * stride; i < bytes.size(); ++i)
      clean = clean && bytes[i] == 0xA5;
    CHECK(clean);
    return values;
  }

  std::int64_t rows;
  std::int64_t columns;
  std::int64_t stride;
  std::int32_t dtype;
  fixture::Bytes bytes;
};

struct Result {
  std::vector<std::int32_t> indices;
  std::vector<float> weights;
  std::vector<float> logits;
  fixture::Outcome said;
  nvfp4j_status_record record;
};

/// x and W of a problem.
struct Operands {
  Operands(const Problem& p, const Gaps& gaps)
      : x(p.shape.tokens, p.shape.columns, p.shape.x_dtype, gaps.x) {
    x.put(p.x);
    x_tensor = x.tensor();
    if (!p.shape.nvfp4()) {
      w.emplace(p.shape.experts, p.shape.columns, p.shape.w_dtype, gaps.w);
      w->put(p.w);
      w_tensor = w->tensor();
      return;
    }
    coded.emplace(p.shape.experts, p.shape.columns);
    std::memcpy(coded->codes.data(), p.codes.data(), p.codes.size());
    std::memcpy(coded->scales.data(), p.scales.data(), p.scales.size());
    *coded->gs() = p.global_scale;
  }
  const nvfp4j_tensor* dense() const { return w ? &w_tensor : nullptr; }
  const nvfp4j_nvfp4_tensor* nvfp4() const { return coded ? &coded->descriptor : nullptr; }

  Rows x;
  std::optional<Rows> w;
  std::optional<fixture::Nvfp4> coded;
  nvfp4j_tensor x_tensor;
  nvfp4j_tensor w_tensor{};
};

inline void synchronize(nvfp4j_context* context, Result& r) {
  r.record = fixture::status_record();
  r.said = fixture::outcome(
      [&](nvfp4j_error* error) { return nvfp4j_context_synchronize(context, &r.record, error); });
}

inline Result run_dense(nvfp4j_context* context, const Problem& p, const Gaps& gaps = {},
                        bool with_logits = true) {
  const Shape& s = p.shape;
  const Operands in(p, gaps);
  std::vector<float> bias = p.bias;
  const nvfp4j_tensor b = fixture::tensor(bias.data(), NVFP4J_DTYPE_F32, {s.experts});
  const Rows indices(s.tokens, s.topk, NVFP4J_DTYPE_I32, gaps.out);
  const Rows weights(s.tokens, s.topk, NVFP4J_DTYPE_F32, gaps.out);
  const Rows logits(s.tokens, s.experts, NVFP4J_DTYPE_F32, gaps.out);
  const nvfp4j_tensor i = indices.tensor(), w = weights.tensor(), z = logits.tensor();
  const nvfp4j_router_options options = {sizeof options, p.scale, 0};
  CHECK_OK(nvfp4j_router_dense(context, &in.x_tensor, in.dense(), in.nvfp4(), &b, &options, &i, &w,
                               with_logits ? &z : nullptr, error));
  Result r;
  r.indices = indices.get<std::int32_t>();
  r.weights = weights.get<float>();
  r.logits = logits.get<float>();
  synchronize(context, r);
  return r;
}

/// A table [V, k] and token ids, as I32 or I64.
struct Lookup {
  std::vector<std::int64_t> table;
  std::vector<std::int64_t> ids;
  bool table_is_64_bit = false;
  bool ids_are_64_bit = false;
};

/// Integers in memory, as I32 or I64.
inline std::vector<std::uint8_t> integers(const std::vector<std::int64_t>& values, bool is_64_bit) {
  std::vector<std::uint8_t> bytes(values.size() * (is_64_bit ? 8 : 4));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto narrow = static_cast<std::int32_t>(values[i]);
    if (is_64_bit) {
      std::memcpy(&bytes[8 * i], &values[i], 8);
    } else {
      std::memcpy(&bytes[4 * i], &narrow, 4);
    }
  }
  return bytes;
}

inline Result run_hash(nvfp4j_context* context, const Problem& p, const Lookup& lookup,
                       const Gaps& gaps = {}) {
  const Shape& s = p.shape;
  const Operands in(p, gaps);
  std::vector<std::uint8_t> table = integers(lookup.table, lookup.table_is_64_bit);
  std::vector<std::uint8_t> ids = integers(lookup.ids, lookup.ids_are_64_bit);
  const auto type = [](bool is_64_bit) { return is_64_bit ? NVFP4J_DTYPE_I64 : NVFP4J_DTYPE_I32; };
  const nvfp4j_tensor t =
      fixture::tensor(table.data(), type(lookup.table_is_64_bit),
                      {static_cast<std::int64_t>(lookup.table.size()) / s.topk, s.topk});
  const nvfp4j_tensor d = fixture::tensor(ids.data(), type(lookup.ids_are_64_bit), {s.tokens});
  const Rows indices(s.tokens, s.topk, NVFP4J_DTYPE_I32, gaps.out);
  const Rows weights(s.tokens, s.topk, NVFP4J_DTYPE_F32, gaps.out);
  const nvfp4j_tensor i = indices.tensor(), w = weights.tensor();
  const nvfp4j_router_options options = {sizeof options, p.scale, 0};
  CHECK_OK(nvfp4j_router_hash(context, &in.x_tensor, in.dense(), in.nvfp4(), &t, &d, &options, &i,
                              &w, error));
  Result r;
  r.indices = indices.get<std::int32_t>();
  r.weights = weights.get<float>();
  synchronize(context, r);
  return r;
}

}  // namespace router
