// SPDX-License-Identifier: Apache-2.0
#include "ops/router_dense/router_checks.hpp"

#include <cmath>
#include <cstdint>
#include <initializer_list>

namespace nvfp4j {
namespace {

constexpr std::int32_t kInvalid = NVFP4J_ERROR_INVALID_ARGUMENT;
constexpr std::int64_t kMaxColumns = std::int64_t{1} << 24;
constexpr DtypeSet kFloats = dtype_set({NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32});
constexpr DtypeSet kIntegers = dtype_set({NVFP4J_DTYPE_I32, NVFP4J_DTYPE_I64});
constexpr Nvfp4Accepted kGate{1u << NVFP4J_SCALE_LAYOUT_LINEAR, 1u << NVFP4J_GLOBAL_SCALE_TENSOR,
                              false};

Matrix check_activations(const Place& place, const nvfp4j_tensor* tensor) {
  const Matrix x = check_matrix(place, "x", tensor, kFloats);
  if (x.columns < 1 || x.columns > kMaxColumns) [[unlikely]] {
    fail(kInvalid, "%s: x has D = %lld columns, expected 1 to 2^24", place.op,
         static_cast<long long>(x.columns));
  }
  return x;
}

RouterActivations activations_of(const Matrix& x) {
  return {x.data, x.stride, x.rows, x.columns, x.dtype};
}

struct CheckedGate {
  RouterGate gate;       // settled once the options have been checked
  Nvfp4Buffers buffers;  // not NVFP4: codes is the matrix, and there are no others
};

void check_gate_shape(const char* op, std::int64_t rows, std::int64_t columns, const Matrix& x) {
  if (rows < 1 || rows > NVFP4J_MAX_EXPERTS) [[unlikely]] {
    fail(kInvalid, "%s: weight has E = %lld rows, expected 1 to %d", op,
         static_cast<long long>(rows), NVFP4J_MAX_EXPERTS);
  }
  if (columns != x.columns) [[unlikely]] {
    fail(kInvalid, "%s: weight has %lld columns, expected %lld (D of x)", op,
         static_cast<long long>(columns), static_cast<long long>(x.columns));
  }
}

CheckedGate check_gate(const Place& place, const RouterWeight& weight, const Matrix& x) {
  const char* op = place.op;
  if ((weight.dense != nullptr) == (weight.nvfp4 != nullptr)) [[unlikely]] {
    fail(kInvalid, "%s: weight and weight_nvfp4 are both %s, expected exactly one of them", op,
         weight.dense != nullptr ? "given" : "NULL");
  }
  if (weight.dense != nullptr) {
    const Matrix w = check_matrix(place, "weight", weight.dense, kFloats);
    check_gate_shape(op, w.rows, w.columns, x);
    return {{w.data, w.stride, nullptr, nullptr, w.dtype, static_cast<int>(w.rows), false},
            {w.buffer, {}, {}}};
  }
  const nvfp4j_nvfp4_tensor* w = weight.nvfp4;
  const Nvfp4Buffers buffers = check_nvfp4(place, "weight", w, kGate);
  check_gate_shape(op, w->rows, w->columns, x);
  return {{w->codes, w->columns, static_cast<const std::uint8_t*>(w->scales),
           static_cast<const float*>(w->global_scales), NVFP4J_DTYPE_U8, static_cast<int>(w->rows),
           false},
          buffers};
}

void check_router_options(const char* op, const nvfp4j_router_options* options) {
  check_struct(op, "options", options);
  if (!(options->scale > 0.0f && std::isfinite(options->scale))) [[unlikely]] {
    fail(kInvalid, "%s: options.scale is %g, expected a finite number > 0", op,
         static_cast<double>(options->scale));
  }
  check_choice(op, "options", "weights_settled", options->weights_settled, 2, "no, yes");
}

struct CheckedChoice {
  Matrix indices;
  Matrix weights;

