// SPDX-License-Identifier: Apache-2.0
// hc_pre, hc_head and hc_post_pre on any device from compute capability 8.0 on, for any n and either type. A thread block has one token, or some that share its reading of fn: it makes the new residual where there is
// one, multiplies, normalises and mixes, and reads the streams again for each eight rows of fn. For few tokens bound by one multiprocessor's way to memory, for many by the products.
// Those are exact in F64, and so are their sums but for 2^-53: no sum of roundings in F32, however it is cut, stays within the header's bound on data whose errors are all the same or do not cancel where the
// products do. Cards that have few F64 units (8.6, 8.9, 12.0) take long here.
#include "device/packet.cuh"
#include "ops/hc_post/hc_post_math.cuh"
#include "ops/hc_pre/hc_pre_cuda_impl.hpp"
#include "ops/hc_pre/hc_pre_math.cuh"
#include "ops/hc_pre/hc_pre_target.cuh"
#include "ops/sinkhorn/sinkhorn_math.cuh"

namespace nvfp4j {
namespace {

using namespace device;

constexpr int kThreads = kHcGenericThreads;
constexpr int kWarps = kThreads / 32;
constexpr int kRows = 8;  // of fn at a time
constexpr int kMaxTokens = kHcGenericTokens;
constexpr int kMaxMixes = NVFP4J_MAX_STREAMS * (NVFP4J_MAX_STREAMS + 2);

struct HcGenericArgs : HcPreTarget {
  int n;
  int mixes;  // rows of fn
};

struct Shared {
  double parts[kWarps][kRows * kMaxTokens];
  double sums[kMaxTokens][kMaxMixes];
  double squares[kMaxTokens];
  float logits[kMaxTokens][kMaxMixes];
  float pre[kMaxTokens][NVFP4J_MAX_STREAMS];
  std::uint32_t maxima[32];
};

__device__ __forceinline__ double warp_sum(double v) {
#pragma unroll
  for (int h = 16; h > 0; h /= 2) v += __shfl_xor_sync(0xffffffffu, v, h);
  return v;
}

__device__ __forceinline__ double plus_product(double sum, float a, float b) {
  return __fma_rn(static_cast<double>(a), static_cast<double>(b), sum);
}

template <typename T, int N, int TOKENS, bool ALIGNED>
struct HcGeneric {
  static constexpr int kColumns = kPacketColumns<T>;

  const HcGenericArgs& a;
  Shared& shared;
  const std::int64_t first;  // token
  const int count;           // of tokens
  const int n;
  const std::int64_t packets;  // in a row
  // The streams that are mixed: hc_post_pre makes them first.
  const char* const mixed = a.out != nullptr ? a.out : a.x;
  const std::int64_t mixed_token = a.out != nullptr ? a.out_token : a.x_token;
  const std::int64_t mixed_stream = a.out != nullptr ? a.out_stream : a.x_stream;

  struct Weights {
    const float* p;
    const float* c;
    int n;
    __device__ __forceinline__ float post(int k) const { return load(p + k); }
    __device__ __forceinline__ float comb(int j, int k) const { return load(c + j * n + k); }
  };

  __device__ __forceinline__ const char* packet(int t, int stream, std::int64_t p) const {
    return mixed + (first + t) * mixed_token + stream * mixed_stream + p * 16;
  }

  __device__ __forceinline__ void make_residual() const {
    for (int t = 0; t < count; ++t) {
      const std::int64_t token = first + t;
      const Weights weights = {a.post_before + token * a.post_before_token,
                               a.comb_before + token * a.comb_before_token, n};
      for (std::int64_t p = threadIdx.x; p < packets; p += kThreads) {
        std::uint32_t x[N][4];
#pragma unroll
        for (int j = 0; j < N; ++j) {
          if (j < n)
            load_words<T, ALIGNED>(a.x + token * a.x_token + j * a.x_stream + p * 16, x[j]);
        }
        std::uint32_t f[4];
        load_words<T, ALIGNED>(a.sub + token * a.sub_token + p * 16, f);
#pragma unroll N <= 4 ? N : 1
        for (int k = 0; k < N; ++k) {
          if (k < n) {
            std::uint32_t y[4];
            post_columns<T, N, 4>(x, f, k, n, weights, y);
            store_packet<T, ALIGNED>(a.out + token * a.out_token + k * a.out_stream + p * 16,
                                     make_uint4(y[0], y[1], y[2], y[3]));
          }
        }
      }
    }
    __syncthreads();
  }

