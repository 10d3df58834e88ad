// SPDX-License-Identifier: Apache-2.0
#include "nvfp4j/swiglu.h"

#include "common/context.hpp"
#include "common/guard.hpp"
#include "ops/swiglu/swiglu_checks.hpp"
#include "ops/swiglu/swiglu_cpu.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/swiglu/swiglu_cuda.hpp"
#endif

namespace nvfp4j {
namespace {

constexpr const char* kOp = "swiglu";

SwigluArgs check_swiglu(const Place& place, const nvfp4j_tensor* gate_up,
                        const nvfp4j_tensor* weight, const nvfp4j_swiglu_options* options,
                        const nvfp4j_tensor* output) {
  const CheckedSwigluInput x = check_swiglu_input(place, gate_up, weight, "options", options);
  const Matrix y = check_matrix(place, "output", output, dtype_set({x.input.dtype}));
  check_shape(kOp, "output", y, x.input.rows, x.input.columns,
              "the rows and half the columns of gate_up");
  check_disjoint(kOp, y.buffer, x.gate_up);
  check_disjoint(kOp, y.buffer, x.weight);
  return SwigluArgs{x.input, y.data, y.stride};
}

}  // namespace
}  // namespace nvfp4j

extern "C" int32_t nvfp4j_swiglu(nvfp4j_context* context, const nvfp4j_tensor* gate_up,
                                 const nvfp4j_tensor* weight, const nvfp4j_swiglu_options* options,
                                 const nvfp4j_tensor* output, nvfp4j_error* error) {
  using namespace nvfp4j;
  return guard(error, kOp, [&] {
    const SwigluArgs args = check_swiglu(place_of(kOp, context), gate_up, weight, options, output);
    const Use use(*context, kOp);
    if (args.input.rows == 0 || args.input.columns == 0) return;
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      context->cuda->launch(NVFP4J_OP_SWIGLU, args.input.rows, args.input.columns,
                            [&](const CudaLaunch& launch) { return swiglu_cuda(launch, args); });
      return;
    }
#endif
    context->cpu->run(
        [args](CpuPool& pool, DeviceStatus& status) { swiglu_cpu(pool, status, args); });
  });
}
