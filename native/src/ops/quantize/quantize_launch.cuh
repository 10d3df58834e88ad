// SPDX-License-Identifier: Apache-2.0
// From a plan and a source to a launch: shared by the .cu files of quantize and swiglu_quantize.
#pragma once
#include "device/launch.cuh"
#include "ops/quantize/quantize_kernels.cuh"
#include "ops/quantize/quantize_plan.hpp"

namespace nvfp4j {

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
    case QuantizeKernel::kSlices: {
      // What is computed is not computed again: no unit is larger than a thread block.
      constexpr int kHold = Source::kComputed ? 1 : kQuantizeSliceHold;
      return plan.hold == 1
                 ? pointer(&quantize_slices<Source, RECIPE, 1, kQuantizeSliceThreads>)
                 : pointer(&quantize_slices<Source, RECIPE, kHold, kQuantizeSliceThreads>);
    }
    case QuantizeKernel::kSmallGrid:
      return pointer(&quantize_small<Source, RECIPE, kQuantizeGridThreads>);
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
        QuantizeKernel::kSlices, QuantizeKernel::kSmallGrid, QuantizeKernel::kTensorGrid}) {
    for (const int hold : {1, 2}) {
      plan.kernel = kernel;
      plan.hold = hold;
      const cudaError_t status = f(plan);
      if (status != cudaSuccess) return status;
    }
  }
  return cudaSuccess;
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

// Launches a plan of any kernel but those of sm_90.
template <typename Source>
cudaError_t launch_plan(const void* kernel, const CudaLaunch& launch, const QuantizePlan& plan,
                        Source source, QuantizeTarget target) {
  std::uint32_t group = plan.group;
  int parked = plan.parked;
  auto* exchange = static_cast<GridExchange*>(launch.workspace);
  void* with_group[] = {&source, &target, &group};  // kGiven and kRows take the first two
  void* with_exchange[] = {&source, &target, &exchange, &parked};  // kSmallGrid the first three
  const dim3 grid(static_cast<unsigned>(plan.grid), static_cast<unsigned>(plan.units));
  return plan.kernel == QuantizeKernel::kTensorGrid || plan.kernel == QuantizeKernel::kSmallGrid
             ? launch_cooperative(kernel, launch, grid, plan.threads, plan.shared_bytes,
                                  with_exchange)
             : launch_programmatic(kernel, launch, grid, plan.threads, plan.shared_bytes,
                                   with_group);
}

}  // namespace nvfp4j
