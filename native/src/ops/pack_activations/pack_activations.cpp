// SPDX-License-Identifier: Apache-2.0
#include "common/context.hpp"
#include "common/guard.hpp"
#include "nvfp4j/gemm.h"
#include "ops/pack_activations/pack_activations_cpu.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/pack_activations/pack_activations_cuda.hpp"
#endif

namespace nvfp4j {
namespace {

constexpr const char* kOp = "pack_activations";

constexpr std::uint32_t kKinds = 1u << NVFP4J_GLOBAL_SCALE_TENSOR | 1u << NVFP4J_GLOBAL_SCALE_ROW;

PackActivationsArgs check_pack_activations(const Place& place, const nvfp4j_nvfp4_tensor* a,
                                           const nvfp4j_nvfp4_tensor* packed) {
  const Nvfp4Buffers from =
      check_nvfp4(place, "a", a, {1u << NVFP4J_SCALE_LAYOUT_LINEAR, kKinds, false});
  const Nvfp4Buffers to =
      check_nvfp4(place, "packed", packed, {1u << NVFP4J_SCALE_LAYOUT_PACKED, kKinds, false});
  check_nvfp4_alike(kOp, "packed", packed, "a", a);
  check_disjoint(kOp, to, from);
  return PackActivationsArgs{static_cast<const std::uint8_t*>(a->codes),
                             static_cast<const std::uint8_t*>(a->scales),
                             static_cast<const float*>(a->global_scales),
                             a->global_scales_count,
                             a->rows,
                             a->columns,
                             static_cast<std::uint16_t*>(packed->codes),
                             static_cast<float*>(packed->global_scales)};
}

}  // namespace
}  // namespace nvfp4j

extern "C" int32_t nvfp4j_pack_activations(nvfp4j_context* context, const nvfp4j_nvfp4_tensor* a,
                                           const nvfp4j_nvfp4_tensor* packed, nvfp4j_error* error) {
  using namespace nvfp4j;
  return guard(error, kOp, [&] {
    const PackActivationsArgs args = check_pack_activations(place_of(kOp, context), a, packed);
    const Use use(*context, kOp);
    if (args.m == 0) return;
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      context->cuda->launch(
          NVFP4J_OP_PACK_ACTIVATIONS, args.m, args.k,
          [&](const CudaLaunch& launch) { return pack_activations_cuda(launch, args); });
      return;
    }
#endif
    context->cpu->run(
        [args](CpuPool& pool, DeviceStatus& status) { pack_activations_cpu(pool, status, args); });
  });
}