  // fn's columns that belong to a packet.
  __device__ __forceinline__ void load_fn(const float* from, float (&f)[kColumns]) const {
    if constexpr (ALIGNED) {
#pragma unroll
      for (int i = 0; i < kColumns / 4; ++i) {
        float four[4];
        unpack<F32>(load(reinterpret_cast<const uint4*>(from) + i), four);
#pragma unroll
        for (int k = 0; k < 4; ++k) f[4 * i + k] = four[k];
      }
    } else {
#pragma unroll
      for (int i = 0; i < kColumns; ++i) f[i] = load(from + i);
    }
  }

  // Sums of products with rows r0 .. r0 + 7 of fn, and of squares, into shared memory.
  __device__ __forceinline__ void multiply(int r0) const {
    double sum[kRows][TOKENS] = {};
    double square[TOKENS] = {};
    for (int stream = 0; stream < n; ++stream) {
#pragma unroll 1
      for (std::int64_t p = threadIdx.x; p < packets; p += kThreads) {
        float x[TOKENS][kColumns];
#pragma unroll
        for (int t = 0; t < TOKENS; ++t) {
          std::uint32_t w[4] = {0u, 0u, 0u, 0u};
          if (t < count) load_words<T, ALIGNED>(packet(t, stream, p), w);
          unpack<T, 4>(w, x[t]);
          if (r0 == 0) {
#pragma unroll
            for (int i = 0; i < kColumns; ++i)
              square[t] = plus_product(square[t], x[t][i], x[t][i]);
          }
        }
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          if (r0 + r < a.mixes) {
            float f[kColumns];
            load_fn(a.fn + (r0 + r) * a.fn_row + static_cast<std::int64_t>(stream) * a.columns +
                        p * kColumns,
                    f);
#pragma unroll
            for (int t = 0; t < TOKENS; ++t) {
#pragma unroll
              for (int i = 0; i < kColumns; ++i) sum[r][t] = plus_product(sum[r][t], f[i], x[t][i]);
            }
          }
        }
      }
    }
    const int lane = static_cast<int>(threadIdx.x) & 31;
    const int warp = static_cast<int>(threadIdx.x) >> 5;
    if (r0 == 0) {
#pragma unroll
      for (int t = 0; t < TOKENS; ++t) {
        const double v = warp_sum(square[t]);
        if (lane == 0) shared.parts[warp][t] = v;
      }
      __syncthreads();
      if (threadIdx.x < TOKENS) {
        double v = 0.0;
        for (int i = 0; i < kWarps; ++i) v += shared.parts[i][threadIdx.x];
        shared.squares[threadIdx.x] = v;
      }
      __syncthreads();
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int t = 0; t < TOKENS; ++t) {
        const double v = warp_sum(sum[r][t]);
        if (lane == 0) shared.parts[warp][r * TOKENS + t] = v;
      }
    }
    __syncthreads();
    if (threadIdx.x < kRows * TOKENS) {
      const int r = r0 + static_cast<int>(threadIdx.x) / TOKENS;
      double v = 0.0;
      for (int i = 0; i < kWarps; ++i) v += shared.parts[i][threadIdx.x];
      if (r < a.mixes) shared.sums[threadIdx.x % TOKENS][r] = v;
    }
    __syncthreads();
  }

  // A token a warp: from sums to weights.
  __device__ __forceinline__ void make_weights() const {
    const int lane = static_cast<int>(threadIdx.x) & 31;
    const int t = static_cast<int>(threadIdx.x) >> 5;
    if (t < count) {
      const std::int64_t token = first + t;
      const double mean = shared.squares[t] * a.inverse_count + a.rms_eps;
      bool good = math::is_finite(static_cast<float>(shared.squares[t]));
      for (int r = lane; r < a.mixes; r += 32) {
        const int kind = r < n ? 0 : r < 2 * n ? 1 : 2;
        const float z = logit_of(shared.sums[t][r], mean, load(a.scale + kind), load(a.base + r));
        good = good && math::is_finite(z);
        shared.logits[t][r] = z;
        if (kind == 0) shared.pre[t][r] = __fadd_rn(sigmoid(z), a.hc_eps);
        if (kind == 1)
          a.post[token * a.post_token + r - n] = math::canonical_nan(__fmul_rn(2.0f, sigmoid(z)));
      }
      if (__any_sync(0xffffffffu, !good) && lane == 0) {
        report(a.status, a.op, NVFP4J_CAUSE_NON_FINITE_RESULT, token, -1);
      }
      __syncwarp();
      if (a.iterations > 0) {
        // Rows of the matrix in 16 lanes, twice.
        const int row = lane & 15;
        float c[16];
#pragma unroll
        for (int k = 0; k < 16; ++k)
          c[k] = row < n && k < n ? shared.logits[t][2 * n + row * n + k] : 0.0f;
        sinkhorn_lanes(c, row, n, a.iterations, a.hc_eps);
        if (lane < n) {
#pragma unroll
          for (int k = 0; k < 16; ++k) {
            if (k < n) a.comb[token * a.comb_token + lane * n + k] = math::canonical_nan(c[k]);
          }
        }
      }
    }
    __syncthreads();
  }

