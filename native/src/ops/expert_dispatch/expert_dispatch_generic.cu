// SPDX-License-Identifier: Apache-2.0
// expert_dispatch on any device from compute capability 8.0 on: one launch, no exchange between thread blocks. Bound by its chain: choices, counts, sums of counts, places; from some ten thousand choices on by the counting.
// A thread block places a run of consecutive choices, and counts for that what lies before the run and behind it: few bytes, which L2 has. Within the run each warp has a part and counts of its own, so that nothing depends on who is first.
// 32 choices or fewer: every warp holds them all, and counts those below what it wants to know the place of.
// NVIDIA H200, commit 508c04d40ccf, 6 of 384: 1 token 1.4 us, 1024 tokens 7.6 us, 8192 tokens 10.7 us.
#include "device/launch.cuh"
#include "device/ptx.cuh"
#include "device/scale_layout.cuh"
#include "device/status.cuh"
#include "nvfp4j/experts.h"
#include "ops/expert_dispatch/expert_dispatch_cuda.hpp"
#include "ops/expert_dispatch/expert_dispatch_plan.hpp"

namespace nvfp4j {
namespace {

using namespace device;

constexpr std::uint32_t kAll = 0xffffffffu;

struct DispatchTarget {
  const std::int32_t* indices;
  const float* weights;
  std::int32_t* offsets;
  std::int32_t* rows;
  std::int32_t* positions;
  float* row_weights;
  std::int64_t indices_stride;
  std::int64_t weights_stride;
  std::int64_t positions_stride;
  DeviceStatus* status;
  FastDivision k;
  std::uint32_t choices;
  std::uint32_t experts;
  std::uint32_t chunk;
  std::uint32_t part;
  int parts;
  bool dense;   // indices without gaps
  bool vector;  // and 16-byte aligned
};

// A choice by its number in row-major order.
struct Choice {
  std::uint32_t token;
  std::uint32_t slot;
  __device__ __forceinline__ Choice(const DispatchTarget& t, std::uint32_t n)
      : token(t.k.divide(n)), slot(n - token * t.k.divisor) {}
  __device__ __forceinline__ std::uint32_t id(const DispatchTarget& t) const {
    return static_cast<std::uint32_t>(load(t.indices + token * t.indices_stride + slot));
  }
  __device__ __forceinline__ float weight(const DispatchTarget& t) const {
    return t.weights == nullptr ? 0.0f : load(t.weights + token * t.weights_stride + slot);
  }
  __device__ __forceinline__ void place(const DispatchTarget& t, std::uint32_t at,
                                        float weight) const {
    t.positions[token * t.positions_stride + slot] = static_cast<std::int32_t>(at);
    t.rows[at] = static_cast<std::int32_t>(token);
    if (t.weights != nullptr) t.row_weights[at] = weight;
  }
  __device__ __forceinline__ void place_nowhere(const DispatchTarget& t) const {
    t.positions[token * t.positions_stride + slot] = -1;
  }
};

__device__ __forceinline__ void clear_row(const DispatchTarget& t, std::uint32_t row) {
  t.rows[row] = -1;
  if (t.weights != nullptr) t.row_weights[row] = 0.0f;
}

// ---- few choices -----------------------------------------------------------------------------------------------------

// How many keys of the first `count` lanes are below `key`.
__device__ __forceinline__ std::uint32_t count_below(std::uint32_t keys, std::uint32_t count,
                                                     std::uint32_t key) {
  std::uint32_t below = 0u;
#pragma unroll 4
  for (std::uint32_t lane = 0u; lane < count; ++lane)
    below += __shfl_sync(kAll, keys, static_cast<int>(lane)) < key ? 1u : 0u;
  return below;
}

__global__ void __launch_bounds__(512) dispatch_few(DispatchTarget t) {
  await_predecessor();
  const std::uint32_t lane = threadIdx.x & 31u;
  const Choice choice(t, lane);
  const bool mine = lane < t.choices;
  const std::uint32_t id = mine ? choice.id(t) : ~0u;
  const bool good = id < t.experts;
  // Keys are in the order of places: by expert, then by number.
  const std::uint32_t key = good ? id * 32u + lane : ~0u;
  if (threadIdx.x < 32u) {
    const float weight = good ? choice.weight(t) : 0.0f;
    const std::uint32_t at = count_below(key, t.choices, key);
    const std::uint32_t placed = static_cast<std::uint32_t>(__popc(__ballot_sync(kAll, good)));
    if (good) choice.place(t, at, weight);
    if (mine && lane >= placed) clear_row(t, lane);
    if (mine && !good) {
      choice.place_nowhere(t);
      report(t.status, NVFP4J_OP_EXPERT_DISPATCH, NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, choice.token,
             choice.slot);
    }
  }
  for (std::uint32_t first = threadIdx.x - lane; first <= t.experts; first += blockDim.x) {
    const std::uint32_t expert = first + lane;
    const std::uint32_t below = count_below(key, t.choices, expert * 32u);
    if (expert <= t.experts) t.offsets[expert] = static_cast<std::int32_t>(below);
  }
}

// ---- any number ------------------------------------------------------------------------------------------------------

__device__ __forceinline__ void count_one(const DispatchTarget& t, std::uint32_t id,
                                          std::uint32_t* counts) {
  if (id < t.experts) atomicAdd(counts + id, 1u);
}

// The choices [from, to), of which from is a multiple of 4, by all threads of the thread block.
__device__ __forceinline__ void count_all(const DispatchTarget& t, std::uint32_t from,
                                          std::uint32_t to, std::uint32_t* counts) {
  constexpr int kLoads = 4;  // on their way at a time
  const std::uint32_t threads = blockDim.x;
  if (t.vector) {
    const auto* packets = reinterpret_cast<const uint4*>(t.indices);
    const std::uint32_t end = to / 4u;
    for (std::uint32_t i = from / 4u + threadIdx.x; i < end; i += kLoads * threads) {
      uint4 ids[kLoads];
#pragma unroll
      for (int l = 0; l < kLoads; ++l) {
        ids[l] = make_uint4(~0u, ~0u, ~0u, ~0u);
        if (i + l * threads < end) ids[l] = load(packets + (i + l * threads));
      }
#pragma unroll
      for (int l = 0; l < kLoads; ++l) {
        count_one(t, ids[l].x, counts);
        count_one(t, ids[l].y, counts);
        count_one(t, ids[l].z, counts);
        count_one(t, ids[l].w, counts);
      }
    }
    from = max(from, end * 4u);
  }
  for (std::uint32_t n = from + threadIdx.x; n < to; n += kLoads * threads) {
    std::uint32_t ids[kLoads];
#pragma unroll
    for (int l = 0; l < kLoads; ++l) {
      const std::uint32_t m = n + l * threads;
      ids[l] = ~0u;
      if (m < to)
        ids[l] = t.dense ? static_cast<std::uint32_t>(load(t.indices + m)) : Choice(t, m).id(t);
    }
#pragma unroll
    for (int l = 0; l < kLoads; ++l) count_one(t, ids[l], counts);
  }
}

// The sum over the threads before this one, and over all. `sums` has 32 words.
struct Scan {
  std::uint32_t before;
  std::uint32_t all;
};
__device__ __forceinline__ Scan scan_block(std::uint32_t value, std::uint32_t* sums) {
  const std::uint32_t lane = threadIdx.x & 31u;
  const std::uint32_t warp = threadIdx.x >> 5;
  const auto scan_warp = [&](std::uint32_t v) {
#pragma unroll
    for (std::uint32_t h = 1u; h < 32u; h *= 2u) {
      const std::uint32_t other = __shfl_up_sync(kAll, v, h);
      if (lane >= h) v += other;
    }
    return v;
  };
  const std::uint32_t in_warp = scan_warp(value);
  if (lane == 31u) sums[warp] = in_warp;
  __syncthreads();
  const std::uint32_t warps = scan_warp(lane < blockDim.x / 32u ? sums[lane] : 0u);
  const std::uint32_t before = __shfl_sync(kAll, warps, static_cast<int>((warp - 1u) & 31u));
  return {(warp == 0u ? 0u : before) + in_warp - value, __shfl_sync(kAll, warps, 31)};
}

// Counts of an expert in the parts become sums over the parts before; returns the sum over all.
__device__ __forceinline__ std::uint32_t sum_parts(std::uint32_t* counts, int parts,
                                                   std::uint32_t experts) {
  constexpr int kLoads = 8;
  std::uint32_t sum = 0u;
  for (int first = 0; first < parts; first += kLoads) {
    std::uint32_t* at = counts + first * experts;
    std::uint32_t v[kLoads];
#pragma unroll
    for (int i = 0; i < kLoads; ++i) v[i] = first + i < parts ? at[i * experts] : 0u;
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      if (first + i < parts) at[i * experts] = sum;
      sum += v[i];
    }
  }
  return sum;
}

__global__ void __launch_bounds__(1024) dispatch_many(DispatchTarget t) {
  extern __shared__ std::uint32_t shared[];
  const std::uint32_t experts = t.experts;
  std::uint32_t* const before = shared + t.parts * experts;  // then: places
  std::uint32_t* const behind = before + experts;
  std::uint32_t* const sums = behind + experts;
  for (std::uint32_t i = threadIdx.x; i < (t.parts + 2u) * experts; i += blockDim.x) shared[i] = 0u;
  __syncthreads();
  await_predecessor();

  const std::uint32_t lane = threadIdx.x & 31u;
  const std::uint32_t warp = threadIdx.x >> 5;
  const std::uint32_t begin = blockIdx.x * t.chunk;
  const std::uint32_t end = min(t.choices, begin + t.chunk);
  count_all(t, 0u, begin, before);
  count_all(t, end, t.choices, behind);

  // Of this warp: it may have none.
  const std::uint32_t from = min(end, begin + warp * t.part);
  const std::uint32_t to =
      warp < static_cast<std::uint32_t>(t.parts) ? min(end, from + t.part) : from;
  std::uint32_t* const counts = shared + warp * experts;
  // Lanes with the same id count and place together. Where the warp has no more than one choice a lane, they keep what they found.
  std::uint32_t id = ~0u;
  std::uint32_t peers = 0u;
  float weight = 0.0f;
  const auto look = [&](std::uint32_t first) {
    const Choice choice(t, first + lane);
    const bool mine = first + lane < to;
    id = mine ? choice.id(t) : ~0u;
    weight = mine ? choice.weight(t) : 0.0f;
    peers = __match_any_sync(kAll, id);
  };
  const auto add_peers = [&] {
    if (id < experts && peers >> lane == 1u)
      counts[id] += static_cast<std::uint32_t>(__popc(peers));
    __syncwarp();
  };
  for (std::uint32_t first = from; first < to; first += 32u) {
    look(first);
    add_peers();
    if (first + lane < to && id >= experts) {
      const Choice choice(t, first + lane);
      report(t.status, NVFP4J_OP_EXPERT_DISPATCH, NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, choice.token,
             choice.slot);
    }
  }
  __syncthreads();

  const std::uint32_t expert = threadIdx.x;
  std::uint32_t ahead = 0u;
  std::uint32_t total = 0u;
  if (expert < experts) {
    ahead = before[expert];
    total = ahead + behind[expert] + sum_parts(shared + expert, t.parts, experts);
  }
  const Scan offset = scan_block(total, sums);
  if (expert < experts) {
    before[expert] = offset.before + ahead;
    if (blockIdx.x == 0u) t.offsets[expert] = static_cast<std::int32_t>(offset.before);
  }
  if (blockIdx.x == 0u && threadIdx.x == 0u)
    t.offsets[experts] = static_cast<std::int32_t>(offset.all);
  for (std::uint32_t row = offset.all + blockIdx.x * blockDim.x + threadIdx.x; row < t.choices;
       row += gridDim.x * blockDim.x)
    clear_row(t, row);
  __syncthreads();

  for (std::uint32_t first = from; first < to; first += 32u) {
    if (t.part > 32u) look(first);
    const Choice choice(t, first + lane);
    const bool good = id < experts;
    std::uint32_t at = 0u;
    if (good) {
      at =
          before[id] + counts[id] + static_cast<std::uint32_t>(__popc(peers & ((1u << lane) - 1u)));
    }
    __syncwarp();
    add_peers();
    if (good) {
      choice.place(t, at, weight);
    } else if (first + lane < to) {
      choice.place_nowhere(t);
    }
  }
}

const void* kernel_of(bool few) {
  return few ? reinterpret_cast<const void*>(&dispatch_few)
             : reinterpret_cast<const void*>(&dispatch_many);
}

}  // namespace

