// SPDX-License-Identifier: Apache-2.0
// Dynamic quantisation of large inputs on sm_90: kernels whose elements wait in shared memory, brought by bulk copies.
//
// quantize_tensor_ring: one scale for a contiguous tensor; one cooperative launch, one thread block a multiprocessor.
// Bound by memory: the maximum needs all elements before the first code can be written, so what the chip cannot hold in between is read twice.
// Chunks of THREADS blocks of 16 elements stream through a ring of STAGES shared-memory buffers (bulk copies on mbarriers, issued by thread 0 two chunks after the buffer was last read, so
// that it does not wait for slower warps); a thread takes one block of a chunk. No producer warp: a 17th warp would cost every thread 32 registers.
//   pass 1: maximum. The last STAGES chunks stay in the ring and REGS chunks before them in registers: with 16-bit elements 14 x 16 KiB + REGS x 16 KiB a multiprocessor.
//   grid exchange (device/grid_barrier.cuh)
//   pass 2: codes of the ring's chunks; each buffer that becomes free is refilled at once with a chunk of the rest, the most recently read first; last the registers' chunks.
// Measured on an H100 80GB HBM3 (DeviceTime, commit bff670fb8c1a), 8192x7168 BF16: 89.3 us, 1.66 x two Triton kernels (148.1 us in the same run). Where it goes, by clocks in the kernel:
//   pass 1 ends after 39 to 45 us, thread blocks on busier parts of the chip last (117 MB, while 20 MB of the launch before leave L2); exchange 1 us
//   pass 2 takes 38 us: with its memory traffic alone 32 us (102 MB), with its arithmetic alone 27 us (about 170 instructions a block, at 1.98 GHz; the ALU is 65 % busy); they overlap badly.
// Tried and no faster: 256 (120 us), 384 (95 us), 768 and 1024 threads; two blocks a thread whose instructions interleave; other ring depths and windows; the kept chunks read first, so that L2 holds the end of pass 1
// for pass 2 (30 MB less from memory, no less time), with evict_first, evict_normal or evict_last; kept chunks spread among those read again; plain loads in place of bulk copies.
//
// quantize_rows_bulk: a scale per row, a thread block a row. Measured: 8192x7168 54.1 us, 98 % of copy; swiglu_quantize 8192x3072 43.9 us, 93 %.
#pragma once
#include "ops/quantize/quantize_kernels.cuh"
#include "ops/quantize/quantize_plan.hpp"

