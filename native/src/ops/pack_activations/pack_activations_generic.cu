// SPDX-License-Identifier: Apache-2.0
// pack_activations on any device from compute capability 8.0 on. Bound by memory: 2.5625 bytes an element; a block of 16 elements a thread.
#include "device/fp8.cuh"
#include "device/launch.cuh"
#include "device/ptx.cuh"
#include "device/status.cuh"
#include "nvfp4j/gemm.h"
#include "ops/gemm/gemm_operands.cuh"
#include "ops/pack_activations/pack_activations_cuda.hpp"

namespace nvfp4j {
namespace {

using namespace device;

constexpr int kPackThreads = 256;

__global__ void __launch_bounds__(kPackThreads)
    pack_activations_kernel(PackActivationsArgs p, DeviceStatus* status) {
  await_predecessor();
  const std::int64_t start = static_cast<std::int64_t>(blockIdx.x) * kPackThreads + threadIdx.x;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kPackThreads;
  for (std::int64_t i = start; i < p.global_scales_count; i += step)
    p.packed_global_scales[i] = load(p.global_scales + i);
  const std::int64_t row_blocks = p.k / 16;
  for (std::int64_t i = start; i < p.m * row_blocks; i += step) {
    const auto* q = reinterpret_cast<const std::uint32_t*>(p.codes + 8 * i);
    const std::uint32_t scale = load(p.scales + i);
    if (scale >= 0x7Fu)
      report(status, NVFP4J_OP_PACK_ACTIVATIONS, NVFP4J_CAUSE_BAD_BLOCK_SCALE, i / row_blocks,
             i % row_blocks * 16);
    uint4 first, second;
    pack_block(make_uint2(load(q), load(q + 1)), scale, first, second);
    auto* out = reinterpret_cast<uint4*>(p.packed + 16 * i);
    out[0] = first;
    out[1] = second;
  }
}

}  // namespace

int pack_activations_cuda(const CudaLaunch& launch, const PackActivationsArgs& args) {
  PackActivationsArgs p = args;
  DeviceStatus* status = launch.status;
  void* arguments[] = {&p, &status};
  const std::int64_t blocks = (args.m * (args.k / 16) + kPackThreads - 1) / kPackThreads;
  const std::int64_t most = 16 * static_cast<std::int64_t>(launch.device->sm_count);
  return launch_programmatic(reinterpret_cast<const void*>(&pack_activations_kernel), launch,
                             grid_of(blocks < most ? blocks : most), kPackThreads, 0, arguments);
}

const char* pack_activations_cuda_path(const CudaDeviceProperties& device) {
  return device.major < 8 ? nullptr
                          : "generic: pack_activations_generic, compute capability 8.0 or newer";
}
const char* pack_activations_cuda_refusal(const CudaDeviceProperties& device) {
  return device.major < 8 ? "the CUDA kernels need compute capability 8.0 or newer" : nullptr;
}

int pack_activations_cuda_warm_up(const CudaDeviceProperties&) {
  return load_kernel(reinterpret_cast<const void*>(&pack_activations_kernel));
}

std::int64_t pack_activations_cuda_workspace_bytes(const CudaDeviceProperties&, std::int64_t,
                                                   std::int64_t) {
  return 0;
}

}  // namespace nvfp4j