int expert_dispatch_cuda(const CudaLaunch& launch, const ExpertDispatchArgs& args) {
  const ExpertDispatchPlan plan =
      plan_expert_dispatch(*launch.device, args.tokens * args.k, args.experts);
  const bool dense = args.indices_stride == args.k;
  DispatchTarget t = {args.indices,
                      args.weights,
                      args.offsets,
                      args.rows,
                      args.positions,
                      args.row_weights,
                      args.indices_stride,
                      args.weights_stride,
                      args.positions_stride,
                      launch.status,
                      FastDivision::of(static_cast<std::uint32_t>(args.k)),
                      static_cast<std::uint32_t>(args.tokens * args.k),
                      static_cast<std::uint32_t>(args.experts),
                      plan.chunk,
                      plan.part,
                      plan.parts,
                      dense,
                      dense && aligned16(args.indices, 0)};
  void* arguments[] = {&t};
  return launch_programmatic(kernel_of(plan.few), launch, grid_of(plan.grid), plan.threads,
                             plan.shared_bytes, arguments);
}

const char* expert_dispatch_cuda_path(const CudaDeviceProperties& device) {
  return device.major < 8 ? nullptr
                          : "generic: expert_dispatch_generic, compute capability 8.0 or newer";
}
const char* expert_dispatch_cuda_refusal(const CudaDeviceProperties& device) {
  return device.major < 8 ? "the CUDA kernels need compute capability 8.0 or newer" : nullptr;
}

int expert_dispatch_cuda_warm_up(const CudaDeviceProperties&) {
  const cudaError_t status = load_kernel(kernel_of(true));
  return status != cudaSuccess ? status : load_kernel(kernel_of(false));
}

std::int64_t expert_dispatch_cuda_workspace_bytes(const CudaDeviceProperties&, std::int64_t,
                                                  std::int64_t) {
  return 0;
}

}  // namespace nvfp4j
