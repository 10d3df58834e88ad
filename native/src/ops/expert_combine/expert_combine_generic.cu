// SPDX-License-Identifier: Apache-2.0
// expert_combine on any device from compute capability 8.0 on. Bound by memory: k rows and the shared one read once, the sum written once; for few tokens by the way to the positions and from there to the rows.
// A thread owns 16 bytes of a token's rows (a column where rows do not begin at multiples of 16 bytes) and asks for those of eight experts before it adds the first. Where rows are, and their weights, a thread block finds once, in shared memory.
// NVIDIA H200, commit 508c04d40ccf, 6 rows of 7168: 1 token 2.1 us, 8192 tokens 191 us, 111 % of copying as much.
#include "device/launch.cuh"
#include "device/packet.cuh"
#include "device/scale_layout.cuh"
#include "device/status.cuh"
#include "nvfp4j/experts.h"
#include "ops/expert_combine/expert_combine_cuda.hpp"
#include "ops/expert_combine/expert_combine_plan.hpp"

namespace nvfp4j {
namespace {

using namespace device;

struct CombineTarget {
  const char* y;
  const std::int32_t* positions;
  const float* weights;
  const char* shared;
  char* out;
  std::int64_t y_row;  // strides in bytes
  std::int64_t shared_row;
  std::int64_t out_row;
  std::int64_t positions_token;  // in elements
  std::int64_t weights_token;
  std::int64_t rows;
  std::int64_t tokens;
  std::int64_t step;  // tokens of the whole grid
  DeviceStatus* status;
  FastDivision chunks;
  std::uint32_t pieces;
  int lanes_log2;
  int k;
};

// What a thread has of a row: COLUMNS of type T in registers.
template <typename T, bool PACKETS>
struct Piece {
  static constexpr int kColumns = PACKETS ? kPacketColumns<T> : 1;
  static constexpr int kWords = PACKETS ? 4 : 1;
  std::uint32_t w[kWords];

  // Not `on`: nothing is read, and what is here is rubbish. Without a branch, so that many loads follow each other.
  __device__ __forceinline__ void read(const char* row, std::uint32_t piece, bool on) {
    const char* p = row + static_cast<std::int64_t>(piece) * (kColumns * T::kBytes);
    const std::uint32_t flag = on ? 1u : 0u;
    if constexpr (PACKETS) {
      asm volatile(
          "{\n\t.reg .pred p;\n\tsetp.ne.u32 p, %5, 0;\n\t@p ld.global.v4.u32 {%0, %1, %2, %3}, "
          "[%4];\n\t}"
          : "=r"(w[0]), "=r"(w[1]), "=r"(w[2]), "=r"(w[3])
          : "l"(p), "r"(flag));
    } else if constexpr (T::kBytes == 2) {
      std::uint16_t h;
      asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.u32 p, %2, 0;\n\t@p ld.global.u16 %0, [%1];\n\t}"
                   : "=h"(h)
                   : "l"(p), "r"(flag));
      w[0] = static_cast<std::uint32_t>(h) << 16;
    } else {
      asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.u32 p, %2, 0;\n\t@p ld.global.u32 %0, [%1];\n\t}"
                   : "=r"(w[0])
                   : "l"(p), "r"(flag));
    }
  }
  __device__ __forceinline__ void widen(float (&x)[kColumns]) const {
    if constexpr (PACKETS) {
      unpack<T, kWords>(w, x);
    } else {
      x[0] = __uint_as_float(w[0]);
    }
  }
};

