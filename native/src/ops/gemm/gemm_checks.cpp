// SPDX-License-Identifier: Apache-2.0
#include "ops/gemm/gemm_checks.hpp"

#include "common/overlap_checks.hpp"

namespace nvfp4j {
namespace {

constexpr std::int32_t kInvalid = NVFP4J_ERROR_INVALID_ARGUMENT;

constexpr std::uint32_t bit(std::int32_t value) { return 1u << value; }

constexpr Nvfp4Accepted kActivations{
    bit(NVFP4J_SCALE_LAYOUT_LINEAR) | bit(NVFP4J_SCALE_LAYOUT_PACKED),
    bit(NVFP4J_GLOBAL_SCALE_TENSOR) | bit(NVFP4J_GLOBAL_SCALE_ROW), false};

Nvfp4Accepted accepted_weights(std::int32_t op) {
  std::uint32_t kinds = bit(NVFP4J_GLOBAL_SCALE_TENSOR);
  if (op != NVFP4J_OP_GEMM) kinds |= bit(NVFP4J_GLOBAL_SCALE_GROUP);
  if (op != NVFP4J_OP_BATCHED_GEMM) kinds |= bit(NVFP4J_GLOBAL_SCALE_HALVES);
  return {bit(NVFP4J_SCALE_LAYOUT_LINEAR) | bit(NVFP4J_SCALE_LAYOUT_PREPARED), kinds,
          op != NVFP4J_OP_GEMM};
}

// A as it comes, one of the two, and nothing of the other: the shape is compared with W's later. (Checked tensors stay where they are made: what has just been written is slow to copy, tensor_checks.cpp.)
struct CheckedActivations {
  Matrix bf16;
  const nvfp4j_nvfp4_tensor* nvfp4;  // nullptr: BF16
  Nvfp4Buffers buffers;

