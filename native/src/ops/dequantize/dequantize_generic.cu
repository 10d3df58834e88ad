// SPDX-License-Identifier: Apache-2.0
// dequantize on any device from compute capability 8.0 on.
//
// Bound by memory: 0.5625 bytes in, 2 (BF16, F16) or 4 out an element. A thread decodes half a block, so that its 16 bytes of 16-bit output are one store and a warp's are contiguous.
// A block has only eight magnitudes: their products with d, rounded to the output's type, are made once (7 multiplications) and looked up by byte permutes, 4 codes at a time.
// Measured on an H100 80GB HBM3, 8192x7168 to BF16 (DeviceTime, commit bff670fb8c1a): 53.0 us, 102 % of a kernel that reads and writes as many bytes.
#include "device/e2m1.cuh"
#include "device/fp8.cuh"
#include "device/launch.cuh"
#include "device/ptx.cuh"
#include "device/scale_layout.cuh"
#include "ops/dequantize/dequantize_cuda.hpp"
#include "ops/dequantize/dequantize_plan.hpp"

namespace nvfp4j {
namespace {

using namespace device;

struct DequantizeTarget {
  const std::uint8_t* codes;
  const std::uint8_t* scales;
  const float* global_scales;
  char* output;
  std::int64_t stride;  // bytes
  std::uint64_t units;  // half blocks in all
  FastDivision row_blocks;
  std::uint32_t tiles;  // 0: linear scales
  DeviceStatus* status;
  bool per_row;
};

__device__ __forceinline__ float canonical(float x) {
  return x != x ? __uint_as_float(0x7FC00000u) : x;
}

// 8 outputs of a d that is not finite, one by one. Cold. Words of the output type.
template <typename T>
__device__ __noinline__ Block<T> decode_any(std::uint32_t codes, float d) {
  Block<T> r;
  r.clear();
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float y = canonical(__fmul_rn(f32_from_e2m1(codes >> (4 * i) & 15u), d));
    if constexpr (T::kBytes == 4) {
      r.w[i] = __float_as_uint(y);
    } else {
      std::uint32_t h = T::pack(y, 0.0f) & 0xFFFFu;
      if (y != y) h = T::kInfinity | (T::kInfinity == 0x7C00u ? 0x0200u : 0x0040u);
      r.w[i / 2] |= h << (16 * (i & 1));
    }
  }
  return r;
}

// 8 outputs of a finite d: words 0..3 (16-bit types) or 0..7.
template <typename T>
__device__ __forceinline__ Block<T> decode(std::uint32_t codes, float d) {
  Block<T> r;
  if constexpr (T::kBytes == 2) {
    // Outputs of the eight magnitudes, in pairs, then their low and high bytes.
    const std::uint32_t v01 = T::pack(__fmul_rn(0.0f, d), __fmul_rn(0.5f, d));
    const std::uint32_t v23 = T::pack(d, __fmul_rn(1.5f, d));
    const std::uint32_t v45 = T::pack(__fmul_rn(2.0f, d), __fmul_rn(3.0f, d));
    const std::uint32_t v67 = T::pack(__fmul_rn(4.0f, d), __fmul_rn(6.0f, d));
    const std::uint32_t low0 = __byte_perm(v01, v23, 0x6420u);
    const std::uint32_t low1 = __byte_perm(v45, v67, 0x6420u);
    const std::uint32_t high0 = __byte_perm(v01, v23, 0x7531u);
    const std::uint32_t high1 = __byte_perm(v45, v67, 0x7531u);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::uint32_t c = half == 0 ? codes : codes >> 16;
      const std::uint32_t index = c & 0x7777u;
      const std::uint32_t low = __byte_perm(low0, low1, index);
      // The sign of code i goes to bit 7 of its high byte.
      const std::uint32_t signs =
          (c << 4 & 0x80u) | (c << 8 & 0x8000u) | (c << 12 & 0x800000u) | (c << 16 & 0x80000000u);
      const std::uint32_t high = __byte_perm(high0, high1, index) ^ signs;
      r.w[2 * half] = __byte_perm(low, high, 0x5140u);
      r.w[2 * half + 1] = __byte_perm(low, high, 0x7362u);
    }
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      // Exponent and mantissa of a code, placed in a float, are its magnitude divided by 2^126 (exactly, subnormals included).
      const std::uint32_t c = codes >> (4 * i);
      const float magnitude = __fmul_rn(__uint_as_float((c & 7u) << 22), 0x1p126f);
      r.w[i] = __float_as_uint(__fmul_rn(magnitude, d)) ^ (c << 28 & 0x80000000u);
    }
  }
  return r;
}