// Rounded to type T and stored, side by side; 16 bytes at a time, or 8 where there are no more.
template <typename T, int COLUMNS>
__device__ __forceinline__ void store(char* row, std::uint32_t piece, const float (&x)[COLUMNS]) {
  char* p = row + static_cast<std::int64_t>(piece) * (COLUMNS * T::kBytes);
  if constexpr (COLUMNS == 1) {
    if constexpr (T::kBytes == 2) {
      *reinterpret_cast<std::uint16_t*>(p) =
          static_cast<std::uint16_t>(x[0] != x[0] ? 0x7FC0u : T::pack(x[0], x[0]) & 0xFFFFu);
    } else {
      *reinterpret_cast<float*>(p) = x[0] != x[0] ? __uint_as_float(0x7FC00000u) : x[0];
    }
  } else {
    constexpr int kWords = COLUMNS * T::kBytes / 4;
    std::uint32_t w[kWords];
    pack<T, kWords>(x, w);
    if constexpr (kWords == 2) {
      *reinterpret_cast<uint2*>(p) = make_uint2(w[0], w[1]);
    } else {
#pragma unroll
      for (int i = 0; i < kWords / 4; ++i)
        reinterpret_cast<uint4*>(p)[i] =
            make_uint4(w[4 * i], w[4 * i + 1], w[4 * i + 2], w[4 * i + 3]);
    }
  }
}

// Where the rows of a token are, as bytes behind y, or -1; and their weights.
struct Slots {
  long long offset[kCombineSlots];
  float weight[kCombineSlots];
};

__device__ __forceinline__ void find_rows(const CombineTarget& t, std::int64_t first, int tokens,
                                          bool reports, Slots* slots) {
  for (int i = static_cast<int>(threadIdx.x); i < tokens * kCombineSlots;
       i += static_cast<int>(blockDim.x)) {
    const std::int64_t token = first + i / kCombineSlots;
    const int j = i % kCombineSlots;
    long long offset = -1;
    float weight = 1.0f;  // fma(1, y, sum) is y + sum
    if (j < t.k && token < t.tokens) {
      const std::int32_t position = load(t.positions + token * t.positions_token + j);
      if (t.weights != nullptr) weight = load(t.weights + token * t.weights_token + j);
      if (position >= 0 && position < t.rows) {
        offset = position * t.y_row;
      } else if (reports && position != -1) {
        report_here(t.status, NVFP4J_OP_EXPERT_COMBINE, NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, token, j);
      }
    }
    slots[i / kCombineSlots].offset[j] = offset;
    slots[i / kCombineSlots].weight[j] = weight;
  }
}

template <typename In, typename Out, bool PACKETS>
__global__ void __launch_bounds__(kCombineThreads) combine_rows(CombineTarget t) {
  using P = Piece<In, PACKETS>;
  constexpr int kColumns = P::kColumns;
  constexpr int kAtOnce = 8;  // rows on their way
  __shared__ Slots shared_slots[kCombineTokens];
  await_predecessor();
  const std::uint32_t group = t.chunks.divide(blockIdx.x);
  const std::uint32_t chunk = blockIdx.x - group * t.chunks.divisor;
  const std::uint32_t piece = (chunk << t.lanes_log2) + (threadIdx.x & ((1u << t.lanes_log2) - 1u));
  const int tokens = static_cast<int>(blockDim.x >> t.lanes_log2);
  const int mine = static_cast<int>(threadIdx.x >> t.lanes_log2);
  const Slots& slots = shared_slots[mine];
  for (std::int64_t first = static_cast<std::int64_t>(group) * tokens; first < t.tokens;
       first += t.step) {
    const std::int64_t token = first + mine;
    const bool on = piece < t.pieces && token < t.tokens;
    P extra;
    extra.read(t.shared + token * t.shared_row, piece, on && t.shared != nullptr);
    find_rows(t, first, tokens, chunk == 0u, shared_slots);
    __syncthreads();
    float sum[kColumns];
#pragma unroll
    for (int i = 0; i < kColumns; ++i) sum[i] = 0.0f;
    for (int from = 0; from < t.k; from += kAtOnce) {
      P rows[kAtOnce];
      bool has[kAtOnce];
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        const long long offset = slots.offset[from + j];
        has[j] = offset >= 0;
        rows[j].read(t.y + offset, piece, on && has[j]);
      }
      __syncwarp();  // keeps the compiler from adding up, and so waiting, before the last is asked for
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        const float weight = slots.weight[from + j];
        float x[kColumns];
        rows[j].widen(x);
#pragma unroll
        for (int i = 0; i < kColumns; ++i)
          sum[i] = has[j] ? __fmaf_rn(weight, x[i], sum[i]) : sum[i];
      }
    }
    if (t.shared != nullptr) {
      float x[kColumns];
      extra.widen(x);
#pragma unroll
      for (int i = 0; i < kColumns; ++i) sum[i] = __fadd_rn(sum[i], x[i]);
    }
    if (on) store<Out, kColumns>(t.out + token * t.out_row, piece, sum);
    if (first + t.step < t.tokens) __syncthreads();  // the slots are to be written again
  }
}

