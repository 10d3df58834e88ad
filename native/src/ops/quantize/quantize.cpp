// SPDX-License-Identifier: Apache-2.0
#include "nvfp4j/quantize.h"

#include "common/context.hpp"
#include "common/guard.hpp"
#include "ops/quantize/quantize_checks.hpp"
#include "ops/quantize/quantize_cpu.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/quantize/quantize_cuda.hpp"
#endif

namespace nvfp4j {
namespace {

constexpr const char* kOp = "quantize";

QuantizeArgs check_quantize(const Place& place, const nvfp4j_tensor* input,
                            const nvfp4j_tensor* rows, const nvfp4j_quantize_options* options,
                            const nvfp4j_nvfp4_tensor* output) {
  const Matrix x = check_matrix(place, "input", input,
                                dtype_set({NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F16}));
  if (x.columns == 0 || x.columns % 16 != 0) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT,
         "%s: input has %lld columns (shape [%lld, %lld]), expected a positive multiple of 16", kOp,
         static_cast<long long>(x.columns), static_cast<long long>(x.rows),
         static_cast<long long>(x.columns));
  }
  const QuantizeRecipe recipe = check_recipe(kOp, "options", options);
  const Nvfp4Buffers y = check_nvfp4(place, "output", output);
  check_disjoint(kOp, y, x.buffer);
  const std::int32_t* gather = nullptr;
  std::int64_t count = x.rows;
  if (rows != nullptr) {
    const Vector ids = check_vector(place, "rows", rows, dtype_set({NVFP4J_DTYPE_I32}));
    check_disjoint(kOp, y, ids.buffer);
    gather = static_cast<const std::int32_t*>(ids.data);
    count = ids.count;
  }
  check_nvfp4_shape(kOp, "output", output, count, x.columns,
                    rows != nullptr ? "one row per element of rows" : "the shape of input");
  return QuantizeArgs{x.data,   x.dtype, x.rows,
                      x.stride, count,   x.columns,
                      gather,   recipe,  quantize_output(*output)};
}

}  // namespace
}  // namespace nvfp4j

extern "C" int32_t nvfp4j_quantize(nvfp4j_context* context, const nvfp4j_tensor* input,
                                   const nvfp4j_tensor* rows,
                                   const nvfp4j_quantize_options* options,
                                   const nvfp4j_nvfp4_tensor* output, nvfp4j_error* error) {
  using namespace nvfp4j;
  return guard(error, kOp, [&] {
    const QuantizeArgs args = check_quantize(place_of(kOp, context), input, rows, options, output);
    const Use use(*context, kOp);
    if (args.rows == 0) return;
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      context->cuda->launch(NVFP4J_OP_QUANTIZE, args.rows, args.columns,
                            [&](const CudaLaunch& launch) { return quantize_cuda(launch, args); });
      return;
    }
#endif
    context->cpu->run(
        [args](CpuPool& pool, DeviceStatus& status) { quantize_cpu(pool, status, args); });
  });
}
