// SPDX-License-Identifier: Apache-2.0
#include "nvfp4j/router.h"

#include "common/context.hpp"
#include "common/guard.hpp"
#include "ops/router_dense/router_checks.hpp"
#include "ops/router_hash/router_hash_cpu.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/router_hash/router_hash_cuda.hpp"
#endif

namespace nvfp4j {
namespace {

constexpr const char* kOp = "router_hash";

}  // namespace
}  // namespace nvfp4j

extern "C" int32_t nvfp4j_router_hash(nvfp4j_context* context, const nvfp4j_tensor* x,
                                      const nvfp4j_tensor* weight,
                                      const nvfp4j_nvfp4_tensor* weight_nvfp4,
                                      const nvfp4j_tensor* table, const nvfp4j_tensor* ids,
                                      const nvfp4j_router_options* options,
                                      const nvfp4j_tensor* indices, const nvfp4j_tensor* weights,
                                      nvfp4j_error* error) {
  using namespace nvfp4j;
  return guard(error, kOp, [&] {
    const RouterHashArgs args = check_router_hash(place_of(kOp, context), x, {weight, weight_nvfp4},
                                                  table, ids, options, {indices, weights});
    const Use use(*context, kOp);
    if (args.x.tokens == 0) return;
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      context->cuda->launch(
          NVFP4J_OP_ROUTER_HASH, args.x.tokens, args.x.columns,
          [&](const CudaLaunch& launch) { return router_hash_cuda(launch, args); });
      return;
    }
#endif
    context->cpu->run(
        [args](CpuPool& pool, DeviceStatus& status) { router_hash_cpu(pool, status, args); });
  });
}