  __device__ __forceinline__ void collapse(int t, std::int64_t p, std::uint32_t (&c)[4]) const {
    float y[kColumns];
    for (int j = 0; j < n; ++j) {
      std::uint32_t w[4];
      float v[kColumns];
      load_words<T, ALIGNED>(packet(t, j, p), w);
      unpack<T, 4>(w, v);
      const float weight = shared.pre[t][j];
#pragma unroll
      for (int i = 0; i < kColumns; ++i)
        y[i] = j == 0 ? __fmul_rn(weight, v[i]) : __fmaf_rn(weight, v[i], y[i]);
    }
    pack<T, 4>(y, c);
  }

  __device__ __forceinline__ float norm_weight(std::int64_t column) const {
    return a.norm_f32
               ? load(reinterpret_cast<const float*>(a.norm_weight) + column)
               : __uint_as_float(
                     load(reinterpret_cast<const std::uint16_t*>(a.norm_weight) + column) << 16);
  }

  // The row that is written: collapsed, or normalised.
  __device__ __forceinline__ void row_packet(int t, std::int64_t p, float norm,
                                             std::uint32_t (&c)[4]) const {
    collapse(t, p, c);
    if (a.norm_weight != nullptr) {
      float v[kColumns];
      unpack<T, 4>(c, v);
#pragma unroll
      for (int i = 0; i < kColumns; ++i)
        v[i] = __fmul_rn(__fmul_rn(norm_weight(p * kColumns + i), v[i]), norm);
      pack<T, 4>(v, c);
    }
    if (a.collapsed != nullptr) {
      store_packet<T, ALIGNED>(a.collapsed + (first + t) * a.collapsed_token + p * 16,
                               make_uint4(c[0], c[1], c[2], c[3]));
    }
  }

  // 1 over the root of the mean square of a collapsed row, and the largest finite magnitude of the row that is quantised.
  __device__ __forceinline__ void measure(int t, float& norm, float& amax) const {
    double sum = 0.0;
    std::uint32_t largest = 0u;
    for (std::int64_t p = threadIdx.x; p < packets; p += kThreads) {
      std::uint32_t c[4];
      float v[kColumns];
      collapse(t, p, c);
      unpack<T, 4>(c, v);
      float square = 0.0f;
#pragma unroll
      for (int i = 0; i < kColumns; ++i) square = __fmaf_rn(v[i], v[i], square);
      sum += static_cast<double>(square);
#pragma unroll
      for (int i = 0; i < kColumns; ++i) {
        if (a.norm_weight != nullptr) v[i] = __fmul_rn(norm_weight(p * kColumns + i), v[i]);
        const std::uint32_t magnitude = __float_as_uint(v[i]) & 0x7FFFFFFFu;
        if (magnitude < 0x7F800000u) largest = max(largest, magnitude);
      }
    }
    __syncthreads();
    sum = warp_sum(sum);
    if ((threadIdx.x & 31u) == 0u) shared.parts[threadIdx.x >> 5][0] = sum;
    largest = block_max(largest, shared.maxima);
    sum = 0.0;
    for (int i = 0; i < kWarps; ++i) sum += shared.parts[i][0];
    norm = static_cast<float>(reciprocal_sqrt(sum * a.inverse_columns + a.rms_eps));
    amax = __uint_as_float(largest);
    if (a.norm_weight != nullptr) amax = normalised_maximum(amax, norm);
    if constexpr (T::kBytes == 2) amax = __uint_as_float(T::pack(amax, 0.0f) << 16);
    __syncthreads();
  }