  RouterChoice args(float scale) const {
    return {static_cast<std::int32_t*>(indices.data), indices.stride,
            static_cast<float*>(weights.data),        weights.stride,
            static_cast<int>(indices.columns),        scale};
  }
};

/// weights has the shape of indices, which the caller has checked.
Matrix check_weights(const Place& place, const nvfp4j_tensor* tensor, const Matrix& indices) {
  const Matrix weights = check_matrix(place, "weights", tensor, dtype_set({NVFP4J_DTYPE_F32}));
  check_shape(place.op, "weights", weights, indices.rows, indices.columns, "the shape of indices");
  return weights;
}

/// What is written overlaps neither what is read nor each other. Where there is no memory, nothing does.
void check_apart(const char* op, std::initializer_list<const Buffer*> written,
                 std::initializer_list<const Buffer*> read) {
  for (auto a = written.begin(); a != written.end(); ++a) {
    for (const Buffer* b : read) check_disjoint(op, **a, *b);
    for (auto b = a + 1; b != written.end(); ++b) check_disjoint(op, **a, **b);
  }
}

}  // namespace

RouterDenseArgs check_router_dense(const Place& place, const nvfp4j_tensor* x,
                                   const RouterWeight& weight, const nvfp4j_tensor* bias,
                                   const nvfp4j_router_options* options,
                                   const RouterOutputs& outputs, const nvfp4j_tensor* logits) {
  const char* op = place.op;
  const Matrix in = check_activations(place, x);
  CheckedGate w = check_gate(place, weight, in);
  const int experts = w.gate.experts;
  const Vector b = check_vector(place, "bias", bias, dtype_set({NVFP4J_DTYPE_F32}));
  check_count(op, "bias", b, experts, "one per expert");
  check_router_options(op, options);
  w.gate.settled = options->weights_settled != 0;
  const Matrix indices =
      check_matrix(place, "indices", outputs.indices, dtype_set({NVFP4J_DTYPE_I32}));
  const int most = experts < NVFP4J_MAX_TOPK ? experts : NVFP4J_MAX_TOPK;
  if (indices.columns < 1 || indices.columns > most) [[unlikely]] {
    fail(kInvalid, "%s: indices has k = %lld columns, expected 1 to %d (the lesser of %d and E)",
         op, static_cast<long long>(indices.columns), most, NVFP4J_MAX_TOPK);
  }
  check_shape(op, "indices", indices, in.rows, indices.columns, "T of x, and k");
  const CheckedChoice choice{indices, check_weights(place, outputs.weights, indices)};
  Matrix z{};
  if (logits != nullptr) {
    z = check_matrix(place, "logits", logits, dtype_set({NVFP4J_DTYPE_F32}));
    check_shape(op, "logits", z, in.rows, experts, "T of x and E of the weight");
  }
  check_apart(
      op, {&choice.indices.buffer, &choice.weights.buffer, &z.buffer},
      {&in.buffer, &w.buffers.codes, &w.buffers.scales, &w.buffers.global_scales, &b.buffer});
  return {activations_of(in),          w.gate,
          static_cast<float*>(b.data), choice.args(options->scale),
          static_cast<float*>(z.data), z.stride};
}

RouterHashArgs check_router_hash(const Place& place, const nvfp4j_tensor* x,
                                 const RouterWeight& weight, const nvfp4j_tensor* table,
                                 const nvfp4j_tensor* ids, const nvfp4j_router_options* options,
                                 const RouterOutputs& outputs) {
  const char* op = place.op;
  const Matrix in = check_activations(place, x);
  CheckedGate w = check_gate(place, weight, in);
  const Matrix entries = check_matrix(place, "table", table, kIntegers);
  if (entries.rows < 1 || entries.rows > INT32_MAX) [[unlikely]] {
    fail(kInvalid, "%s: table has V = %lld rows, expected 1 to 2^31 - 1", op,
         static_cast<long long>(entries.rows));
  }
  if (entries.columns < 1 || entries.columns > NVFP4J_MAX_TOPK) [[unlikely]] {
    fail(kInvalid, "%s: table has k = %lld columns, expected 1 to %d", op,
         static_cast<long long>(entries.columns), NVFP4J_MAX_TOPK);
  }
  if (entries.stride != entries.columns) [[unlikely]] {
    fail(kInvalid, "%s: table has row stride %lld, expected %lld: it must be contiguous", op,
         static_cast<long long>(entries.stride), static_cast<long long>(entries.columns));
  }
  const Vector tokens = check_vector(place, "ids", ids, kIntegers);
  check_count(op, "ids", tokens, in.rows, "one per row of x");
  check_router_options(op, options);
  w.gate.settled = options->weights_settled != 0;
  const Matrix indices =
      check_matrix(place, "indices", outputs.indices, dtype_set({NVFP4J_DTYPE_I32}));
  check_shape(op, "indices", indices, in.rows, entries.columns, "T of x and k of table");
  const CheckedChoice choice{indices, check_weights(place, outputs.weights, indices)};
  check_apart(op, {&choice.indices.buffer, &choice.weights.buffer},
              {&in.buffer, &w.buffers.codes, &w.buffers.scales, &w.buffers.global_scales,
               &entries.buffer, &tokens.buffer});
  return {activations_of(in),
          w.gate,
          entries.data,
          entries.rows,
          tokens.data,
          entries.dtype == NVFP4J_DTYPE_I64,
          ids->dtype == NVFP4J_DTYPE_I64,
          choice.args(options->scale)};
}

}  // namespace nvfp4j
