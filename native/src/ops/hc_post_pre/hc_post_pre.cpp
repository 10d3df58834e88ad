// SPDX-License-Identifier: Apache-2.0
#include "common/context.hpp"
#include "common/guard.hpp"
#include "nvfp4j/hyper_connections.h"
#include "ops/hc_pre/hc_checks.hpp"
#include "ops/hc_pre/hc_pre_cpu.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/hc_pre/hc_pre_cuda.hpp"
#endif

extern "C" int32_t nvfp4j_hc_post_pre(
    nvfp4j_context* context, const nvfp4j_tensor* x, const nvfp4j_tensor* sub,
    const nvfp4j_tensor* post, const nvfp4j_tensor* comb, const nvfp4j_tensor* fn,
    const nvfp4j_tensor* base, const nvfp4j_tensor* scale, const nvfp4j_tensor* norm_weight,
    const nvfp4j_hc_options* options, const nvfp4j_quantize_options* quantize_options,
    const nvfp4j_tensor* out, const nvfp4j_tensor* collapsed, const nvfp4j_tensor* next_post,
    const nvfp4j_tensor* next_comb, const nvfp4j_nvfp4_tensor* quantized, nvfp4j_error* error) {
  using namespace nvfp4j;
  constexpr const char* op = "hc_post_pre";
  return guard(error, op, [&] {
    const HcPreArgs args =
        check_hc_post_pre(place_of(op, context), HcPostTensors{x, sub, post, comb, out},
                          HcModuleTensors{fn, base, scale, options}, norm_weight, quantize_options,
                          collapsed, next_post, next_comb, quantized);
    const Use use(*context, op);
    if (args.shape.tokens == 0) return;
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      context->cuda->launch(NVFP4J_OP_HC_POST_PRE, args.shape.tokens, args.shape.columns,
                            [&](const CudaLaunch& launch) { return hc_pre_cuda(launch, args); });
      return;
    }
#endif
    context->cpu->run(
        [args](CpuPool& pool, DeviceStatus& status) { hc_pre_cpu(pool, status, args); });
  });
}
