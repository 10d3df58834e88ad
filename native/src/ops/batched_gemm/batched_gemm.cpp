// SPDX-License-Identifier: Apache-2.0
#include "ops/gemm/gemm_run.hpp"

extern "C" int32_t nvfp4j_batched_gemm(nvfp4j_context* context, const nvfp4j_tensor* a,
                                       const nvfp4j_nvfp4_tensor* a_nvfp4,
                                       const nvfp4j_nvfp4_tensor* w,
                                       const nvfp4j_gemm_options* options, const nvfp4j_tensor* d,
                                       nvfp4j_error* error) {
  using namespace nvfp4j;
  constexpr const char* op = "batched_gemm";
  return guard(error, op, [&] {
    run_gemm(context, op, {NVFP4J_OP_BATCHED_GEMM, a, a_nvfp4, w, nullptr, nullptr, options, d});
  });
}
