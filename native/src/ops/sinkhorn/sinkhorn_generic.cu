// SPDX-License-Identifier: Apache-2.0
// sinkhorn on any device from compute capability 8.0 on. Bound by the chain of 2 * iterations normalisations, each a sum, a reciprocal and a product behind the other; from some ten thousand tokens on by
// instruction issue. n up to 4: a token a thread, whose rows and columns are independent work, or, for n = 4 and fewer tokens, in two lanes. Larger: a row a lane, column sums by shuffles.
#include "device/launch.cuh"
#include "device/packet.cuh"
#include "device/status.cuh"
#include "ops/sinkhorn/sinkhorn_cuda.hpp"
#include "ops/sinkhorn/sinkhorn_math.cuh"
#include "ops/sinkhorn/sinkhorn_plan.hpp"

namespace nvfp4j {
namespace {

using namespace device;

struct SinkhornTarget {
  const float* logits;
  float* comb;
  std::int64_t logits_stride;
  std::int64_t comb_stride;
  std::int64_t tokens;
  DeviceStatus* status;
  int n;
  int iterations;
  float eps;
  bool vector;  // n = 4, and tokens begin at multiples of 16 bytes
};

// Logits that the kernels before did not write are on their way to L2 while these still run.
__device__ __forceinline__ void prefetch(const SinkhornTarget& t, std::int64_t token) {
  if (token < t.tokens) prefetch_l2(t.logits + token * t.logits_stride);
}

template <int P>
__global__ void __launch_bounds__(kSinkhornThreads) sinkhorn_threads(SinkhornTarget t) {
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kSinkhornThreads + threadIdx.x;
  prefetch(t, first);
  await_predecessor();
  for (std::int64_t token = first; token < t.tokens;
       token += static_cast<std::int64_t>(gridDim.x) * kSinkhornThreads) {
    const float* in = t.logits + token * t.logits_stride;
    float* out = t.comb + token * t.comb_stride;
    float c[P][P];
    if (P == 4 && t.vector) {
#pragma unroll
      for (int j = 0; j < P; ++j) {
        if constexpr (P == 4) unpack<F32>(load(reinterpret_cast<const uint4*>(in) + j), c[j]);
      }
    } else {
#pragma unroll
      for (int j = 0; j < P; ++j) {
#pragma unroll
        for (int k = 0; k < P; ++k) c[j][k] = j < t.n && k < t.n ? load(in + j * t.n + k) : 0.0f;
      }
    }
    int bad = -1;
#pragma unroll
    for (int i = 0; i < P * P; ++i) {
      if (bad < 0 && !math::is_finite(c[i / P][i % P])) bad = i / P * t.n + i % P;
    }
    if (bad >= 0) report(t.status, NVFP4J_OP_SINKHORN, NVFP4J_CAUSE_NON_FINITE_INPUT, token, bad);
    sinkhorn_thread(c, t.n, t.iterations, t.eps);
    if (bad >= 0) {
#pragma unroll
      for (int i = 0; i < P * P; ++i) c[i / P][i % P] = __uint_as_float(0x7FC00000u);
    }
    if (P == 4 && t.vector) {
#pragma unroll
      for (int j = 0; j < P; ++j) {
        if constexpr (P == 4)
          reinterpret_cast<float4*>(out)[j] = make_float4(c[j][0], c[j][1], c[j][2], c[j][3]);
      }
    } else {
#pragma unroll
      for (int j = 0; j < P; ++j) {
#pragma unroll
        for (int k = 0; k < P; ++k) {
          if (j < t.n && k < t.n) out[j * t.n + k] = c[j][k];
        }
      }
    }
  }
}

__global__ void __launch_bounds__(kSinkhornThreads) sinkhorn_pairs(SinkhornTarget t) {
  constexpr int kTokens = kSinkhornThreads / 2;  // of a thread block
  prefetch(t, static_cast<std::int64_t>(blockIdx.x) * kTokens + threadIdx.x / 2);
  await_predecessor();
  const int row = static_cast<int>(threadIdx.x) & 1;
  // Whole warps stay together: tokens behind the last are computed on zeros.
  for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kTokens; first < t.tokens;
       first += static_cast<std::int64_t>(gridDim.x) * kTokens) {
    const std::int64_t token = first + threadIdx.x / 2;
    const bool mine = token < t.tokens;
    SinkhornPair m;
    int bad = -1;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const float* in = t.logits + token * t.logits_stride + (row + 2 * j) * 4;
      if (mine && t.vector) {
        unpack<F32>(load(reinterpret_cast<const uint4*>(in)), m.c[j]);
      } else {
#pragma unroll
        for (int k = 0; k < 4; ++k) m.c[j][k] = mine ? load(in + k) : 0.0f;
      }
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        if (bad < 0 && !math::is_finite(m.c[j][k])) bad = (row + 2 * j) * 4 + k;
      }
    }
    // The first in row-major order of both lanes.
    const int other = __shfl_xor_sync(0xffffffffu, bad, 1);
    if (bad < 0 || (other >= 0 && other < bad)) bad = other;
    if (bad >= 0 && row == 0)
      report(t.status, NVFP4J_OP_SINKHORN, NVFP4J_CAUSE_NON_FINITE_INPUT, token, bad);
    m.run(t.eps, t.iterations);
    if (mine) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        float* out = t.comb + token * t.comb_stride + (row + 2 * j) * 4;
        if (bad >= 0) {
#pragma unroll
          for (int k = 0; k < 4; ++k) m.c[j][k] = __uint_as_float(0x7FC00000u);
        }
        if (t.vector) {
          *reinterpret_cast<float4*>(out) = make_float4(m.c[j][0], m.c[j][1], m.c[j][2], m.c[j][3]);
        } else {
#pragma unroll
          for (int k = 0; k < 4; ++k) out[k] = m.c[j][k];
        }
      }
    }
  }
}

