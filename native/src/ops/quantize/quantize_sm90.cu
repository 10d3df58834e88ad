// SPDX-License-Identifier: Apache-2.0
// quantize with dynamic scales of large inputs on sm_90: elements wait in shared memory (quantize_ring.cuh).
#include "ops/quantize/quantize_cuda_impl.hpp"
#include "ops/quantize/quantize_launch.cuh"
#include "ops/quantize/quantize_ring.cuh"

namespace nvfp4j {
namespace {

// kTensorRing: buffers, and chunks kept in registers besides.
constexpr int stages(int element_bytes) { return element_bytes == 2 ? 14 : 7; }
constexpr int held(int element_bytes) { return element_bytes == 2 ? 8 : 4; }
constexpr device::RingWindows windows(int element_bytes) {
  return {element_bytes == 2 ? 6 : 3, stages(element_bytes) - 2};
}

template <typename T>
const void* tensor_kernel(int recipe) {
  using namespace device;
  constexpr int kStages = stages(T::kBytes);
  constexpr int kHeld = held(T::kBytes);
  constexpr int kThreads = kQuantizeRingThreads;
  return recipe == NVFP4J_RECIPE_EXACT
             ? reinterpret_cast<const void*>(
                   &quantize_tensor_ring<T, NVFP4J_RECIPE_EXACT, kStages, kHeld, kThreads>)
             : reinterpret_cast<const void*>(
                   &quantize_tensor_ring<T, NVFP4J_RECIPE_TE_EXACT, kStages, kHeld, kThreads>);
}
template <typename T>
constexpr int tensor_bytes() {
  return device::ring_shared_bytes<T, stages(T::kBytes), kQuantizeRingThreads>();
}

template <typename T>
const void* rows_kernel(int recipe) {
  return rows_bulk_kernel < MatrixSource<T, true>, T::kBytes == 2 ? 6 : 4 > (recipe);
}

template <typename T>
cudaError_t launch_type(const CudaLaunch& l, const QuantizeArgs& args, const QuantizePlan& plan) {
  QuantizeTarget target = QuantizeTarget::of(args.output, args.recipe, NVFP4J_OP_QUANTIZE,
                                             args.rows, args.columns, l.status);
  if (plan.kernel == QuantizeKernel::kRowsBulk) {
    MatrixSource<T, true> source = MatrixSource<T, true>::of(args);
    void* arguments[] = {&source, &target};
    return launch_programmatic(rows_kernel<T>(args.recipe.recipe), l, grid_of(plan.grid),
                               plan.threads, plan.shared_bytes, arguments);
  }
  const void* input = args.input;
  void* exchange = l.workspace;
  device::RingWindows window = windows(T::kBytes);
  void* arguments[] = {&input, &target, &exchange, &window};
  return launch_cooperative(tensor_kernel<T>(args.recipe.recipe), l, grid_of(plan.grid),
                            plan.threads, tensor_bytes<T>(), arguments);
}

template <typename T>
cudaError_t warm_up_type(const CudaDeviceProperties& device) {
  for (const int recipe : {NVFP4J_RECIPE_EXACT, NVFP4J_RECIPE_TE_EXACT}) {
    cudaError_t status = cudaFuncSetAttribute(
        tensor_kernel<T>(recipe), cudaFuncAttributeMaxDynamicSharedMemorySize, tensor_bytes<T>());
    if (status != cudaSuccess) return status;
    status =
        cudaFuncSetAttribute(rows_kernel<T>(recipe), cudaFuncAttributeMaxDynamicSharedMemorySize,
                             quantize_parking_bytes(device));
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

}  // namespace

int quantize_sm90(const CudaLaunch& l, const QuantizeArgs& args, const QuantizePlan& plan) {
  switch (args.dtype) {
    case NVFP4J_DTYPE_BF16:
      return launch_type<device::Bf16>(l, args, plan);
    case NVFP4J_DTYPE_F16:
      return launch_type<device::F16>(l, args, plan);
    default:
      return launch_type<device::F32>(l, args, plan);
  }
}

int quantize_sm90_warm_up(const CudaDeviceProperties& device) {
  cudaError_t status = warm_up_type<device::Bf16>(device);
  if (status == cudaSuccess) status = warm_up_type<device::F16>(device);
  if (status == cudaSuccess) status = warm_up_type<device::F32>(device);
  return status;
}

}  // namespace nvfp4j
