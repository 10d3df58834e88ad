// SPDX-License-Identifier: Apache-2.0
#include "common/context.hpp"
#include "common/guard.hpp"
#include "nvfp4j/hyper_connections.h"
#include "ops/hc_post/hc_post_cpu.hpp"
#include "ops/hc_pre/hc_checks.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/hc_post/hc_post_cuda.hpp"
#endif

extern "C" int32_t nvfp4j_hc_post(nvfp4j_context* context, const nvfp4j_tensor* x,
                                  const nvfp4j_tensor* sub, const nvfp4j_tensor* post,
                                  const nvfp4j_tensor* comb, const nvfp4j_tensor* out,
                                  nvfp4j_error* error) {
  using namespace nvfp4j;
  constexpr const char* op = "hc_post";
  return guard(error, op, [&] {
    const HcPostArgs args =
        check_hc_post(place_of(op, context), HcPostTensors{x, sub, post, comb, out});
    const Use use(*context, op);
    if (args.shape.tokens == 0) return;
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      context->cuda->launch(NVFP4J_OP_HC_POST, args.shape.tokens, args.shape.columns,
                            [&](const CudaLaunch& launch) { return hc_post_cuda(launch, args); });
      return;
    }
#endif
    context->cpu->run(
        [args](CpuPool& pool, DeviceStatus& status) { hc_post_cpu(pool, status, args); });
  });
}
