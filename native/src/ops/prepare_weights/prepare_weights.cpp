// SPDX-License-Identifier: Apache-2.0
#include "common/context.hpp"
#include "common/guard.hpp"
#include "ops/gemm/gemm_checks.hpp"
#include "ops/prepare_weights/prepare_weights_cpu.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/prepare_weights/prepare_weights_cuda.hpp"
#endif

namespace nvfp4j {
namespace {

constexpr const char* kOp = "prepare_weights";

constexpr std::uint32_t kKinds = 1u << NVFP4J_GLOBAL_SCALE_TENSOR |
                                 1u << NVFP4J_GLOBAL_SCALE_GROUP | 1u << NVFP4J_GLOBAL_SCALE_HALVES;

PrepareWeightsArgs check_prepare_weights(const Place& place, const nvfp4j_nvfp4_tensor* w,
                                         const nvfp4j_nvfp4_tensor* prepared) {
  const Nvfp4Buffers from =
      check_nvfp4(place, "w", w, {1u << NVFP4J_SCALE_LAYOUT_LINEAR, kKinds, true});
  check_gemm_n(kOp, "w.rows", w->rows, false);
  check_gemm_extent(kOp, "w.groups", w->groups);
  check_gemm_k(kOp, "w.columns", w->columns, 1);
  const Nvfp4Buffers to =
      check_nvfp4(place, "prepared", prepared, {1u << NVFP4J_SCALE_LAYOUT_PREPARED, kKinds, true});
  check_nvfp4_alike(kOp, "prepared", prepared, "w", w);
  check_disjoint(kOp, to, from);
  return PrepareWeightsArgs{static_cast<const std::uint8_t*>(w->codes),
                            static_cast<const std::uint8_t*>(w->scales),
                            static_cast<const float*>(w->global_scales),
                            w->global_scales_count,
                            w->groups,
                            w->rows,
                            w->columns,
                            static_cast<std::uint8_t*>(prepared->codes),
                            static_cast<float*>(prepared->global_scales)};
}

}  // namespace
}  // namespace nvfp4j

extern "C" int32_t nvfp4j_prepare_weights(nvfp4j_context* context, const nvfp4j_nvfp4_tensor* w,
                                          const nvfp4j_nvfp4_tensor* prepared,
                                          nvfp4j_error* error) {
  using namespace nvfp4j;
  return guard(error, kOp, [&] {
    const PrepareWeightsArgs args = check_prepare_weights(place_of(kOp, context), w, prepared);
    const Use use(*context, kOp);
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      context->cuda->launch(
          NVFP4J_OP_PREPARE_WEIGHTS, args.groups * args.n, args.k,
          [&](const CudaLaunch& launch) { return prepare_weights_cuda(launch, args); });
      return;
    }
#endif
    context->cpu->run(
        [args](CpuPool& pool, DeviceStatus& status) { prepare_weights_cpu(pool, status, args); });
  });
}
