// SPDX-License-Identifier: Apache-2.0
// A validated matrix product on its context's device: what gemm, grouped_gemm and batched_gemm share.
#pragma once
#include "common/context.hpp"
#include "common/guard.hpp"
#include "ops/gemm/gemm_checks.hpp"
#include "ops/gemm/gemm_cpu.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/gemm/gemm_cuda.hpp"
#include "ops/gemm/gemm_plan_cache.hpp"
#endif

namespace nvfp4j {

inline void run_gemm(nvfp4j_context* context, const char* op, const GemmCall& call) {
  const GemmArgs args = check_gemm(place_of(op, context), call);
  const Use use(*context, op);
#if NVFP4J_WITH_CUDA
  if (context->cuda != nullptr) {
    const GemmPlan& plan = context->cuda->gemm_plan_cache().of(gemm_shape(args));
    if (plan.refusal != nullptr) [[unlikely]]
      fail(NVFP4J_ERROR_NOT_SUPPORTED, "%s: options.%s", op, plan.refusal);
    if (args.m == 0) return;
    // Rows that need no workspace are none to it.
    context->cuda->launch(args.op, plan.packed_rows > 0 ? args.m : 0, a_columns(args),
                          [&](const CudaLaunch& launch) { return gemm_cuda(launch, args, plan); });
    return;
  }
#endif
  if (args.m == 0) return;
  context->cpu->run([args](CpuPool& pool, DeviceStatus& status) { gemm_cpu(pool, status, args); });
}

}  // namespace nvfp4j
