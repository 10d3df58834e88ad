// SPDX-License-Identifier: Apache-2.0
#include "common/context.hpp"
#include "common/guard.hpp"
#include "nvfp4j/quantize.h"
#include "ops/dequantize/dequantize_cpu.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/dequantize/dequantize_cuda.hpp"
#endif

namespace nvfp4j {
namespace {

constexpr const char* kOp = "dequantize";

DequantizeArgs check_dequantize(const Place& place, const nvfp4j_nvfp4_tensor* input,
                                const nvfp4j_tensor* output) {
  const Nvfp4Buffers x = check_nvfp4(place, "input", input);
  const Matrix y = check_matrix(place, "output", output,
                                dtype_set({NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F16}));
  check_shape(kOp, "output", y, input->rows, input->columns, "the shape of input");
  check_disjoint(kOp, y.buffer, x.codes);
  check_disjoint(kOp, y.buffer, x.scales);
  check_disjoint(kOp, y.buffer, x.global_scales);
  return DequantizeArgs{static_cast<const std::uint8_t*>(input->codes),
                        static_cast<const std::uint8_t*>(input->scales),
                        static_cast<const float*>(input->global_scales),
                        input->scale_layout,
                        input->global_scale_kind,
                        input->rows,
                        input->columns,
                        y.data,
                        y.dtype,
                        y.stride};
}

}  // namespace
}  // namespace nvfp4j

extern "C" int32_t nvfp4j_dequantize(nvfp4j_context* context, const nvfp4j_nvfp4_tensor* input,
                                     const nvfp4j_tensor* output, nvfp4j_error* error) {
  using namespace nvfp4j;
  return guard(error, kOp, [&] {
    const DequantizeArgs args = check_dequantize(place_of(kOp, context), input, output);
    const Use use(*context, kOp);
    if (args.rows == 0) return;
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      context->cuda->launch(
          NVFP4J_OP_DEQUANTIZE, args.rows, args.columns,
          [&](const CudaLaunch& launch) { return dequantize_cuda(launch, args); });
      return;
    }
#endif
    context->cpu->run(
        [args](CpuPool& pool, DeviceStatus& status) { dequantize_cpu(pool, status, args); });
  });
}
