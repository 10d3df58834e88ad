// SPDX-License-Identifier: Apache-2.0
// swiglu_quantize with a dynamic scale per row of many rows on sm_90: rows of gate and up wait in shared memory (quantize_ring.cuh).
#include "device/launch.cuh"
#include "ops/quantize/quantize_ring.cuh"
#include "ops/swiglu_quantize/swiglu_quantize_cuda_impl.hpp"
#include "ops/swiglu_quantize/swiglu_source.cuh"

namespace nvfp4j {
namespace {

template <typename T>
const void* kernel_of(int recipe) {
  return rows_bulk_kernel < SwigluSource<T, true>, T::kBytes == 2 ? 4 : 2 > (recipe);
}

template <typename T>
cudaError_t launch_type(const CudaLaunch& l, const SwigluQuantizeArgs& args,
                        const QuantizePlan& plan) {
  SwigluSource<T, true> source = SwigluSource<T, true>::of(args.input);
  QuantizeTarget target = QuantizeTarget::of(args.output, args.recipe, NVFP4J_OP_SWIGLU_QUANTIZE,
                                             args.input.rows, args.input.columns, l.status);
  void* arguments[] = {&source, &target};
  return launch_programmatic(kernel_of<T>(args.recipe.recipe), l, grid_of(plan.grid), plan.threads,
                             plan.shared_bytes, arguments);
}

}  // namespace

int swiglu_quantize_sm90(const CudaLaunch& l, const SwigluQuantizeArgs& args,
                         const QuantizePlan& plan) {
  return args.input.dtype == NVFP4J_DTYPE_F32 ? launch_type<device::F32>(l, args, plan)
                                              : launch_type<device::Bf16>(l, args, plan);
}

int swiglu_quantize_sm90_warm_up(const CudaDeviceProperties& device) {
  for (const int recipe : {NVFP4J_RECIPE_EXACT, NVFP4J_RECIPE_TE_EXACT}) {
    for (const void* kernel : {kernel_of<device::Bf16>(recipe), kernel_of<device::F32>(recipe)}) {
      const cudaError_t status = cudaFuncSetAttribute(
          kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, quantize_parking_bytes(device));
      if (status != cudaSuccess) return status;
    }
  }
  return cudaSuccess;
}

}  // namespace nvfp4j
