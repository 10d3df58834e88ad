// SPDX-License-Identifier: Apache-2.0
#include "common/context.hpp"
#include "common/guard.hpp"
#include "common/overlap_checks.hpp"
#include "nvfp4j/experts.h"
#include "ops/expert_dispatch/expert_checks.hpp"
#include "ops/expert_dispatch/expert_dispatch_cpu.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/expert_dispatch/expert_dispatch_cuda.hpp"
#endif

namespace nvfp4j {
namespace {

constexpr const char* kOp = "expert_dispatch";

ExpertDispatchArgs check_expert_dispatch(const Place& place, const nvfp4j_tensor* indices,
                                         const nvfp4j_tensor* weights, const nvfp4j_tensor* offsets,
                                         const nvfp4j_tensor* rows, const nvfp4j_tensor* positions,
                                         const nvfp4j_tensor* row_weights) {
  const Matrix ids = check_matrix(place, "indices", indices, dtype_set({NVFP4J_DTYPE_I32}));
  const int k = check_slots(kOp, "indices", ids);
  if (ids.rows > INT32_MAX / k) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT,
         "%s: indices has shape [%lld, %d], expected at most 2^31 - 1 elements", kOp,
         static_cast<long long>(ids.rows), k);
  }
  const std::int64_t choices = ids.rows * k;
  const SlotWeights given = check_slot_weights(place, weights, ids, "the shape of indices");
  const Vector starts = check_vector(place, "offsets", offsets, dtype_set({NVFP4J_DTYPE_I32}));
  if (starts.count < 2 || starts.count > kMaxExperts + 1) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT,
         "%s: offsets has %lld elements, expected 2 to %d (one more than there are experts)", kOp,
         static_cast<long long>(starts.count), kMaxExperts + 1);
  }
  const Vector sorted = check_vector(place, "rows", rows, dtype_set({NVFP4J_DTYPE_I32}));
  check_count(kOp, "rows", sorted, choices, "one per element of indices");
  const Matrix places = check_matrix(place, "positions", positions, dtype_set({NVFP4J_DTYPE_I32}));
  check_shape(kOp, "positions", places, ids.rows, k, "the shape of indices");
  if ((weights != nullptr) != (row_weights != nullptr)) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT,
         "%s: %s is NULL, expected weights and row_weights both or neither", kOp,
         weights == nullptr ? "weights" : "row_weights");
  }
  Vector taken{};
  if (row_weights != nullptr) {
    taken = check_vector(place, "row_weights", row_weights, dtype_set({NVFP4J_DTYPE_F32}));
    check_count(kOp, "row_weights", taken, choices, "one per element of indices");
  }
  check_apart(kOp, {&starts.buffer, &sorted.buffer, &places.buffer, &taken.buffer},
              {&ids.buffer, &given.buffer});
  return ExpertDispatchArgs{static_cast<const std::int32_t*>(ids.data),
                            ids.stride,
                            given.data,
                            given.stride,
                            static_cast<std::int32_t*>(starts.data),
                            static_cast<std::int32_t*>(sorted.data),
                            static_cast<std::int32_t*>(places.data),
                            places.stride,
                            static_cast<float*>(taken.data),
                            ids.rows,
                            k,
                            static_cast<int>(starts.count - 1)};
}

}  // namespace
}  // namespace nvfp4j

// Without a token there are offsets to write still.
extern "C" int32_t nvfp4j_expert_dispatch(nvfp4j_context* context, const nvfp4j_tensor* indices,
                                          const nvfp4j_tensor* weights,
                                          const nvfp4j_tensor* offsets, const nvfp4j_tensor* rows,
                                          const nvfp4j_tensor* positions,
                                          const nvfp4j_tensor* row_weights, nvfp4j_error* error) {
  using namespace nvfp4j;
  return guard(error, kOp, [&] {
    const ExpertDispatchArgs args = check_expert_dispatch(place_of(kOp, context), indices, weights,
                                                          offsets, rows, positions, row_weights);
    const Use use(*context, kOp);
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      context->cuda->launch(
          NVFP4J_OP_EXPERT_DISPATCH, args.tokens, args.k,
          [&](const CudaLaunch& launch) { return expert_dispatch_cuda(launch, args); });
      return;
    }
#endif
    context->cpu->run(
        [args](CpuPool& pool, DeviceStatus& status) { expert_dispatch_cpu(pool, status, args); });
  });
}
