// SPDX-License-Identifier: Apache-2.0
#include "common/context.hpp"
#include "common/guard.hpp"
#include "nvfp4j/hyper_connections.h"
#include "ops/hc_pre/hc_checks.hpp"
#include "ops/hc_pre/hc_pre_cpu.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/hc_pre/hc_pre_cuda.hpp"
#endif

extern "C" int32_t nvfp4j_hc_pre(nvfp4j_context* context, const nvfp4j_tensor* x,
                                 const nvfp4j_tensor* fn, const nvfp4j_tensor* base,
                                 const nvfp4j_tensor* scale, const nvfp4j_hc_options* options,
                                 const nvfp4j_tensor* collapsed, const nvfp4j_tensor* post,
                                 const nvfp4j_tensor* comb, nvfp4j_error* error) {
  using namespace nvfp4j;
  constexpr const char* op = "hc_pre";
  return guard(error, op, [&] {
    const HcPreArgs args = check_hc_pre(
        place_of(op, context), x, HcModuleTensors{fn, base, scale, options}, collapsed, post, comb);
    const Use use(*context, op);
    if (args.shape.tokens == 0) return;
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      context->cuda->launch(NVFP4J_OP_HC_PRE, args.shape.tokens, args.shape.columns,
                            [&](const CudaLaunch& launch) { return hc_pre_cuda(launch, args); });
      return;
    }
#endif
    context->cpu->run(
        [args](CpuPool& pool, DeviceStatus& status) { hc_pre_cpu(pool, status, args); });
  });
}