namespace nvfp4j::device {

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

template <typename T, int STAGES, int THREADS>
__host__ __device__ constexpr int ring_shared_bytes() {
  return STAGES * THREADS * 16 * T::kBytes;
}

// Chunks asked for ahead in either pass, at most STAGES - 2: enough to cover the latency, no more in the first (the memory serves a deep queue worse).
struct RingWindows {
  int first;
  int second;
};

// A thread's block from a stage. Neighbours 32 bytes apart meet in the banks by twos; untangling that would cost more than it saves.
template <typename T>
__device__ __forceinline__ Block<T> load_stage(const char* stage, std::uint32_t thread) {
  Block<T> x;
  const auto* p = reinterpret_cast<const uint4*>(stage + thread * (16 * T::kBytes));
#pragma unroll
  for (int i = 0; i < T::kBytes; ++i) {
    const uint4 v = p[i];
    set_packet(x, i, v);
  }
  return x;
}

template <typename T, int RECIPE, int STAGES, int REGS, int THREADS>
__global__ void __launch_bounds__(THREADS, 1)
    quantize_tensor_ring(const char* input, QuantizeTarget t, GridExchange* exchange,
                         RingWindows windows) {
  constexpr std::uint32_t kBlockBytes = 16 * T::kBytes;
  constexpr std::uint32_t kChunk = THREADS;  // blocks
  constexpr std::uint32_t kChunkBytes = kChunk * kBlockBytes;
  extern __shared__ __align__(128) char ring[];
  __shared__ std::uint64_t full[STAGES];
  __shared__ std::uint64_t empty[STAGES];
  __shared__ std::uint32_t scratch[64];

  const std::uint32_t tid = threadIdx.x;
  const std::uint32_t epoch = grid_epoch(exchange);
  // Chunk j of this thread block is chunk j * gridDim.x + blockIdx.x of the tensor.
  const auto all_chunks = static_cast<std::uint32_t>((t.total_blocks + kChunk - 1) / kChunk);
  const int n = static_cast<int>((all_chunks - blockIdx.x + gridDim.x - 1) /
                                 gridDim.x);  // the grid is no larger than all_chunks
  const int ringed = max(0, n - STAGES);      // first chunk that stays in the ring
  const int again =
      max(0, ringed - REGS);    // chunks read twice: 0..again-1; then registers up to `ringed`
  const int items = n + again;  // what goes through the ring; item i in stage i % STAGES
  const auto chunk_of = [&](int item) {
    const int j = item < n ? item : again - 1 - (item - n);
    return static_cast<std::uint32_t>(j) * gridDim.x + blockIdx.x;
  };

  // Thread 0's half of the pipeline.
  int next = 0;
  int next_stage = 0;
  std::uint32_t next_parity = 1;  // of the stage's last emptying
  const auto produce = [&] {
    if (next >= STAGES) mbarrier_wait(&empty[next_stage], next_parity);
    const std::uint64_t b = static_cast<std::uint64_t>(chunk_of(next)) * kChunk;
    const std::uint64_t left = t.total_blocks - b;
    const std::uint32_t bytes =
        left < kChunk ? static_cast<std::uint32_t>(left) * kBlockBytes : kChunkBytes;
    mbarrier_expect(&full[next_stage], bytes);
    bulk_load(ring + next_stage * kChunkBytes, input + b * kBlockBytes, bytes, &full[next_stage],
              policy_evict_first());
    ++next;
    if (++next_stage == STAGES) {
      next_stage = 0;
      next_parity ^= 1u;
    }
  };
  if (tid == 0) {
#pragma unroll 1
    for (int s = 0; s < STAGES; ++s) {
      mbarrier_init(&full[s], 1);
      mbarrier_init(&empty[s], THREADS);
    }
    mbarrier_init_fence();
  }
  __syncthreads();
  if (tid == 0) {
#pragma unroll 1
    while (next < windows.first && next < n) produce();
  }

  int stage = 0;
  std::uint32_t parity = 0;
  const auto advance = [&] {
    if (++stage == STAGES) {
      stage = 0;
      parity ^= 1u;
    }
  };
  // Every thread for itself: of one for its warp, racecheck does not see that it speaks for the others.
  const auto release = [&] { mbarrier_arrive(&empty[stage]); };
  // After item i: asks for the item `window` later, in a buffer that was released two items ago or more.
  const auto refill = [&](int i, int limit, int window) {
    if (tid == 0 && next < limit && next - window <= i) produce();
  };
  // This thread's block of an item's chunk.
  const auto block_of = [&](int item) {
    return static_cast<std::uint64_t>(chunk_of(item)) * kChunk + tid;
  };
  const auto take = [&](Block<T>& x, std::uint64_t b) {
    mbarrier_wait(&full[stage], parity);
    if (b < t.total_blocks) {
      x = load_stage<T>(ring + stage * kChunkBytes, tid);
    } else {
      x.clear();
    }
  };
  std::uint32_t m = 0u;
  const auto maximum = [&](const Block<T>& x, std::uint64_t b) {
    std::uint32_t a = x.amax_bits();
    if (a >= T::kInfinity) a = finite_max<T>(x, t, place_of(t, b));
    m = max(m, a);
  };

  Block<T> x;
  int j = 0;
#pragma unroll 1
  for (; j < again; ++j) {
    take(x, block_of(j));
    release();
    advance();
    maximum(x, block_of(j));
    refill(j, n, windows.first);
  }
  Block<T> kept[REGS > 0 ? REGS : 1];
#pragma unroll
  for (int r = 0; r < REGS; ++r) {
    kept[r].clear();
    if (j < ringed) {
      take(kept[r], block_of(j));
      release();
      advance();
      maximum(kept[r], block_of(j));
      refill(j, n, windows.first);
      ++j;
    }
  }
  const int ring_stage = stage;
  const std::uint32_t ring_parity = parity;
#pragma unroll 1
  for (; j < n; ++j) {
    refill(j, n, windows.first);
    take(x, block_of(j));
    maximum(x, block_of(j));
    advance();
  }
  zero_padding_rows(t);
  m = grid_max(m, exchange, epoch, scratch);
  const GlobalScale g = dynamic_global_scale<RECIPE>(Block<T>::magnitude(m));
  if (blockIdx.x == 0 && tid == 0) t.global_scales[0] = g.gs;

  const auto encode = [&](const Block<T>& v, std::uint64_t b) {
    if (b < t.total_blocks) encode_and_store<T, RECIPE>(v, g, t, b, [&] { return place_of(t, b); });
  };
  stage = ring_stage;
  parity = ring_parity;
#pragma unroll 1
  for (int i = ringed; i < items; ++i) {
    const std::uint64_t first = block_of(i);
    take(x, first);
    release();
    advance();
    encode(x, first);
    refill(i, items, windows.second);
  }
#pragma unroll
  for (int r = 0; r < REGS; ++r) {
    if (again + r < ringed) encode(kept[r], block_of(again + r));
  }
}

// A global scale per row, long inputs: a thread block a row, which one bulk copy brings to shared memory. No registers hold it, so that many thread blocks share a multiprocessor and some load while others wait for their maximum or make
// codes. SwiGLU's results take the place of their gates.
template <typename Source, int RECIPE, int MAX_THREADS, int MIN_BLOCKS>
__global__ void __launch_bounds__(MAX_THREADS, MIN_BLOCKS)
    quantize_rows_bulk(Source source, QuantizeTarget t) {
  using T = typename Source::Element;
  extern __shared__ __align__(128) char data[];
  __shared__ std::uint64_t full;
  __shared__ std::uint32_t scratch[32];
  const std::uint32_t row_blocks = t.row_blocks.divisor;
  const std::int64_t row =
      blockIdx.x;  // the plan sees to it that there are no more rows than a grid has blocks
  if (threadIdx.x == 0) {
    mbarrier_init(&full, 1);
    mbarrier_init_fence();
  }
  __syncthreads();
  await_predecessor();
  const typename Source::Row r = source.row(row);
  if (threadIdx.x == 0) {
    if (r.valid()) {
      const std::uint32_t bytes = source.row_bytes(row_blocks);
      mbarrier_expect(&full, bytes);
      bulk_load(data, r.data, bytes, &full, policy_evict_first());
    } else {
      report(t.status, t.op, NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, row, -1);
      mbarrier_arrive(&full);
    }
  }
  zero_padding_rows(t);
  mbarrier_wait(&full, 0u);
  std::uint32_t m = 0u;
  for (std::uint32_t k = threadIdx.x; k < row_blocks && r.valid(); k += blockDim.x) {
    const Block<T> x = source.from_shared(data, r, k);
    source.keep_shared(data, k, x);
    m = max(m, finite_max<T>(x, t, {row, k}));
  }
  m = block_max(m, scratch);
  const GlobalScale g = dynamic_global_scale<RECIPE>(Block<T>::magnitude(m));
  if (threadIdx.x == 0) t.global_scales[row] = g.gs;
  const std::uint64_t first = static_cast<std::uint64_t>(row) * row_blocks;
  for (std::uint32_t k = threadIdx.x; k < row_blocks; k += blockDim.x) {
    Block<T> x;
    x.clear();
    if (r.valid()) x = source.kept_shared(data, k);
    encode_and_store<T, RECIPE>(x, g, t, first + k, [&] { return BlockPlace{row, k}; });
  }
}

#endif  // sm_90

}  // namespace nvfp4j::device

namespace nvfp4j {

// RESIDENT: thread blocks that registers must leave room for on a multiprocessor.
template <typename Source, int RESIDENT>
const void* rows_bulk_kernel(int recipe) {
  using namespace device;
  return recipe == NVFP4J_RECIPE_EXACT
             ? reinterpret_cast<const void*>(
                   &quantize_rows_bulk<Source, NVFP4J_RECIPE_EXACT, kQuantizeBulkThreads, RESIDENT>)
             : reinterpret_cast<const void*>(&quantize_rows_bulk<Source, NVFP4J_RECIPE_TE_EXACT,
                                                                 kQuantizeBulkThreads, RESIDENT>);
}

}  // namespace nvfp4j
