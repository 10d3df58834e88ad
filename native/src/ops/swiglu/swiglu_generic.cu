// SPDX-License-Identifier: Apache-2.0
// swiglu on any device from compute capability 8.0 on. Bound by memory: 6 bytes an output element in BF16.
// Measured on an H100 80GB HBM3, 8192 x 2*3072 BF16 (DeviceTime, commit bff670fb8c1a): 50.9 us, 2.97 TB/s.
#include "device/launch.cuh"
#include "device/ptx.cuh"
#include "device/scale_layout.cuh"
#include "ops/swiglu/swiglu_cuda.hpp"
#include "ops/swiglu/swiglu_math.cuh"
#include "ops/swiglu/swiglu_plan.hpp"

namespace nvfp4j {
namespace {

using namespace device;

struct SwigluTarget {
  const char* input;
  char* output;
  const float* weight;
  std::int64_t input_stride;   // bytes
  std::int64_t output_stride;  // bytes
  std::int64_t half;           // bytes from a row's gate to its up projection
  std::uint64_t total;         // units of work
  std::uint32_t row_units;
  float limit;
  std::uint32_t packed_limit;
  bool interleaved;
};

// In registers a NaN may be any; in memory it is 0x7FC0, 0x7FC00000.
template <typename T>
__device__ __forceinline__ Block<T> with_canonical_nans(Block<T> x) {
  if (x.amax_bits() > T::kInfinity) {
#pragma unroll
    for (int i = 0; i < T::kBytes * 4; ++i) {
      if constexpr (T::kBytes == 2) {
        if ((x.w[i] & 0x7FFFu) > T::kInfinity) x.w[i] = (x.w[i] & 0xFFFF0000u) | 0x7FC0u;
        if ((x.w[i] >> 16 & 0x7FFFu) > T::kInfinity) x.w[i] = (x.w[i] & 0xFFFFu) | 0x7FC00000u;
      } else {
        if ((x.w[i] & 0x7FFFFFFFu) > T::kInfinity) x.w[i] = 0x7FC00000u;
      }
    }
  }
  return x;
}

template <typename T>
__global__ void __launch_bounds__(kSwigluThreads) swiglu_blocks(SwigluTarget t) {
  await_predecessor();
  for (std::uint64_t i = static_cast<std::uint64_t>(blockIdx.x) * kSwigluThreads + threadIdx.x;
       i < t.total; i += static_cast<std::uint64_t>(gridDim.x) * kSwigluThreads) {
    const bool small = i >> 32 == 0;
    const std::uint64_t row = small ? static_cast<std::uint32_t>(i) / t.row_units : i / t.row_units;
    const std::uint64_t unit = i - row * t.row_units;
    const char* p = t.input + static_cast<std::int64_t>(row) * t.input_stride +
                    static_cast<std::int64_t>(unit) * (16 * T::kBytes) * (t.interleaved ? 2 : 1);
    const SwigluScalars s = {t.limit, t.weight != nullptr ? load(t.weight + row) : 1.0f,
                             t.packed_limit};
    const Block<T> y = with_canonical_nans<T>(
        swiglu_block<T>(load_gate_up<T, true>(p, p + t.half, t.interleaved), s));
    char* out = t.output + static_cast<std::int64_t>(row) * t.output_stride +
                static_cast<std::int64_t>(unit) * (16 * T::kBytes);
#pragma unroll
    for (int j = 0; j < T::kBytes; ++j) {
      store_streaming(out + 16 * j,
                      make_uint4(y.w[4 * j], y.w[4 * j + 1], y.w[4 * j + 2], y.w[4 * j + 3]));
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kSwigluThreads) swiglu_elements(SwigluTarget t) {
  await_predecessor();
  for (std::uint64_t i = static_cast<std::uint64_t>(blockIdx.x) * kSwigluThreads + threadIdx.x;
       i < t.total; i += static_cast<std::uint64_t>(gridDim.x) * kSwigluThreads) {
    const std::uint64_t row = i / t.row_units;
    const std::uint64_t column = i - row * t.row_units;
    const char* p = t.input + static_cast<std::int64_t>(row) * t.input_stride +
                    static_cast<std::int64_t>(column) * T::kBytes * (t.interleaved ? 2 : 1);
    const char* q = t.interleaved ? p + T::kBytes : p + t.half;
    const SwigluScalars s = {t.limit, t.weight != nullptr ? load(t.weight + row) : 1.0f,
                             t.packed_limit};
    char* out = t.output + static_cast<std::int64_t>(row) * t.output_stride +
                static_cast<std::int64_t>(column) * T::kBytes;
    if constexpr (T::kBytes == 2) {
      const float v = math::canonical_nan(
          swiglu_any(T::to_f32(*reinterpret_cast<const unsigned short*>(p)),
                     T::to_f32(*reinterpret_cast<const unsigned short*>(q)), s));
      const std::uint32_t y = v != v ? 0x7FC0u : T::pack(v, 0.0f) & 0xFFFFu;
      *reinterpret_cast<unsigned short*>(out) = static_cast<unsigned short>(y);
    } else {
      *reinterpret_cast<float*>(out) = math::canonical_nan(
          swiglu_any(*reinterpret_cast<const float*>(p), *reinterpret_cast<const float*>(q), s));
    }
  }
}

template <typename T>
const void* kernel_of(bool blocks) {
  return blocks ? reinterpret_cast<const void*>(&swiglu_blocks<T>)
                : reinterpret_cast<const void*>(&swiglu_elements<T>);
}

}  // namespace

int swiglu_cuda(const CudaLaunch& launch, const SwigluArgs& args) {
  const SwigluInput& in = args.input;
  if (in.rows == 0 || in.columns == 0) return cudaSuccess;
  const int bytes = in.dtype == NVFP4J_DTYPE_F32 ? 4 : 2;
  const SwigluPlan plan = plan_swiglu(in.rows, in.columns,
                                      aligned16(in.gate_up, in.stride * bytes) &&
                                          aligned16(args.output, args.output_stride * bytes));
  SwigluTarget t = {static_cast<const char*>(in.gate_up),
                    static_cast<char*>(args.output),
                    in.weight,
                    in.stride * bytes,
                    args.output_stride * bytes,
                    in.columns * bytes,
                    static_cast<std::uint64_t>(in.rows) * plan.units,
                    plan.units,
                    in.limit > 0.0f ? in.limit : INFINITY,
                    packed_bf16_limit(in.limit > 0.0f ? in.limit : INFINITY),
                    in.layout == NVFP4J_SWIGLU_INTERLEAVED};
  void* arguments[] = {&t};
  return launch_programmatic(
      bytes == 2 ? kernel_of<Bf16>(plan.blocks) : kernel_of<F32>(plan.blocks), launch,
      grid_of(plan.grid), kSwigluThreads, 0, arguments);
}

const char* swiglu_cuda_path(const CudaDeviceProperties& device) {
  return device.major < 8 ? nullptr : "generic: swiglu_generic, compute capability 8.0 or newer";
}
const char* swiglu_cuda_refusal(const CudaDeviceProperties& device) {
  return device.major < 8 ? "the CUDA kernels need compute capability 8.0 or newer" : nullptr;
}

int swiglu_cuda_warm_up(const CudaDeviceProperties&) {
  for (const void* kernel : {kernel_of<Bf16>(true), kernel_of<Bf16>(false), kernel_of<F32>(true),
                             kernel_of<F32>(false)}) {
    const cudaError_t status = load_kernel(kernel);
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

std::int64_t swiglu_cuda_workspace_bytes(const CudaDeviceProperties&, std::int64_t, std::int64_t) {
  return 0;
}

}  // namespace nvfp4j
