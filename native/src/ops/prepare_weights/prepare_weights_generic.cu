// SPDX-License-Identifier: Apache-2.0
// prepare_weights on any device from compute capability 8.0 on: checkpoint order to that of prepared_layout.hpp. Once per model, bound by byte loads; 16 rows by 256 columns a warp.
#include "device/launch.cuh"
#include "device/ptx.cuh"
#include "device/status.cuh"
#include "nvfp4j/gemm.h"
#include "ops/gemm/prepared_layout.hpp"
#include "ops/prepare_weights/prepare_weights_cuda.hpp"

namespace nvfp4j {

inline constexpr int kPrepareThreads = 128;

struct PrepareTarget {
  const std::uint8_t* codes;
  const std::uint8_t* scales;
  std::uint8_t* prepared;
  const float* global_scales;
  float* prepared_global_scales;
  std::int64_t global_scales_count;
  std::int64_t rows;  // of all groups
  std::int64_t n;
  std::int64_t k;
  DeviceStatus* status;
};

namespace device {
namespace {

__device__ __forceinline__ void copy_global_scales(const float* from, float* to,
                                                   std::int64_t count) {
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += static_cast<std::int64_t>(gridDim.x) * blockDim.x)
    to[i] = load(from + i);
}

// Tiled shapes. All groups are one matrix of `rows` rows: N is a multiple of 16.
__global__ void __launch_bounds__(kPrepareThreads) prepare_weights_tiled(PrepareTarget p) {
  await_predecessor();
  copy_global_scales(p.global_scales, p.prepared_global_scales, p.global_scales_count);
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const int r = lane >> 2, t = lane & 3;
  const std::int64_t row_chunks = p.k / prepared::kChunkColumns;
  const std::int64_t chunks = p.rows / prepared::kTileRows * row_chunks;
  const std::int64_t warps = static_cast<std::int64_t>(gridDim.x) * (kPrepareThreads / 32);
  for (std::int64_t chunk =
           static_cast<std::int64_t>(blockIdx.x) * (kPrepareThreads / 32) + threadIdx.x / 32;
       chunk < chunks; chunk += warps) {
    std::uint8_t* out = p.prepared + chunk * prepared::kChunkBytes;
    const std::int64_t row = chunk / row_chunks * prepared::kTileRows + 2 * r;
    const std::int64_t column = chunk % row_chunks * prepared::kChunkColumns;
    for (int u = 0; u < prepared::kChunkUnits; ++u) {
      std::uint32_t words[4];
      std::uint32_t scales[2][4];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const std::uint8_t* s = p.scales + (row + h) * (p.k / 16) + column / 16 + 4 * u;
        const std::uint8_t* q = p.codes + (row + h) * (p.k / 2) + column / 2 + 32 * u + t;
        std::uint32_t bytes[2] = {0u, 0u};
#pragma unroll
        for (int b = 0; b < 4; ++b) {
          const std::uint32_t scale = load(s + b);
          scales[h][b] = prepared::encode_scale(scale);
          if (scale >= 0x7Fu && t == 0)
            report(p.status, NVFP4J_OP_PREPARE_WEIGHTS, NVFP4J_CAUSE_BAD_BLOCK_SCALE, row + h,
                   column + 64 * u + 16 * b);
          if (scale == 0u) continue;
          const std::uint32_t pair = load(q + 8 * b) | load(q + 8 * b + 4) << 8;
          bytes[b >> 1] |= pair << (16 * (b & 1));
        }
        words[2 * h] = prepared::encode_codes(bytes[0]);
        words[2 * h + 1] = prepared::encode_codes(bytes[1]);
      }
      reinterpret_cast<uint4*>(out + 512 * u)[lane] =
          make_uint4(words[0], words[1], words[2], words[3]);
      if (t < 2) {
        const auto pick = [&](int h, int odd) {
          return t == 0 ? scales[h][odd] : scales[h][2 + odd];
        };
        reinterpret_cast<std::uint32_t*>(out + prepared::kChunkCodes + 64 * u)[2 * r + t] =
            prepared::pack_scales(pick(0, 0), pick(1, 0), pick(0, 1), pick(1, 1));
      }
    }
  }
}

// Other shapes: of each group the codes, then the scales.
__global__ void __launch_bounds__(kPrepareThreads) prepare_weights_linear(PrepareTarget p) {
  await_predecessor();
  copy_global_scales(p.global_scales, p.prepared_global_scales, p.global_scales_count);
  const std::int64_t codes = p.n * p.k / 2, scales = p.n * p.k / 16, group = codes + scales;
  const std::int64_t bytes = p.rows / p.n * group;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kPrepareThreads + threadIdx.x;
       i < bytes; i += static_cast<std::int64_t>(gridDim.x) * kPrepareThreads) {
    const std::int64_t g = i / group, at = i % group;
    std::uint32_t byte;
    if (at < codes) {
      byte = load(p.codes + g * codes + at);
    } else {
      byte = load(p.scales + g * scales + at - codes);
      if (byte >= 0x7Fu) {
        const std::int64_t blocks = p.k / 16;
        report(p.status, NVFP4J_OP_PREPARE_WEIGHTS, NVFP4J_CAUSE_BAD_BLOCK_SCALE,
               g * p.n + (at - codes) / blocks, (at - codes) % blocks * 16);
      }
    }
    p.prepared[i] = static_cast<std::uint8_t>(byte);
  }
}

}  // namespace
}  // namespace device

int prepare_weights_cuda(const CudaLaunch& launch, const PrepareWeightsArgs& args) {
  PrepareTarget p = {args.codes,
                     args.scales,
                     args.prepared,
                     args.global_scales,
                     args.prepared_global_scales,
                     args.global_scales_count,
                     args.groups * args.n,
                     args.n,
                     args.k,
                     launch.status};
  void* arguments[] = {&p};
  const bool tiled = prepared::is_tiled(args.n, args.k);
  // Enough to keep the memory busy; both kernels go on from there.
  const std::int64_t grid = 16 * static_cast<std::int64_t>(launch.device->sm_count);
  return launch_programmatic(tiled ? reinterpret_cast<const void*>(&device::prepare_weights_tiled)
                                   : reinterpret_cast<const void*>(&device::prepare_weights_linear),
                             launch, grid_of(grid), kPrepareThreads, 0, arguments);
}

const char* prepare_weights_cuda_path(const CudaDeviceProperties& device) {
  return device.major < 8 ? nullptr
                          : "generic: prepare_weights_generic, compute capability 8.0 or newer";
}
const char* prepare_weights_cuda_refusal(const CudaDeviceProperties& device) {
  return device.major < 8 ? "the CUDA kernels need compute capability 8.0 or newer" : nullptr;
}

int prepare_weights_cuda_warm_up(const CudaDeviceProperties&) {
  const cudaError_t status =
      load_kernel(reinterpret_cast<const void*>(&device::prepare_weights_tiled));
  return status != cudaSuccess
             ? status
             : load_kernel(reinterpret_cast<const void*>(&device::prepare_weights_linear));
}

std::int64_t prepare_weights_cuda_workspace_bytes(const CudaDeviceProperties&, std::int64_t,
                                                  std::int64_t) {
  return 0;
}

}  // namespace nvfp4j