  std::int64_t rows() const { return nvfp4 != nullptr ? nvfp4->rows : bf16.rows; }
  std::int64_t columns() const { return nvfp4 != nullptr ? nvfp4->columns : bf16.columns; }
  GemmActivations args() const {
    if (nvfp4 == nullptr)
      return {NVFP4J_GEMM_A_BF16, bf16.data, nullptr, bf16.stride, nullptr, false};
    const bool packed = nvfp4->scale_layout == NVFP4J_SCALE_LAYOUT_PACKED;
    return {packed ? NVFP4J_GEMM_A_PACKED : NVFP4J_GEMM_A_NVFP4,
            nvfp4->codes,
            static_cast<const std::uint8_t*>(nvfp4->scales),
            nvfp4->columns,
            static_cast<const float*>(nvfp4->global_scales),
            nvfp4->global_scale_kind == NVFP4J_GLOBAL_SCALE_ROW};
  }
};

CheckedActivations check_activations(const Place& place, const GemmCall& call) {
  const char* op = place.op;
  if ((call.a != nullptr) == (call.a_nvfp4 != nullptr)) [[unlikely]] {
    fail(kInvalid, "%s: a and a_nvfp4 are both %s, expected exactly one of them", op,
         call.a != nullptr ? "given" : "NULL");
  }
  if (call.a != nullptr)
    return {check_matrix(place, "a", call.a, dtype_set({NVFP4J_DTYPE_BF16})), nullptr, {}};
  return {{}, call.a_nvfp4, check_nvfp4(place, "a", call.a_nvfp4, kActivations)};
}

void check_inner(const Place& place, const GemmCall& call, std::int64_t columns) {
  const std::int64_t groups = call.op == NVFP4J_OP_BATCHED_GEMM ? call.w->groups : 1;
  const std::int64_t k = call.w->columns;
  if (columns == groups * k) [[likely]]
    return;
  if (call.op == NVFP4J_OP_BATCHED_GEMM) {
    fail(kInvalid, "%s: a has %lld columns, expected %lld (w has %lld groups of %lld columns)",
         place.op, static_cast<long long>(columns), static_cast<long long>(groups * k),
         static_cast<long long>(groups), static_cast<long long>(k));
  }
  fail(kInvalid, "%s: a has %lld columns, expected %lld (the columns of w)", place.op,
       static_cast<long long>(columns), static_cast<long long>(k));
}

Matrix check_output(const Place& place, const GemmCall& call, std::int64_t m) {
  const bool swiglu = call.options->swiglu != 0;
  const DtypeSet dtypes =
      swiglu ? dtype_set({NVFP4J_DTYPE_BF16}) : dtype_set({NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16});
  const Matrix d = check_matrix(place, "d", call.d, dtypes);
  const std::int64_t n = call.w->rows;
  if (call.op == NVFP4J_OP_BATCHED_GEMM) {
    check_shape(place.op, "d", d, m, call.w->groups * n, "the rows of a, and those of all of w");
  } else if (swiglu) {
    check_shape(place.op, "d", d, m, n / 2, "the rows of a, and half of those of w");
  } else {
    check_shape(place.op, "d", d, m, n, "the rows of a and of w");
  }
  return d;
}

// The kernels count the columns of a row in 32 bits, and in units of several bytes.
constexpr std::int64_t kMostColumns = std::int64_t{1} << 30;

}  // namespace

void check_gemm_extent(const char* op, const char* name, std::int64_t value) {
  if (value > INT32_MAX) [[unlikely]] {
    fail(kInvalid, "%s: %s is %lld, expected at most %d", op, name, static_cast<long long>(value),
         INT32_MAX);
  }
}

void check_gemm_k(const char* op, const char* name, std::int64_t k, std::int64_t batch) {
  if (k > kMostColumns) [[unlikely]] {
    fail(kInvalid, "%s: %s is %lld, expected at most %lld", op, name, static_cast<long long>(k),
         static_cast<long long>(kMostColumns));
  }
  if (batch * k > INT32_MAX) [[unlikely]] {
    fail(kInvalid, "%s: %s is %lld in %lld groups, expected at most %d columns in a row of a", op,
         name, static_cast<long long>(k), static_cast<long long>(batch), INT32_MAX);
  }
}

void check_gemm_n(const char* op, const char* name, std::int64_t n, bool swiglu) {
  const int unit = swiglu ? 16 : 8;
  if (n <= 0 || n % unit != 0) [[unlikely]] {
    fail(kInvalid, "%s: %s is %lld, expected a positive multiple of %d%s", op, name,
         static_cast<long long>(n), unit, swiglu ? " (gate and up: options.swiglu is 1)" : "");
  }
  check_gemm_extent(op, name, n);
}

void check_gemm_options(const Place& place, std::int32_t product,
                        const nvfp4j_gemm_options* options) {
  constexpr const char* paths[] = {"AUTO", "GENERIC", "DECODE", "WGMMA"};
  const char* op = place.op;
  check_struct(op, "options", options);
  check_choice(op, "options", "batch_invariant", options->batch_invariant, 2, "no, yes");
  check_choice(op, "options", "swiglu", options->swiglu, 2, "no, yes");
  if (product == NVFP4J_OP_BATCHED_GEMM && options->swiglu != 0) [[unlikely]]
    fail(kInvalid, "%s: options.swiglu is 1, expected 0: batched_gemm has no SwiGLU", op);
  if (!(options->limit >= 0.0f && options->limit <= 3.402823466e38f)) [[unlikely]] {
    fail(kInvalid, "%s: options.limit is %g, expected 0 (no clamp) or a finite positive number", op,
         static_cast<double>(options->limit));
  }
  check_choice(op, "options", "path", options->path, 4, "AUTO, GENERIC, DECODE, WGMMA");
  if (place.device == NVFP4J_DEVICE_CPU && options->path != NVFP4J_GEMM_PATH_AUTO) [[unlikely]] {
    fail(kInvalid, "%s: options.path is %d (%s), expected AUTO (the CPU has one implementation)",
         op, options->path, paths[options->path]);
  }
  check_choice(op, "options", "weights_settled", options->weights_settled, 2, "no, yes");
}

GemmArgs check_gemm(const Place& place, const GemmCall& call) {
  const char* op = place.op;
  const CheckedActivations a = check_activations(place, call);
  const std::int64_t m = a.rows();
  if (m > INT32_MAX) [[unlikely]] {
    fail(kInvalid, "%s: a has %lld rows, expected at most %d", op, static_cast<long long>(m),
         INT32_MAX);
  }
  const Nvfp4Buffers w = check_nvfp4(place, "w", call.w, accepted_weights(call.op));
  check_gemm_extent(op, "w.groups", call.w->groups);
  check_gemm_k(op, "w.columns", call.w->columns,
               call.op == NVFP4J_OP_BATCHED_GEMM ? call.w->groups : 1);
  check_inner(place, call, a.columns());
  Vector offsets{};
  if (call.op == NVFP4J_OP_GROUPED_GEMM) {
    offsets = check_vector(place, "offsets", call.offsets, dtype_set({NVFP4J_DTYPE_I32}));
    check_count(op, "offsets", offsets, call.w->groups + 1, "one more than w has groups");
  }
  Vector row_weight{};
  if (call.row_weight != nullptr) {
    row_weight = check_vector(place, "row_weight", call.row_weight, dtype_set({NVFP4J_DTYPE_F32}));
    check_count(op, "row_weight", row_weight, m, "one per row of a");
  }
  check_gemm_options(place, call.op, call.options);
  const bool swiglu = call.options->swiglu != 0;
  if (call.row_weight != nullptr && !swiglu) [[unlikely]]
    fail(kInvalid, "%s: row_weight is given, expected NULL (options.swiglu is 0)", op);
  check_gemm_n(op, "w.rows", call.w->rows, swiglu);
  const Matrix d = check_output(place, call, m);
  check_apart(op, {&d.buffer},
              {&a.bf16.buffer, &a.buffers.codes, &a.buffers.scales, &a.buffers.global_scales,
               &w.codes, &w.scales, &w.global_scales, &offsets.buffer, &row_weight.buffer});

  GemmArgs args{};
  args.op = call.op;
  args.groups = call.w->groups;
  args.m = m;
  args.n = call.w->rows;
  args.k = call.w->columns;
  args.a = a.args();
  args.w = {call.w->scale_layout, static_cast<const std::uint8_t*>(call.w->codes),
            static_cast<const std::uint8_t*>(call.w->scales),
            static_cast<const float*>(call.w->global_scales), call.w->global_scale_kind};
  args.d = {d.data, d.dtype, d.stride};
  args.offsets = static_cast<const std::int32_t*>(offsets.data);
  args.row_weight = static_cast<const float*>(row_weight.data);
  args.swiglu = swiglu;
  args.limit = call.options->limit;
  args.batch_invariant = call.options->batch_invariant != 0;
  args.weights_settled = call.options->weights_settled != 0;
  args.path = call.options->path;
  return args;
}

}  // namespace nvfp4j