template <typename In, typename Out>
const void* kernel_of(bool packets) {
  return packets ? reinterpret_cast<const void*>(&combine_rows<In, Out, true>)
                 : reinterpret_cast<const void*>(&combine_rows<In, Out, false>);
}

template <typename In>
const void* kernel_of(int out_bytes, bool packets) {
  return out_bytes == 2 ? kernel_of<In, Bf16>(packets) : kernel_of<In, F32>(packets);
}

const void* kernel_of(int bytes, int out_bytes, bool packets) {
  return bytes == 2 ? kernel_of<Bf16>(out_bytes, packets) : kernel_of<F32>(out_bytes, packets);
}

int bytes_of(std::int32_t dtype) { return dtype == NVFP4J_DTYPE_F32 ? 4 : 2; }

}  // namespace

int expert_combine_cuda(const CudaLaunch& launch, const ExpertCombineArgs& args) {
  const int bytes = bytes_of(args.dtype);
  const int out_bytes = bytes_of(args.out_dtype);
  // A stride that leads nowhere is as good as any.
  const auto aligned = [](const void* data, std::int64_t rows, std::int64_t stride_bytes) {
    return aligned16(data, rows > 1 ? stride_bytes : 0);
  };
  const bool packets = args.columns * bytes % 16 == 0 &&
                       aligned(args.y, args.rows, args.y_stride * bytes) &&
                       aligned(args.shared, args.tokens, args.shared_stride * bytes) &&
                       aligned(args.out, args.tokens, args.out_stride * out_bytes);
  const ExpertCombinePlan plan =
      plan_expert_combine(launch.device->sm_count, args.tokens, args.columns, bytes, packets);
  CombineTarget t = {static_cast<const char*>(args.y),
                     args.positions,
                     args.weights,
                     static_cast<const char*>(args.shared),
                     static_cast<char*>(args.out),
                     args.y_stride * bytes,
                     args.shared_stride * bytes,
                     args.out_stride * out_bytes,
                     args.positions_stride,
                     args.weights_stride,
                     args.rows,
                     args.tokens,
                     plan.grid / plan.chunks * (plan.threads >> plan.lanes_log2),
                     launch.status,
                     FastDivision::of(plan.chunks),
                     plan.pieces,
                     plan.lanes_log2,
                     args.k};
  void* arguments[] = {&t};
  return launch_programmatic(kernel_of(bytes, out_bytes, packets), launch, grid_of(plan.grid),
                             plan.threads, 0, arguments);
}

const char* expert_combine_cuda_path(const CudaDeviceProperties& device) {
  return device.major < 8 ? nullptr
                          : "generic: expert_combine_generic, compute capability 8.0 or newer";
}
const char* expert_combine_cuda_refusal(const CudaDeviceProperties& device) {
  return device.major < 8 ? "the CUDA kernels need compute capability 8.0 or newer" : nullptr;
}

int expert_combine_cuda_warm_up(const CudaDeviceProperties&) {
  for (const int bytes : {2, 4}) {
    for (const int out_bytes : {2, 4}) {
      for (const bool packets : {false, true}) {
        const cudaError_t status = load_kernel(kernel_of(bytes, out_bytes, packets));
        if (status != cudaSuccess) return status;
      }
    }
  }
  return cudaSuccess;
}

std::int64_t expert_combine_cuda_workspace_bytes(const CudaDeviceProperties&, std::int64_t,
                                                 std::int64_t) {
  return 0;
}

}  // namespace nvfp4j
