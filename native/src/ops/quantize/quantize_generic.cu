// SPDX-License-Identifier: Apache-2.0
// quantize on any device from compute capability 8.0 on, and the choice between this and quantize_sm90.cu.
#include "ops/quantize/quantize_cuda_impl.hpp"
#include "ops/quantize/quantize_launch.cuh"

namespace nvfp4j {
namespace {

bool is_aligned(const QuantizeArgs& args) {
  const int bytes = args.dtype == NVFP4J_DTYPE_F32 ? 4 : 2;
  return aligned16(args.input, args.input_stride * bytes);
}

template <typename Source>
cudaError_t launch(const CudaLaunch& launch, const QuantizeArgs& args, const QuantizePlan& plan) {
  return launch_plan(generic_kernel<Source>(plan, args.recipe.recipe), launch, plan,
                     Source::of(args),
                     QuantizeTarget::of(args.output, args.recipe, NVFP4J_OP_QUANTIZE, args.rows,
                                        args.columns, launch.status));
}

template <typename T>
cudaError_t launch_type(const CudaLaunch& l, const QuantizeArgs& args, const QuantizePlan& plan) {
  return is_aligned(args) ? launch<MatrixSource<T, true>>(l, args, plan)
                          : launch<MatrixSource<T, false>>(l, args, plan);
}

}  // namespace

int quantize_generic(const CudaLaunch& l, const QuantizeArgs& args, const QuantizePlan& plan) {
  switch (args.dtype) {
    case NVFP4J_DTYPE_BF16:
      return launch_type<device::Bf16>(l, args, plan);
    case NVFP4J_DTYPE_F16:
      return launch_type<device::F16>(l, args, plan);
    default:
      return launch_type<device::F32>(l, args, plan);
  }
}

int quantize_generic_warm_up(const CudaDeviceProperties& device) {
  cudaError_t status = cudaSuccess;
  const auto load = [&](cudaError_t (*f)(const CudaDeviceProperties&)) {
    if (status == cudaSuccess) status = f(device);
  };
  load(&load_generic_kernels<MatrixSource<device::Bf16, true>>);
  load(&load_generic_kernels<MatrixSource<device::Bf16, false>>);
  load(&load_generic_kernels<MatrixSource<device::F16, true>>);
  load(&load_generic_kernels<MatrixSource<device::F16, false>>);
  load(&load_generic_kernels<MatrixSource<device::F32, true>>);
  load(&load_generic_kernels<MatrixSource<device::F32, false>>);
  return status;
}

int quantize_cuda(const CudaLaunch& launch, const QuantizeArgs& args) {
  if (args.rows == 0 || args.columns == 0) return cudaSuccess;
  const int bytes = args.dtype == NVFP4J_DTYPE_F32 ? 4 : 2;
  const QuantizeProblem problem = {
      args.rows,
      args.columns,
      args.recipe.global_scale == NVFP4J_GLOBAL_SCALE_DYNAMIC,
      args.output.global_scale_kind == NVFP4J_GLOBAL_SCALE_ROW,
      bytes,
      is_aligned(args),
      args.gather == nullptr && args.input_stride == args.columns && is_aligned(args),
      args.columns * bytes};
  const QuantizePlan plan = plan_quantize(*launch.device, problem);
  return plan.kernel == QuantizeKernel::kTensorRing || plan.kernel == QuantizeKernel::kRowsBulk
             ? quantize_sm90(launch, args, plan)
             : quantize_generic(launch, args, plan);
}

const char* quantize_cuda_path(const CudaDeviceProperties& device) {
  if (quantize_refusal(device) != nullptr) return nullptr;
  return runs_sm90a(device)
             ? "sm_90: quantize_sm90 (bulk copies) for large inputs with dynamic scales, "
               "quantize_generic for the rest, compute capability 9.0"
             : "generic: quantize_generic, compute capability 8.0 or newer";
}

const char* quantize_cuda_refusal(const CudaDeviceProperties& device) {
  return quantize_refusal(device);
}

int quantize_cuda_warm_up(const CudaDeviceProperties& device) {
  const int status = quantize_generic_warm_up(device);
  return status == cudaSuccess && runs_sm90a(device) ? quantize_sm90_warm_up(device) : status;
}

std::int64_t quantize_cuda_workspace_bytes(const CudaDeviceProperties& device, std::int64_t,
                                           std::int64_t) {
  return quantize_exchange_bytes(device);
}

}  // namespace nvfp4j
