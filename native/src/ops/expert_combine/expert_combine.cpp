// SPDX-License-Identifier: Apache-2.0
#include "common/context.hpp"
#include "common/guard.hpp"
#include "common/overlap_checks.hpp"
#include "nvfp4j/experts.h"
#include "ops/expert_combine/expert_combine_cpu.hpp"
#include "ops/expert_dispatch/expert_checks.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/expert_combine/expert_combine_cuda.hpp"
#endif

namespace nvfp4j {
namespace {

constexpr const char* kOp = "expert_combine";

ExpertCombineArgs check_expert_combine(const Place& place, const nvfp4j_tensor* y,
                                       const nvfp4j_tensor* positions, const nvfp4j_tensor* weights,
                                       const nvfp4j_tensor* shared, const nvfp4j_tensor* out) {
  const DtypeSet types = dtype_set({NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16});
  const Matrix results = check_matrix(place, "y", y, types);
  // The kernels count the columns of a row in 32 bits.
  if (results.columns > INT32_MAX) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: y has %lld columns, expected at most %d", kOp,
         static_cast<long long>(results.columns), INT32_MAX);
  }
  const Matrix places = check_matrix(place, "positions", positions, dtype_set({NVFP4J_DTYPE_I32}));
  const int k = check_slots(kOp, "positions", places);
  const SlotWeights given = check_slot_weights(place, weights, places, "the shape of positions");
  constexpr const char* kWhy = "the rows of positions and the columns of y";
  Matrix extra{};
  if (shared != nullptr) {
    extra = check_matrix(place, "shared", shared, dtype_set({results.dtype}));
    check_shape(kOp, "shared", extra, places.rows, results.columns, kWhy);
  }
  const Matrix sums = check_matrix(place, "out", out, types);
  check_shape(kOp, "out", sums, places.rows, results.columns, kWhy);
  const bool in_place =
      sums.data == extra.data && sums.dtype == extra.dtype && sums.stride == extra.stride;
  check_apart(kOp, {&sums.buffer},
              {&results.buffer, &places.buffer, &given.buffer, in_place ? nullptr : &extra.buffer});
  return ExpertCombineArgs{results.data,
                           results.dtype,
                           results.stride,
                           results.rows,
                           static_cast<const std::int32_t*>(places.data),
                           places.stride,
                           given.data,
                           given.stride,
                           extra.data,
                           extra.stride,
                           sums.data,
                           sums.dtype,
                           sums.stride,
                           places.rows,
                           results.columns,
                           k};
}

}  // namespace
}  // namespace nvfp4j

extern "C" int32_t nvfp4j_expert_combine(nvfp4j_context* context, const nvfp4j_tensor* y,
                                         const nvfp4j_tensor* positions,
                                         const nvfp4j_tensor* weights, const nvfp4j_tensor* shared,
                                         const nvfp4j_tensor* out, nvfp4j_error* error) {
  using namespace nvfp4j;
  return guard(error, kOp, [&] {
    const ExpertCombineArgs args =
        check_expert_combine(place_of(kOp, context), y, positions, weights, shared, out);
    const Use use(*context, kOp);
    if (args.tokens == 0 || args.columns == 0) return;
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      context->cuda->launch(
          NVFP4J_OP_EXPERT_COMBINE, args.tokens, args.columns,
          [&](const CudaLaunch& launch) { return expert_combine_cuda(launch, args); });
      return;
    }
#endif
    context->cpu->run(
        [args](CpuPool& pool, DeviceStatus& status) { expert_combine_cpu(pool, status, args); });
  });
}
