// SPDX-License-Identifier: Apache-2.0
// swiglu_quantize on any device from compute capability 8.0 on: the quantising kernels over SwiGLU's results, which never reach memory.
#include "ops/swiglu_quantize/swiglu_quantize_cuda.hpp"
#include "ops/swiglu_quantize/swiglu_quantize_cuda_impl.hpp"
#include "ops/swiglu_quantize/swiglu_source.cuh"

namespace nvfp4j {
namespace {

template <typename Source>
cudaError_t launch(const CudaLaunch& l, const SwigluQuantizeArgs& args, const QuantizePlan& plan) {
  return launch_plan(generic_kernel<Source>(plan, args.recipe.recipe), l, plan,
                     Source::of(args.input),
                     QuantizeTarget::of(args.output, args.recipe, NVFP4J_OP_SWIGLU_QUANTIZE,
                                        args.input.rows, args.input.columns, l.status));
}

template <typename T>
cudaError_t launch_type(const CudaLaunch& l, const SwigluQuantizeArgs& args,
                        const QuantizePlan& plan) {
  return aligned16(args.input.gate_up, args.input.stride * T::kBytes)
             ? launch<SwigluSource<T, true>>(l, args, plan)
             : launch<SwigluSource<T, false>>(l, args, plan);
}

}  // namespace

int swiglu_quantize_cuda(const CudaLaunch& l, const SwigluQuantizeArgs& args) {
  const SwigluInput& in = args.input;
  if (in.rows == 0 || in.columns == 0) return cudaSuccess;
  const int bytes = in.dtype == NVFP4J_DTYPE_F32 ? 4 : 2;
  const bool aligned = aligned16(in.gate_up, in.stride * bytes);
  const QuantizeProblem problem = {in.rows,
                                   in.columns,
                                   args.recipe.global_scale == NVFP4J_GLOBAL_SCALE_DYNAMIC,
                                   args.output.global_scale_kind == NVFP4J_GLOBAL_SCALE_ROW,
                                   bytes,
                                   aligned,
                                   false,
                                   2 * in.columns * bytes};
  const QuantizePlan plan = plan_quantize(*l.device, problem);
  if (plan.kernel == QuantizeKernel::kRowsBulk) return swiglu_quantize_sm90(l, args, plan);
  return in.dtype == NVFP4J_DTYPE_F32 ? launch_type<device::F32>(l, args, plan)
                                      : launch_type<device::Bf16>(l, args, plan);
}

const char* swiglu_quantize_cuda_path(const CudaDeviceProperties& device) {
  if (quantize_refusal(device) != nullptr) return nullptr;
  return runs_sm90a(device)
             ? "sm_90: swiglu_quantize_sm90 (bulk copies) for many rows with a dynamic scale each, "
               "swiglu_quantize_generic for the rest, compute capability 9.0"
             : "generic: swiglu_quantize_generic, compute capability 8.0 or newer";
}
const char* swiglu_quantize_cuda_refusal(const CudaDeviceProperties& device) {
  return quantize_refusal(device);
}

int swiglu_quantize_cuda_warm_up(const CudaDeviceProperties& device) {
  cudaError_t status = load_generic_kernels<SwigluSource<device::Bf16, true>>(device);
  if (status == cudaSuccess)
    status = load_generic_kernels<SwigluSource<device::Bf16, false>>(device);
  if (status == cudaSuccess) status = load_generic_kernels<SwigluSource<device::F32, true>>(device);
  if (status == cudaSuccess)
    status = load_generic_kernels<SwigluSource<device::F32, false>>(device);
  if (status == cudaSuccess && runs_sm90a(device)) return swiglu_quantize_sm90_warm_up(device);
  return status;
}

std::int64_t swiglu_quantize_cuda_workspace_bytes(const CudaDeviceProperties& device, std::int64_t,
                                                  std::int64_t) {
  return quantize_exchange_bytes(device);
}

}  // namespace nvfp4j
