// SPDX-License-Identifier: Apache-2.0
#include "nvfp4j/sample.h"

#include <cfloat>

#include "common/context.hpp"
#include "common/guard.hpp"
#include "ops/sample/sample_cpu.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/sample/sample_cuda.hpp"
#endif

namespace nvfp4j {
namespace {

constexpr const char* kOp = "sample";

// Below it a temperature counts as this.
constexpr float kSmallestTemperature = 1e-5f;

SampleArgs check_sample(const Place& place, const nvfp4j_tensor* logits, const nvfp4j_tensor* noise,
                        const nvfp4j_tensor* offset, const nvfp4j_sample_options* options,
                        const nvfp4j_tensor* tokens) {
  const Matrix l =
      check_matrix(place, "logits", logits, dtype_set({NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}));
  if (l.columns < 1 || l.columns > 0x7fffffff) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: logits has %lld columns, expected 1 to 2147483647",
         kOp, static_cast<long long>(l.columns));
  }
  check_struct(kOp, "options", options);
  if (!(options->temperature >= 0 && options->temperature <= FLT_MAX)) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT,
         "%s: options.temperature is %g, expected 0 or more, and finite", kOp,
         static_cast<double>(options->temperature));
  }
  const Vector out = check_vector(place, "tokens", tokens, dtype_set({NVFP4J_DTYPE_I32}));
  check_count(kOp, "tokens", out, l.rows, "one per row of logits");
  check_disjoint(kOp, out.buffer, l.buffer);
  SampleArgs args = {
      options->temperature == 0 ? SampleMode::kGreedy : SampleMode::kPhilox,
      l.data,
      l.stride,
      l.dtype,
      l.rows,
      static_cast<std::int32_t>(l.columns),
      nullptr,
      0,
      options->temperature > kSmallestTemperature ? options->temperature : kSmallestTemperature,
      options->seed,
      options->offset,
      nullptr,
      static_cast<std::int32_t*>(out.data)};
  if (noise != nullptr) {
    const Matrix e = check_matrix(place, "noise", noise, dtype_set({NVFP4J_DTYPE_F32}));
    check_shape(kOp, "noise", e, l.rows, l.columns, "the shape of logits");
    check_disjoint(kOp, out.buffer, e.buffer);
    if (args.mode == SampleMode::kPhilox) {
      args.mode = SampleMode::kGiven;
      args.noise = static_cast<const float*>(e.data);
      args.noise_stride = e.stride;
    }
  }
  if (offset != nullptr) {
    const Vector o = check_vector(place, "offset", offset, dtype_set({NVFP4J_DTYPE_I64}));
    check_count(kOp, "offset", o, 1, "a scalar");
    check_disjoint(kOp, out.buffer, o.buffer);
    args.more_offset = static_cast<const std::uint64_t*>(o.data);
  }
  return args;
}

}  // namespace
}  // namespace nvfp4j

extern "C" int32_t nvfp4j_sample(nvfp4j_context* context, const nvfp4j_tensor* logits,
                                 const nvfp4j_tensor* noise, const nvfp4j_tensor* offset,
                                 const nvfp4j_sample_options* options, const nvfp4j_tensor* tokens,
                                 nvfp4j_error* error) {
  using namespace nvfp4j;
  return guard(error, kOp, [&] {
    const SampleArgs args =
        check_sample(place_of(kOp, context), logits, noise, offset, options, tokens);
    const Use use(*context, kOp);
    if (args.tokens == 0) return;
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      context->cuda->launch(NVFP4J_OP_SAMPLE, args.tokens, args.columns,
                            [&](const CudaLaunch& launch) { return sample_cuda(launch, args); });
      return;
    }
#endif
    context->cpu->run(
        [args](CpuPool& pool, DeviceStatus& status) { sample_cpu(pool, status, args); });
  });
}
