// SPDX-License-Identifier: Apache-2.0
#include "ops/router_dense/router_checks.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "common/overlap_checks.hpp"

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

// Checked tensors stay where they are made, and arguments are made of them when all is checked: what has just been written is slow to copy (tensor_checks.cpp).

/// The gate's weight: one of the two, and nothing of the other.
struct CheckedGate {
  Matrix dense;
  const nvfp4j_nvfp4_tensor* nvfp4;  // nullptr: dense
  Nvfp4Buffers buffers;

  std::int64_t experts() const { return nvfp4 != nullptr ? nvfp4->rows : dense.rows; }
  std::int64_t columns() const { return nvfp4 != nullptr ? nvfp4->columns : dense.columns; }
  RouterGate args(const nvfp4j_router_options& options) const {
    const bool settled = options.weights_settled != 0;
    const int e = static_cast<int>(experts());
    if (nvfp4 == nullptr)
      return {dense.data, dense.stride, nullptr, nullptr, dense.dtype, e, settled};
    return {nvfp4->codes,
            nvfp4->columns,
            static_cast<const std::uint8_t*>(nvfp4->scales),
            static_cast<const float*>(nvfp4->global_scales),
            NVFP4J_DTYPE_U8,
            e,
            settled};
  }
};

CheckedGate check_gate_tensor(const Place& place, const RouterWeight& weight) {
  if ((weight.dense != nullptr) == (weight.nvfp4 != nullptr)) [[unlikely]] {
    fail(kInvalid, "%s: weight and weight_nvfp4 are both %s, expected exactly one of them",
         place.op, weight.dense != nullptr ? "given" : "NULL");
  }
  if (weight.dense != nullptr)
    return {check_matrix(place, "weight", weight.dense, kFloats), nullptr, {}};
  return {{}, weight.nvfp4, check_nvfp4(place, "weight", weight.nvfp4, kGate)};
}

CheckedGate check_gate(const Place& place, const RouterWeight& weight, const Matrix& x) {
  const CheckedGate gate = check_gate_tensor(place, weight);
  if (gate.experts() < 1 || gate.experts() > NVFP4J_MAX_EXPERTS) [[unlikely]] {
    fail(kInvalid, "%s: weight has E = %lld rows, expected 1 to %d", place.op,
         static_cast<long long>(gate.experts()), NVFP4J_MAX_EXPERTS);
  }
  if (gate.columns() != x.columns) [[unlikely]] {
    fail(kInvalid, "%s: weight has %lld columns, expected %lld (D of x)", place.op,
         static_cast<long long>(gate.columns()), static_cast<long long>(x.columns));
  }
  return gate;
}

void check_router_options(const char* op, const nvfp4j_router_options* options) {
  check_struct(op, "options", options);
  if (!(options->scale > 0.0f && std::isfinite(options->scale))) [[unlikely]] {
    fail(kInvalid, "%s: options.scale is %g, expected a finite number > 0", op,
         static_cast<double>(options->scale));
  }
  check_choice(op, "options", "weights_settled", options->weights_settled, 2, "no, yes");
}

/// Where the choice goes. Shapes are compared by check_choice_shapes(), once k is known.
struct CheckedChoice {
  Matrix indices;
  Matrix weights;

  RouterChoice args(float scale) const {
    return {static_cast<std::int32_t*>(indices.data), indices.stride,
            static_cast<float*>(weights.data),        weights.stride,
            static_cast<int>(indices.columns),        scale};
  }
};

CheckedChoice check_outputs(const Place& place, const RouterOutputs& outputs) {
  return {check_matrix(place, "indices", outputs.indices, dtype_set({NVFP4J_DTYPE_I32})),
          check_matrix(place, "weights", outputs.weights, dtype_set({NVFP4J_DTYPE_F32}))};
}

void check_choice_shapes(const char* op, const CheckedChoice& choice, std::int64_t tokens,
                         std::int64_t k, const char* why) {
  check_shape(op, "indices", choice.indices, tokens, k, why);
  check_shape(op, "weights", choice.weights, tokens, k, "the shape of indices");
}

}  // namespace

RouterDenseArgs check_router_dense(const Place& place, const nvfp4j_tensor* x,
                                   const RouterWeight& weight, const nvfp4j_tensor* bias,
                                   const nvfp4j_router_options* options,
                                   const RouterOutputs& outputs, const nvfp4j_tensor* logits) {
  const char* op = place.op;
  const Matrix in = check_activations(place, x);
  const CheckedGate w = check_gate(place, weight, in);
  const std::int64_t experts = w.experts();
  const Vector b = check_vector(place, "bias", bias, dtype_set({NVFP4J_DTYPE_F32}));
  check_count(op, "bias", b, experts, "one per expert");
  check_router_options(op, options);
  const CheckedChoice choice = check_outputs(place, outputs);
  const std::int64_t k = choice.indices.columns;
  const int most = static_cast<int>(std::min<std::int64_t>(experts, NVFP4J_MAX_TOPK));
  if (k < 1 || k > most) [[unlikely]] {
    fail(kInvalid, "%s: indices has k = %lld columns, expected 1 to %d (the lesser of %d and E)",
         op, static_cast<long long>(k), most, NVFP4J_MAX_TOPK);
  }
  check_choice_shapes(op, choice, in.rows, k, "T of x, and k");
  Matrix z{};
  if (logits != nullptr) {
    z = check_matrix(place, "logits", logits, dtype_set({NVFP4J_DTYPE_F32}));
    check_shape(op, "logits", z, in.rows, experts, "T of x and E of the weight");
  }
  check_apart(op, {&choice.indices.buffer, &choice.weights.buffer, &z.buffer},
              {&in.buffer, &w.dense.buffer, &w.buffers.codes, &w.buffers.scales,
               &w.buffers.global_scales, &b.buffer});
  return {activations_of(in),          w.args(*options),
          static_cast<float*>(b.data), choice.args(options->scale),
          static_cast<float*>(z.data), z.stride};
}

RouterHashArgs check_router_hash(const Place& place, const nvfp4j_tensor* x,
                                 const RouterWeight& weight, const nvfp4j_tensor* table,
                                 const nvfp4j_tensor* ids, const nvfp4j_router_options* options,
                                 const RouterOutputs& outputs) {
  const char* op = place.op;
  const Matrix in = check_activations(place, x);
  const CheckedGate w = check_gate(place, weight, in);
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
  const CheckedChoice choice = check_outputs(place, outputs);
  check_choice_shapes(op, choice, in.rows, entries.columns, "T of x and k of table");
  check_apart(op, {&choice.indices.buffer, &choice.weights.buffer},
              {&in.buffer, &w.dense.buffer, &w.buffers.codes, &w.buffers.scales,
               &w.buffers.global_scales, &entries.buffer, &tokens.buffer});
  return {activations_of(in),
          w.args(*options),
          entries.data,
          entries.rows,
          tokens.data,
          entries.dtype == NVFP4J_DTYPE_I64,
          ids->dtype == NVFP4J_DTYPE_I64,
          choice.args(options->scale)};
}

}  // namespace nvfp4j
