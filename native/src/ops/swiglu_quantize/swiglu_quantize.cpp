// SPDX-License-Identifier: Apache-2.0
#include "common/context.hpp"
#include "common/guard.hpp"
#include "nvfp4j/swiglu.h"
#include "ops/quantize/quantize_checks.hpp"
#include "ops/swiglu/swiglu_checks.hpp"
#include "ops/swiglu_quantize/swiglu_quantize_cpu.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/swiglu_quantize/swiglu_quantize_cuda.hpp"
#endif

namespace nvfp4j {
namespace {

constexpr const char* kOp = "swiglu_quantize";

SwigluQuantizeArgs check_swiglu_quantize(const Place& place, const nvfp4j_tensor* gate_up,
                                         const nvfp4j_tensor* weight,
                                         const nvfp4j_swiglu_options* swiglu_options,
                                         const nvfp4j_quantize_options* quantize_options,
                                         const nvfp4j_nvfp4_tensor* output) {
  const CheckedSwigluInput x =
      check_swiglu_input(place, gate_up, weight, "swiglu_options", swiglu_options);
  if (x.input.columns == 0 || x.input.columns % 16 != 0) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT,
         "%s: gate_up has %lld columns, expected a positive multiple of 32 (the result has half of "
         "them)",
         kOp, static_cast<long long>(2 * x.input.columns));
  }
  const QuantizeRecipe recipe = check_recipe(kOp, "quantize_options", quantize_options);
  const Nvfp4Buffers y = check_nvfp4(place, "output", output);
  check_nvfp4_shape(kOp, "output", output, x.input.rows, x.input.columns,
                    "the rows and half the columns of gate_up");
  check_disjoint(kOp, y, x.gate_up);
  check_disjoint(kOp, y, x.weight);
  return SwigluQuantizeArgs{x.input, recipe, quantize_output(*output)};
}

}  // namespace
}  // namespace nvfp4j

extern "C" int32_t nvfp4j_swiglu_quantize(nvfp4j_context* context, const nvfp4j_tensor* gate_up,
                                          const nvfp4j_tensor* weight,
                                          const nvfp4j_swiglu_options* swiglu_options,
                                          const nvfp4j_quantize_options* quantize_options,
                                          const nvfp4j_nvfp4_tensor* output, nvfp4j_error* error) {
  using namespace nvfp4j;
  return guard(error, kOp, [&] {
    const SwigluQuantizeArgs args = check_swiglu_quantize(place_of(kOp, context), gate_up, weight,
                                                          swiglu_options, quantize_options, output);
    const Use use(*context, kOp);
    if (args.input.rows == 0) return;
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      context->cuda->launch(
          NVFP4J_OP_SWIGLU_QUANTIZE, args.input.rows, args.input.columns,
          [&](const CudaLaunch& launch) { return swiglu_quantize_cuda(launch, args); });
      return;
    }
#endif
    context->cpu->run(
        [args](CpuPool& pool, DeviceStatus& status) { swiglu_quantize_cpu(pool, status, args); });
  });
}
