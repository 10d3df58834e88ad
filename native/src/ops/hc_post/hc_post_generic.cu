// SPDX-License-Identifier: Apache-2.0
// hc_post on any device from compute capability 8.0 on. Bound by memory: the streams read once and written once, and the module's result. A thread owns 16 bytes of every stream: it reads them all before it
// writes, so that it works in place; the weights of its token, the same for the whole thread block, come from the first-level cache.
#include "device/launch.cuh"
#include "device/scale_layout.cuh"
#include "ops/hc_post/hc_post_cuda.hpp"
#include "ops/hc_post/hc_post_math.cuh"
#include "ops/hc_post/hc_post_plan.hpp"
#include "ops/hc_pre/hc_pre_plan.hpp"

namespace nvfp4j {
namespace {

using namespace device;

struct HcPostTarget {
  const char* x;
  const char* sub;
  const float* post;
  const float* comb;
  char* out;
  std::int64_t x_token;  // strides in bytes
  std::int64_t x_stream;
  std::int64_t sub_token;
  std::int64_t post_token;  // in elements
  std::int64_t comb_token;
  std::int64_t out_token;
  std::int64_t out_stream;
  std::int64_t tokens;
  std::uint32_t packets;
  FastDivision chunks;
  int n;
  bool vector;  // n is 4, and the weights of tokens begin at multiples of 16 bytes
};

// A token's weights. n = 4: in registers, all asked for before the streams.
template <int N>
struct HcPostWeights {
  const float* p;
  const float* c;
  int n;
  __device__ __forceinline__ HcPostWeights(const float* post, const float* comb, int n, bool)
      : p(post), c(comb), n(n) {}
  __device__ __forceinline__ float post(int k) const { return load(p + k); }
  __device__ __forceinline__ float comb(int j, int k) const { return load(c + j * n + k); }
};
template <>
struct HcPostWeights<4> {
  float p[4];
  float c[4][4];
  __device__ __forceinline__ HcPostWeights(const float* post, const float* comb, int, bool vector) {
    four(post, vector, p);
#pragma unroll
    for (int j = 0; j < 4; ++j) four(comb + 4 * j, vector, c[j]);
  }
  static __device__ __forceinline__ void four(const float* from, bool vector, float (&to)[4]) {
    if (vector) {
      unpack<F32>(load(reinterpret_cast<const uint4*>(from)), to);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) to[i] = load(from + i);
    }
  }
  __device__ __forceinline__ float post(int k) const { return p[k]; }
  __device__ __forceinline__ float comb(int j, int k) const { return c[j][k]; }
};

template <typename T, int N, bool ALIGNED>
__global__ void __launch_bounds__(kHcPostThreads) hc_post_packets(HcPostTarget t) {
  await_predecessor();
  const int n = N == 4 ? 4 : t.n;
  const std::uint32_t first = t.chunks.divide(blockIdx.x);
  const std::uint32_t packet =
      (blockIdx.x - first * t.chunks.divisor) * kHcPostThreads + threadIdx.x;
  const std::uint32_t step = gridDim.x / t.chunks.divisor;
  if (packet >= t.packets) return;
  const std::int64_t column = static_cast<std::int64_t>(packet) * 16;
  for (std::int64_t token = first; token < t.tokens; token += step) {
    const HcPostWeights<N == 4 ? 4 : 0> weights(t.post + token * t.post_token,
                                                t.comb + token * t.comb_token, n, t.vector);
    const char* in = t.x + token * t.x_token + column;
    std::uint32_t x[N][4];
#pragma unroll
    for (int j = 0; j < N; ++j) {
      if (j < n) load_words<T, ALIGNED>(in + j * t.x_stream, x[j]);
    }
    std::uint32_t f[4];
    load_words<T, ALIGNED>(t.sub + token * t.sub_token + column, f);
    char* out = t.out + token * t.out_token + column;
#pragma unroll N <= 4 ? N : 1
    for (int k = 0; k < N; ++k) {
      if (k < n) {
        std::uint32_t y[4];
        post_columns<T, N, 4>(x, f, k, n, weights, y);
        store_packet<T, ALIGNED>(out + k * t.out_stream, make_uint4(y[0], y[1], y[2], y[3]));
      }
    }
  }
}

template <typename T, int N>
const void* kernel_of(bool aligned) {
  return aligned ? reinterpret_cast<const void*>(&hc_post_packets<T, N, true>)
                 : reinterpret_cast<const void*>(&hc_post_packets<T, N, false>);
}

template <typename T>
const void* kernel_of(int padded, bool aligned) {
  return padded == 2   ? kernel_of<T, 2>(aligned)
         : padded == 4 ? kernel_of<T, 4>(aligned)
         : padded == 8 ? kernel_of<T, 8>(aligned)
                       : kernel_of<T, 16>(aligned);
}

}  // namespace

int hc_post_cuda(const CudaLaunch& launch, const HcPostArgs& args) {
  const HcShape& shape = args.shape;
  const int bytes = shape.dtype == NVFP4J_DTYPE_F32 ? 4 : 2;
  const HcPostPlan plan = plan_hc_post(shape.tokens, shape.n, shape.columns, bytes);
  const bool aligned = hc_aligned(args.x, bytes) && hc_aligned(args.out, bytes) &&
                       aligned16(args.sub.data, args.sub.stride * bytes);
  HcPostTarget t = {static_cast<const char*>(args.x.data),
                    static_cast<const char*>(args.sub.data),
                    args.post.data,
                    args.comb.data,
                    static_cast<char*>(args.out.data),
                    args.x.token_stride * bytes,
                    args.x.stream_stride * bytes,
                    args.sub.stride * bytes,
                    args.post.stride,
                    args.comb.stride,
                    args.out.token_stride * bytes,
                    args.out.stream_stride * bytes,
                    shape.tokens,
                    plan.packets,
                    FastDivision::of(plan.chunks),
                    shape.n,
                    shape.n == 4 && aligned16(args.post.data, args.post.stride * 4) &&
                        aligned16(args.comb.data, args.comb.stride * 4)};
  void* arguments[] = {&t};
  return launch_programmatic(
      bytes == 2 ? kernel_of<Bf16>(plan.padded, aligned) : kernel_of<F32>(plan.padded, aligned),
      launch, grid_of(plan.grid), kHcPostThreads, 0, arguments);
}

const char* hc_post_cuda_path(const CudaDeviceProperties& device) {
  return device.major < 8 ? nullptr : "generic: hc_post_generic, compute capability 8.0 or newer";
}
const char* hc_post_cuda_refusal(const CudaDeviceProperties& device) {
  return device.major < 8 ? "the CUDA kernels need compute capability 8.0 or newer" : nullptr;
}

int hc_post_cuda_warm_up(const CudaDeviceProperties&) {
  for (int padded : {2, 4, 8, 16}) {
    for (bool aligned : {false, true}) {
      for (const void* kernel :
           {kernel_of<Bf16>(padded, aligned), kernel_of<F32>(padded, aligned)}) {
        const cudaError_t status = load_kernel(kernel);
        if (status != cudaSuccess) return status;
      }
    }
  }
  return cudaSuccess;
}

std::int64_t hc_post_cuda_workspace_bytes(const CudaDeviceProperties&, std::int64_t, std::int64_t) {
  return 0;
}

}  // namespace nvfp4j