template <typename T, bool ALIGNED>
__global__ void __launch_bounds__(kDequantizeThreads) dequantize(DequantizeTarget t) {
  await_predecessor();
  const std::uint64_t first =
      static_cast<std::uint64_t>(blockIdx.x) * (kDequantizeThreads * kDequantizeUnroll) +
      threadIdx.x;
  std::uint32_t codes[kDequantizeUnroll];
  std::uint32_t scale[kDequantizeUnroll];
  float gs[kDequantizeUnroll];
  BlockPlace at[kDequantizeUnroll];
#pragma unroll
  for (int j = 0; j < kDequantizeUnroll; ++j) {
    const std::uint64_t unit = first + j * kDequantizeThreads;
    if (unit >= t.units) break;
    const std::uint64_t b = unit >> 1;
    if (b >> 31 != 0u) {
      at[j] = place_of_wide(b, t.row_blocks.divisor);
    } else {
      const auto n = static_cast<std::uint32_t>(b);
      const std::uint32_t row = t.row_blocks.divide(n);
      at[j] = {static_cast<std::int64_t>(row), n - row * t.row_blocks.divisor};
    }
    codes[j] = load(reinterpret_cast<const std::uint32_t*>(t.codes) + unit);
    scale[j] = load(t.scales + (t.tiles == 0u ? static_cast<std::int64_t>(b)
                                              : swizzled_offset(at[j].row, at[j].block, t.tiles)));
    gs[j] = load(t.global_scales + (t.per_row ? at[j].row : 0));
  }
#pragma unroll
  for (int j = 0; j < kDequantizeUnroll; ++j) {
    const std::uint64_t unit = first + j * kDequantizeThreads;
    if (unit >= t.units) return;
    float d = __fmul_rn(f32_from_e4m3(scale[j]), gs[j]);
    if (scale[j] >= 0x7Fu) {
      report(t.status, NVFP4J_OP_DEQUANTIZE, NVFP4J_CAUSE_BAD_BLOCK_SCALE, at[j].row,
             static_cast<long long>(at[j].block) * 16);
      d = __fmul_rn(f32_from_any_e4m3(scale[j]), gs[j]);
    }
    Block<T> y;
    if ((__float_as_uint(d) & 0x7F800000u) != 0x7F800000u) {
      y = decode<T>(codes[j], d);
    } else {
      y = decode_any<T>(codes[j], d);
    }
    char* out = t.output + at[j].row * t.stride +
                (static_cast<std::int64_t>(at[j].block) * 16 + (unit & 1u) * 8) * T::kBytes;
    if constexpr (ALIGNED) {
#pragma unroll
      for (int i = 0; i < T::kBytes / 2; ++i) {
        store_streaming(out + 16 * i,
                        make_uint4(y.w[4 * i], y.w[4 * i + 1], y.w[4 * i + 2], y.w[4 * i + 3]));
      }
    } else if constexpr (T::kBytes == 2) {
      auto* q = reinterpret_cast<unsigned short*>(out);
#pragma unroll
      for (int i = 0; i < 8; ++i) q[i] = static_cast<unsigned short>(y.w[i / 2] >> (16 * (i & 1)));
    } else {
      auto* q = reinterpret_cast<unsigned int*>(out);
#pragma unroll
      for (int i = 0; i < 8; ++i) q[i] = y.w[i];
    }
  }
}

template <typename T>
const void* kernel_of(bool aligned) {
  return aligned ? reinterpret_cast<const void*>(&dequantize<T, true>)
                 : reinterpret_cast<const void*>(&dequantize<T, false>);
}

const void* kernel_of(int dtype, bool aligned) {
  switch (dtype) {
    case NVFP4J_DTYPE_BF16:
      return kernel_of<Bf16>(aligned);
    case NVFP4J_DTYPE_F16:
      return kernel_of<F16>(aligned);
    default:
      return kernel_of<F32>(aligned);
  }
}

}  // namespace

int dequantize_cuda(const CudaLaunch& launch, const DequantizeArgs& args) {
  if (args.rows == 0 || args.columns == 0) return cudaSuccess;
  const int bytes = args.dtype == NVFP4J_DTYPE_F32 ? 4 : 2;
  const auto blocks = static_cast<std::uint32_t>(args.columns / 16);
  DequantizeTarget t = {args.codes,
                        args.scales,
                        args.global_scales,
                        static_cast<char*>(args.output),
                        args.output_stride * bytes,
                        static_cast<std::uint64_t>(args.rows) * blocks * 2,
                        FastDivision::of(blocks),
                        args.scale_layout == NVFP4J_SCALE_LAYOUT_LINEAR ? 0u : (blocks + 3u) / 4u,
                        launch.status,
                        args.global_scale_kind == NVFP4J_GLOBAL_SCALE_ROW};
  void* arguments[] = {&t};
  return launch_programmatic(kernel_of(args.dtype, aligned16(args.output, t.stride)), launch,
                             grid_of(plan_dequantize(args.rows, args.columns).grid),
                             kDequantizeThreads, 0, arguments);
}

const char* dequantize_cuda_path(const CudaDeviceProperties& device) {
  return device.major < 8 ? nullptr
                          : "generic: dequantize_generic, compute capability 8.0 or newer";
}
const char* dequantize_cuda_refusal(const CudaDeviceProperties& device) {
  return device.major < 8 ? "the CUDA kernels need compute capability 8.0 or newer" : nullptr;
}

int dequantize_cuda_warm_up(const CudaDeviceProperties&) {
  for (const int dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F16}) {
    for (const bool aligned : {false, true}) {
      const cudaError_t status = load_kernel(kernel_of(dtype, aligned));
      if (status != cudaSuccess) return status;
    }
  }
  return cudaSuccess;
}

std::int64_t dequantize_cuda_workspace_bytes(const CudaDeviceProperties&, std::int64_t,
                                             std::int64_t) {
  return 0;
}

}  // namespace nvfp4j