template <int P>
__global__ void __launch_bounds__(kSinkhornThreads) sinkhorn_rows(SinkhornTarget t) {
  await_predecessor();
  constexpr int kTokens = kSinkhornThreads / P;  // of a thread block
  const int row = static_cast<int>(threadIdx.x) % P;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kTokens;
  // Whole warps stay together: tokens behind the last are computed on zeros.
  for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kTokens; first < t.tokens;
       first += step) {
    const std::int64_t token = first + threadIdx.x / P;
    const bool mine = token < t.tokens && row < t.n;
    float c[P];
    int bad = -1;
#pragma unroll
    for (int k = 0; k < P; ++k) {
      c[k] = mine && k < t.n ? load(t.logits + token * t.logits_stride + row * t.n + k) : 0.0f;
      if (bad < 0 && !math::is_finite(c[k])) bad = row * t.n + k;
    }
    const std::uint32_t faults = __ballot_sync(0xffffffffu, bad >= 0);
    const std::uint32_t group = faults >> (threadIdx.x % 32 / P * P) & ((1ull << P) - 1u);
    if (group != 0u && __ffs(static_cast<int>(group)) - 1 == row) {
      report(t.status, NVFP4J_OP_SINKHORN, NVFP4J_CAUSE_NON_FINITE_INPUT, token, bad);
    }
    sinkhorn_lanes(c, row, t.n, t.iterations, t.eps);
    if (mine) {
#pragma unroll
      for (int k = 0; k < P; ++k) {
        if (k < t.n)
          t.comb[token * t.comb_stride + row * t.n + k] =
              group != 0u ? __uint_as_float(0x7FC00000u) : c[k];
      }
    }
  }
}

const void* kernel_of(SinkhornKernel kernel, int padded) {
  if (kernel == SinkhornKernel::kPairs) return reinterpret_cast<const void*>(&sinkhorn_pairs);
  return padded == 2   ? reinterpret_cast<const void*>(&sinkhorn_threads<2>)
         : padded == 4 ? reinterpret_cast<const void*>(&sinkhorn_threads<4>)
         : padded == 8 ? reinterpret_cast<const void*>(&sinkhorn_rows<8>)
                       : reinterpret_cast<const void*>(&sinkhorn_rows<16>);
}

}  // namespace

int sinkhorn_cuda(const CudaLaunch& launch, const SinkhornArgs& args) {
  const SinkhornPlan plan = plan_sinkhorn(args.tokens, args.n);
  SinkhornTarget t = {args.logits,
                      args.comb,
                      args.logits_stride,
                      args.comb_stride,
                      args.tokens,
                      launch.status,
                      args.n,
                      args.iterations,
                      args.eps,
                      args.n == 4 &&
                          aligned16(args.logits, args.tokens > 1 ? args.logits_stride * 4 : 0) &&
                          aligned16(args.comb, args.tokens > 1 ? args.comb_stride * 4 : 0)};
  void* arguments[] = {&t};
  return launch_programmatic(kernel_of(plan.kernel, plan.padded), launch, grid_of(plan.grid),
                             plan.threads, 0, arguments);
}

const char* sinkhorn_cuda_path(const CudaDeviceProperties& device) {
  return device.major < 8 ? nullptr : "generic: sinkhorn_generic, compute capability 8.0 or newer";
}
const char* sinkhorn_cuda_refusal(const CudaDeviceProperties& device) {
  return device.major < 8 ? "the CUDA kernels need compute capability 8.0 or newer" : nullptr;
}

int sinkhorn_cuda_warm_up(const CudaDeviceProperties&) {
  for (int padded : {2, 4, 8, 16}) {
    const cudaError_t status = load_kernel(kernel_of(SinkhornKernel::kThreads, padded));
    if (status != cudaSuccess) return status;
  }
  return load_kernel(kernel_of(SinkhornKernel::kPairs, 4));
}

std::int64_t sinkhorn_cuda_workspace_bytes(const CudaDeviceProperties&, std::int64_t,
                                           std::int64_t) {
  return 0;
}

}  // namespace nvfp4j