  template <int RECIPE>
  __device__ __forceinline__ void quantize(int t, float norm, float amax) const {
    constexpr int kPackets = 16 / kColumns;  // of a block
    const GlobalScale g = dynamic_global_scale<RECIPE>(amax);
    const std::int64_t token = first + t;
    if (threadIdx.x == 0) a.quantized.global_scales[token] = g.gs;
    for (std::int64_t b = threadIdx.x; b < packets / kPackets; b += kThreads) {
      Block<T> y;
#pragma unroll
      for (int i = 0; i < kPackets; ++i) {
        std::uint32_t c[4];
        row_packet(t, b * kPackets + i, norm, c);
#pragma unroll
        for (int w = 0; w < 4; ++w) y.w[4 * i + w] = c[w];
      }
      encode_and_store<T, RECIPE>(
          y, g, a.quantized,
          static_cast<std::uint64_t>(token) * a.quantized.row_blocks.divisor +
              static_cast<std::uint64_t>(b),
          [&] { return BlockPlace{token, static_cast<std::uint32_t>(b)}; });
    }
  }

  __device__ __forceinline__ void mix() const {
    for (int t = 0; t < count; ++t) {
      float norm = 0.0f;
      float amax = 0.0f;
      if (a.norm_weight != nullptr || a.quantize) measure(t, norm, amax);
      if (a.quantize) {
        if (a.recipe == NVFP4J_RECIPE_EXACT) {
          quantize<NVFP4J_RECIPE_EXACT>(t, norm, amax);
        } else {
          quantize<NVFP4J_RECIPE_TE_EXACT>(t, norm, amax);
        }
      } else {
        for (std::int64_t p = threadIdx.x; p < packets; p += kThreads) {
          std::uint32_t c[4];
          row_packet(t, p, norm, c);
        }
      }
    }
    __syncthreads();
  }

  __device__ __forceinline__ void run() const {
    if (a.out != nullptr) make_residual();
    for (int r0 = 0; r0 < a.mixes; r0 += kRows) multiply(r0);
    make_weights();
    mix();
  }
};

template <typename T, int N, int TOKENS, bool ALIGNED>
__global__ void __launch_bounds__(kThreads, 1)
    hc_pre_tokens(const __grid_constant__ HcGenericArgs a) {
  __shared__ Shared shared;
  await_predecessor();
  if (a.quantize) zero_padding_rows(a.quantized);
  for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * TOKENS; first < a.tokens;
       first += static_cast<std::int64_t>(gridDim.x) * TOKENS) {
    const int count = static_cast<int>(min(static_cast<std::int64_t>(TOKENS), a.tokens - first));
    HcGeneric<T, N, TOKENS, ALIGNED>{a,     shared,           first,
                                     count, N == 4 ? 4 : a.n, a.columns / kPacketColumns<T>}
        .run();
  }
}

template <typename T, int N, int TOKENS>
const void* kernel_of(bool aligned) {
  return aligned ? reinterpret_cast<const void*>(&hc_pre_tokens<T, N, TOKENS, true>)
                 : reinterpret_cast<const void*>(&hc_pre_tokens<T, N, TOKENS, false>);
}

template <typename T>
const void* kernel_of(bool four, int tokens, bool aligned) {
  if (four) return tokens == 1 ? kernel_of<T, 4, 1>(aligned) : kernel_of<T, 4, kMaxTokens>(aligned);
  return tokens == 1 ? kernel_of<T, 16, 1>(aligned) : kernel_of<T, 16, kMaxTokens>(aligned);
}

const void* kernel_of(int dtype, bool four, int tokens, bool aligned) {
  return dtype == NVFP4J_DTYPE_F32 ? kernel_of<F32>(four, tokens, aligned)
                                   : kernel_of<Bf16>(four, tokens, aligned);
}

}  // namespace

int hc_pre_generic(const CudaLaunch& launch, const HcPreArgs& args, const HcPrePlan& plan) {
  const HcShape& shape = args.shape;
  HcGenericArgs a{};
  static_cast<HcPreTarget&>(a) = HcPreTarget::of(launch, args);
  a.n = shape.n;
  a.mixes = args.op == NVFP4J_OP_HC_HEAD ? shape.n : shape.n * (shape.n + 2);
  void* arguments[] = {&a};
  return launch_programmatic(kernel_of(shape.dtype, shape.n == 4, plan.tokens, plan.aligned),
                             launch, grid_of(plan.grid), kThreads, 0, arguments);
}

int hc_pre_generic_warm_up() {
  for (const int dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
    for (const bool four : {false, true}) {
      for (const int tokens : {1, kMaxTokens}) {
        for (const bool aligned : {false, true}) {
          const cudaError_t status = load_kernel(kernel_of(dtype, four, tokens, aligned));
          if (status != cudaSuccess) return status;
        }
      }
    }
  }
  return cudaSuccess;
}

}  // namespace nvfp4j
