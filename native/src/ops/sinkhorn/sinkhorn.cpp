// SPDX-License-Identifier: Apache-2.0
#include "nvfp4j/sinkhorn.h"

#include "common/context.hpp"
#include "common/guard.hpp"
#include "ops/sinkhorn/sinkhorn_checks.hpp"
#include "ops/sinkhorn/sinkhorn_cpu.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/sinkhorn/sinkhorn_cuda.hpp"
#endif

namespace nvfp4j {
namespace {

constexpr const char* kOp = "sinkhorn";

SinkhornArgs check_sinkhorn(const Place& place, const nvfp4j_tensor* logits,
                            const nvfp4j_sinkhorn_options* options, const nvfp4j_tensor* comb) {
  const Tokens in = check_tokens(place, "logits", logits, dtype_set({NVFP4J_DTYPE_F32}));
  const int n = check_streams(kOp, "logits", in.streams);
  check_shape(kOp, "logits", in, in.tokens, n, n, "one square matrix per token");
  check_contiguous_tokens(kOp, "logits", in);
  check_struct(kOp, "options", options);
  check_iterations(kOp, "options", options->iterations);
  check_eps(kOp, "options", "eps", options->eps);
  if (options->reserved != 0) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: options.reserved is %d, expected 0", kOp,
         options->reserved);
  }
  const Tokens out = check_tokens(place, "comb", comb, dtype_set({NVFP4J_DTYPE_F32}));
  check_shape(kOp, "comb", out, in.tokens, n, n, "the shape of logits");
  check_contiguous_tokens(kOp, "comb", out);
  check_disjoint_or_in_place(kOp, out, in);
  return SinkhornArgs{static_cast<const float*>(in.data),
                      in.token_stride,
                      static_cast<float*>(out.data),
                      out.token_stride,
                      in.tokens,
                      n,
                      options->iterations,
                      options->eps};
}

}  // namespace
}  // namespace nvfp4j

extern "C" int32_t nvfp4j_sinkhorn(nvfp4j_context* context, const nvfp4j_tensor* logits,
                                   const nvfp4j_sinkhorn_options* options,
                                   const nvfp4j_tensor* comb, nvfp4j_error* error) {
  using namespace nvfp4j;
  return guard(error, kOp, [&] {
    const SinkhornArgs args = check_sinkhorn(place_of(kOp, context), logits, options, comb);
    const Use use(*context, kOp);
    if (args.tokens == 0) return;
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      context->cuda->launch(NVFP4J_OP_SINKHORN, args.tokens, args.n * args.n,
                            [&](const CudaLaunch& launch) { return sinkhorn_cuda(launch, args); });
      return;
    }
#endif
    context->cpu->run(
        [args](CpuPool& pool, DeviceStatus& status) { sinkhorn_cpu(pool, status, args); });
  });
}
