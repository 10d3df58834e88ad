// SPDX-License-Identifier: Apache-2.0
// nvfp4j_gemm_path: which implementation a matrix product gets, and why.
#include "common/context.hpp"
#include "common/guard.hpp"
#include "common/names.hpp"
#include "common/op_table.hpp"
#include "ops/gemm/gemm_checks.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/gemm/gemm_cuda.hpp"
#endif

namespace nvfp4j {
namespace {

constexpr const char* kName = "gemm_path";
constexpr std::int32_t kInvalid = NVFP4J_ERROR_INVALID_ARGUMENT;

void check_at_least(const char* what, std::int64_t value, std::int64_t least) {
  if (value < least) {
    fail(kInvalid, "%s: %s is %lld, expected %lld or more", kName, what,
         static_cast<long long>(value), static_cast<long long>(least));
  }
  check_gemm_extent(kName, what, value);
}

// The call that is asked about, with aligned rows of A; its pointers are NULL.
GemmArgs check_shape(GemmArgs shape, std::int32_t device, const nvfp4j_gemm_options* options) {
  if (shape.op < NVFP4J_OP_GEMM || shape.op > NVFP4J_OP_BATCHED_GEMM) {
    fail(kInvalid, "%s: op is %d, expected %d to %d (GEMM, GROUPED_GEMM, BATCHED_GEMM)", kName,
         shape.op, NVFP4J_OP_GEMM, NVFP4J_OP_BATCHED_GEMM);
  }
  if (device < NVFP4J_DEVICE_CPU) {
    fail(kInvalid, "%s: device is %d, expected -1 (the CPU) or a CUDA ordinal", kName, device);
  }
  check_at_least("groups", shape.groups, 1);
  if (shape.op == NVFP4J_OP_GEMM && shape.groups != 1) {
    fail(kInvalid, "%s: groups is %lld, expected 1 (op is GEMM)", kName,
         static_cast<long long>(shape.groups));
  }
  check_at_least("m", shape.m, 0);
  if (shape.k <= 0 || shape.k % 16 != 0) {
    fail(kInvalid, "%s: k is %lld, expected a positive multiple of 16", kName,
         static_cast<long long>(shape.k));
  }
  check_gemm_k(kName, "k", shape.k, shape.op == NVFP4J_OP_BATCHED_GEMM ? shape.groups : 1);
  check_choice(kName, "a_kind", shape.a.kind, 3, "BF16, NVFP4, PACKED");
  if (shape.w.layout != NVFP4J_SCALE_LAYOUT_LINEAR &&
      shape.w.layout != NVFP4J_SCALE_LAYOUT_PREPARED) {
    fail(kInvalid, "%s: w_layout is %d (%s), expected LINEAR or PREPARED", kName, shape.w.layout,
         scale_layout_name(shape.w.layout));
  }
  check_gemm_options(Place{kName, device}, shape.op, options);
  shape.swiglu = options->swiglu != 0;
  shape.batch_invariant = options->batch_invariant != 0;
  shape.path = options->path;
  check_gemm_n(kName, "n", shape.n, shape.swiglu);
  shape.a.stride = a_columns(shape);
  return shape;
}

#if NVFP4J_WITH_CUDA
const char* cuda_path(const GemmArgs& shape, std::int32_t device) {
  const char* op = op_table[shape.op].name;
  const CudaDeviceProperties& properties = cuda_device(op, device).properties;
  if (gemm_cuda_path(properties) == nullptr) {
    fail(NVFP4J_ERROR_NOT_SUPPORTED,
         "%s: cuda:%d (compute capability %d.%d) has no implementation: %s", op, device,
         properties.major, properties.minor, gemm_cuda_refusal(properties));
  }
  const GemmPlan plan = plan_gemm(properties, gemm_shape(shape));
  if (plan.refusal != nullptr) fail(NVFP4J_ERROR_NOT_SUPPORTED, "%s: options.%s", op, plan.refusal);
  return plan.reason;
}
#else
const char* cuda_path(const GemmArgs& shape, std::int32_t device) {
  fail(NVFP4J_ERROR_NOT_SUPPORTED, "%s: device is cuda:%d, but nvfp4j was built without CUDA",
       op_table[shape.op].name, device);
}
#endif

}  // namespace
}  // namespace nvfp4j

extern "C" int32_t nvfp4j_gemm_path(int32_t op, int32_t device, int64_t groups, int64_t m,
                                    int64_t n, int64_t k, int32_t a_kind, int32_t w_layout,
                                    const nvfp4j_gemm_options* options, char* text,
                                    int64_t text_bytes, nvfp4j_error* error) {
  using namespace nvfp4j;
  return guard(error, kName, [&] {
    GemmArgs asked{};
    asked.op = op;
    asked.groups = groups;
    asked.m = m;
    asked.n = n;
    asked.k = k;
    asked.a.kind = a_kind;
    asked.w.layout = w_layout;
    const GemmArgs shape = check_shape(asked, device, options);
    check_not_null(kName, "text", text);
    if (text_bytes < 1) {
      fail(kInvalid, "%s: text_bytes is %lld, expected 1 or more", kName,
           static_cast<long long>(text_bytes));
    }
    const char* path =
        device == NVFP4J_DEVICE_CPU ? op_table[op].cpu_path() : cuda_path(shape, device);
    copy_text(text, static_cast<std::uint64_t>(text_bytes), path);
  });
}
