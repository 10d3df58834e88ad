// SPDX-License-Identifier: Apache-2.0
// From a plan and a source to a launch: shared by the .cu files of quantize and swiglu_quantize.
#pragma once
#include <cuda_runtime_api.h>

#include "ops/quantize/quantize_kernels.cuh"
#include "ops/quantize/quantize_plan.hpp"

namespace nvfp4j {

// One kernel launch with up to one attribute; the stream may be capturing.
inline cudaError_t launch_kernel(const void* kernel, const CudaLaunch& launch, std::int64_t grid,
                                 int threads, int shared_bytes, bool cooperative,
                                 void** arguments) {
  cudaLaunchAttribute attribute = {};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(grid));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes);
  config.stream = launch.stream;
  config.attrs = &attribute;
  if (cooperative) {
    attribute.id = cudaLaunchAttributeCooperative;
    attribute.val.cooperative = 1;
    config.numAttrs = 1;
  }
  return cudaLaunchKernelExC(&config, kernel, arguments);
}

// The kernel of a plan that runs on every device, or nullptr.
template <typename Source, int RECIPE>
const void* generic_kernel(const QuantizePlan& plan) {
  using namespace device;
  const auto pointer = [](auto kernel) { return reinterpret_cast<const void*>(kernel); };
  switch (plan.kernel) {
    case QuantizeKernel::kGiven:
      return pointer(&quantize_given<Source, RECIPE, kQuantizeGivenThreads>);
    case QuantizeKernel::kShortRows:
      return pointer(&quantize_short_rows<Source, RECIPE, kQuantizeShortRowThreads>);
    case QuantizeKernel::kRows:
      return plan.hold == 1
                 ? pointer(&quantize_rows<Source, RECIPE, 1, kQuantizeRowThreads>)
                 : pointer(
                       &quantize_rows<Source, RECIPE, quantize_max_hold(Source::Element::kBytes),
                                      kQuantizeRowThreads>);
    case QuantizeKernel::kSmallBlock:
      return pointer(&quantize_small<Source, RECIPE, kQuantizeBlockThreads, Exchange::kNone>);
    case QuantizeKernel::kSmallGrid:
      return pointer(&quantize_small<Source, RECIPE, kQuantizeGridThreads, Exchange::kGrid>);
    case QuantizeKernel::kTensorGrid:
      return pointer(
          &quantize_tensor<Source, RECIPE,
                           quantize_tensor_threads(Source::Element::kBytes, Source::kComputed)>);
    default:
      return nullptr;
  }
}

template <typename Source>
const void* generic_kernel(const QuantizePlan& plan, int recipe) {
  return recipe == NVFP4J_RECIPE_EXACT ? generic_kernel<Source, NVFP4J_RECIPE_EXACT>(plan)
                                       : generic_kernel<Source, NVFP4J_RECIPE_TE_EXACT>(plan);
}

// Calls f(plan) for every plan that may need a kernel of its own: for warming up.
template <typename F>
cudaError_t for_each_generic_plan(F f) {
  QuantizePlan plan = {};
  for (const QuantizeKernel kernel :
       {QuantizeKernel::kGiven, QuantizeKernel::kShortRows, QuantizeKernel::kRows,
        QuantizeKernel::kSmallBlock, QuantizeKernel::kSmallGrid, QuantizeKernel::kTensorGrid}) {
    for (const int hold : {1, 2}) {
      plan.kernel = kernel;
      plan.hold = hold;
      const cudaError_t status = f(plan);
      if (status != cudaSuccess) return status;
    }
  }
  return cudaSuccess;
}

// Asking for a kernel's attributes loads it.
inline cudaError_t load_kernel(const void* kernel) {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, kernel);
}

// Loads the kernels of a source; those that park blocks in shared memory may take all of it.
template <typename Source>
cudaError_t load_generic_kernels(const CudaDeviceProperties& device) {
  for (const int recipe : {NVFP4J_RECIPE_EXACT, NVFP4J_RECIPE_TE_EXACT}) {
    const cudaError_t status = for_each_generic_plan([&](const QuantizePlan& plan) {
      const void* kernel = generic_kernel<Source>(plan, recipe);
      const cudaError_t loaded = load_kernel(kernel);
      if (loaded != cudaSuccess || plan.kernel != QuantizeKernel::kTensorGrid) return loaded;
      return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  quantize_parking_bytes(device));
    });
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

// Launches a plan of any kernel but the ring.
template <typename Source>
cudaError_t launch_plan(const void* kernel, const CudaLaunch& launch, const QuantizePlan& plan,
                        Source source, QuantizeTarget target) {
  std::uint32_t group = plan.group;
  int parked = plan.parked;
  auto* exchange = static_cast<GridExchange*>(launch.workspace);
  void* short_rows[] = {&source, &target, &group};
  void* small[] = {&source, &target, &exchange, &group};
  void* tensor[] = {&source, &target, &exchange, &parked};
  void** arguments = plan.kernel == QuantizeKernel::kShortRows    ? short_rows
                     : plan.kernel == QuantizeKernel::kTensorGrid ? tensor
                                                                  : small;
  return launch_kernel(
      kernel, launch, plan.grid, plan.threads, plan.shared_bytes,
      plan.kernel == QuantizeKernel::kTensorGrid || plan.kernel == QuantizeKernel::kSmallGrid,
      arguments);
}

inline bool aligned16(const void* p, std::int64_t stride_bytes) {
  return reinterpret_cast<std::uintptr_t>(p) % 16 == 0 && stride_bytes % 16 == 0;
}

}  // namespace nvfp4j
