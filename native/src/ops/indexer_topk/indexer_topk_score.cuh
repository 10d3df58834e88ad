// SPDX-License-Identifier: Apache-2.0
// Scores of the rows of a thread block for a group of queries. Each warp has chunks of 16 rows of its own and waits for nobody: of BF16 one chunk is in registers, where it is multiplied, while the next is on its way to shared memory.
#pragma once
#include "device/mma.cuh"
#include "device/packet.cuh"
#include "ops/indexer_topk/indexer_topk_target.cuh"

namespace nvfp4j::device {

// max(x, 0), NaN if x is.
__device__ __forceinline__ float positive_part(float x) {
  float r;
  asm("max.NaN.f32 %0, %1, 0f00000000;" : "=f"(r) : "f"(x));
  return r;
}

// What both types have alike: q and weights in shared memory, and where a score goes.
struct IndexerSweep {
  const IndexerTarget& a;
  const IndexerPlace place;
  char* const shared;
  std::uint32_t* const rows;  // [query of the group][a.rows]
  const std::int64_t query;   // the group's first
  const int count;            // of its queries
  const int head;             // the first of those that are here
  const int heads;
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const int warp = static_cast<int>(threadIdx.x) >> 5;

  __device__ __forceinline__ const float* weights(int q) const {
    return reinterpret_cast<const float*>(shared + a.layout.weights) + q * a.padded_heads;
  }

  __device__ __forceinline__ void fetch_weights() const {
    for (int q = 0; q < count; ++q) {
      const float* from = a.weights + (query + q) * a.weights_row + head;
      for (int h = static_cast<int>(threadIdx.x); h < heads; h += kIndexerThreads)
        copy_async_4(smem_address(weights(q) + h), from + h);
    }
  }

  // The sum over the heads that are here; heads follow each other in the order of the sweeps.
  __device__ __forceinline__ void put(int q, int at, float sum) const {
    std::uint32_t* p = rows + q * a.rows + at;
    if (head > 0) sum += __uint_as_float(*p);
    *p = head + heads == a.all_heads ? indexer_key(sum) : __float_as_uint(sum);
  }
};

// 16 STEPS columns, products of matrices of 16 rows and 8 heads.
template <int STEPS>
struct IndexerBf16 : IndexerSweep {
  static constexpr int kPitch = indexer_pitch(STEPS, 0);
  static constexpr int kPackets = 2 * STEPS;  // of a padded row
  // Warps that ask for their first chunk before they know how many rows are visible: half of what is in flight at a time.
  static constexpr int kEager = kIndexerWarps / 2;
  // Products whose sums a matrix unit may add up: it truncates.
  static constexpr int kChain = STEPS < 8 ? STEPS : 8;
  // Of 8 heads, multiplied side by side: as registers allow.
  static constexpr int kTiles = STEPS < 16 ? 2 : 1;

  __device__ __forceinline__ std::uint32_t stage() const {
    return smem_address(shared + a.layout.stage) +
           static_cast<std::uint32_t>(warp * kIndexerChunk * kPitch);
  }
  __device__ __forceinline__ std::uint32_t q_row(int q, int h) const {
    return smem_address(shared + a.layout.q) +
           static_cast<std::uint32_t>((q * a.padded_heads + h) * kPitch);
  }
  __device__ __forceinline__ static void fetch_packet(std::uint32_t to, const char* from,
                                                      bool aligned) {
    if (aligned) {
      copy_async_16(to, from);
    } else {
      store_shared_16(to, load_packet<Bf16, false>(from));
    }
  }

  // Zeros where no column or head is: no product there is a NaN.
  __device__ __forceinline__ void clear_padding() const {
    if (a.columns == 16 * STEPS && heads == a.padded_heads) return;
    const std::uint32_t from = smem_address(shared + a.layout.stage);
    const std::uint32_t to = smem_address(shared + a.layout.q) +
                             static_cast<std::uint32_t>(a.group * a.padded_heads * kPitch);
    for (std::uint32_t p = from + threadIdx.x * 16; p < to; p += kIndexerThreads * 16)
      store_shared_16(p, make_uint4(0u, 0u, 0u, 0u));
    __syncthreads();
  }

  __device__ __forceinline__ void fetch_q() const {
    for (int q = 0; q < count; ++q) {
      const char* from = a.q + (query + q) * a.q_query + head * a.q_head;
      for (int i = static_cast<int>(threadIdx.x); i < heads * kPackets; i += kIndexerThreads) {
        const int h = i / kPackets;
        const int column = i % kPackets;
        if (column < a.columns / 8) {
          fetch_packet(q_row(q, h) + static_cast<std::uint32_t>(16 * column),
                       from + h * a.q_head + 16 * column, a.q_aligned);
        }
      }
    }
  }

  // Rows from `first` on, below C. They may be more than are visible.
  __device__ __forceinline__ void fetch_chunk(int first) const {
    const int count_here = min(kIndexerChunk, a.all_rows - first);
    const char* from = a.keys + static_cast<std::int64_t>(first) * a.keys_row;
#pragma unroll
    for (int i = 0; i < kIndexerChunk * kPackets / 32; ++i) {
      const int p = i * 32 + lane;
      const int row = p / kPackets;
      const int column = p % kPackets;
      if (row < count_here && column < a.columns / 8) {
        fetch_packet(stage() + static_cast<std::uint32_t>(row * kPitch + 16 * column),
                     from + row * a.keys_row + 16 * column, a.keys_aligned);
      }
    }
  }

  // Of the tiles from `address` on.
  __device__ __forceinline__ void multiply(const std::uint32_t (&x)[STEPS][4],
                                           std::uint32_t address, float (&dot)[kTiles][4]) const {
#pragma unroll
    for (int part = 0; part < STEPS / kChain; ++part) {
      float chain[kTiles][4] = {};
#pragma unroll
      for (int step = part * kChain; step < (part + 1) * kChain; step += 2) {
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
          std::uint32_t b[4];
          load_matrices(address + static_cast<std::uint32_t>(tile * 8 * kPitch + step * 32), b[0],
                        b[1], b[2], b[3]);
          mma_16x8x16(chain[tile], x[step][0], x[step][1], x[step][2], x[step][3], b[0], b[1]);
          mma_16x8x16(chain[tile], x[step + 1][0], x[step + 1][1], x[step + 1][2], x[step + 1][3],
                      b[2], b[3]);
        }
      }
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
        for (int i = 0; i < 4; ++i)
          dot[tile][i] = part == 0 ? chain[tile][i] : dot[tile][i] + chain[tile][i];
      }
    }
  }

  // Rows g and g + 8 in lanes 4g to 4g + 3, which have heads 2t and 2t + 1 of each 8.
  __device__ __forceinline__ void score_chunk(const std::uint32_t (&x)[STEPS][4], int at) const {
    const int t = lane & 3;
    const std::uint32_t matrix = static_cast<std::uint32_t>((lane & 7) * kPitch + (lane >> 3) * 16);
    for (int q = 0; q < count; ++q) {
      const float* w = weights(q) + 2 * t;
      float sum[2] = {0.0f, 0.0f};
#pragma unroll 1
      for (int h = 0; h < heads; h += 8 * kTiles) {
        float dot[kTiles][4];
        multiply(x, q_row(q, h) + matrix, dot);
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
          const float2 weight = *reinterpret_cast<const float2*>(w + h + 8 * tile);
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            // (A head that is not there has zeros for q, but its product with an infinite key is NaN.)
            if (h + 8 * tile + 2 * t + (i & 1) < heads) {
              sum[i >> 1] =
                  __fmaf_rn(i & 1 ? weight.y : weight.x, positive_part(dot[tile][i]), sum[i >> 1]);
            }
          }
        }
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], 1);
        sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], 2);
      }
      if (t < 2) put(q, at + lane / 4 + 8 * t, t == 0 ? sum[0] : sum[1]);
    }
  }

  // Before the wait for the kernel before: what is read first is on its way to L2.
  __device__ __forceinline__ void prefetch() const {
    const int row = (warp * place.blocks + place.block) * kIndexerChunk + lane / 2;
    if (warp >= kEager || warp >= a.warps || row >= a.all_rows) return;
    const char* from = a.keys + static_cast<std::int64_t>(row) * a.keys_row;
    for (int i = lane % 2 * 128; i < 2 * a.columns; i += 256) prefetch_l2(from + i);
  }

  // All places of rows that a query of the group sees. Shared memory is free.
  __device__ __forceinline__ void run() const {
    const int wanted = lane < count ? visible_rows(a, query + lane) : 0;
    clear_padding();
    fetch_q();
    fetch_weights();
    copy_async_commit();
    const int step = place.blocks * kIndexerChunk;  // rows from chunk to chunk of a thread block
    int first = (warp * place.blocks + place.block) * kIndexerChunk;
    const bool eager = warp < kEager;
    if (eager && warp < a.warps && first < a.all_rows) fetch_chunk(first);
    const int end = static_cast<int>(__reduce_max_sync(0xffffffffu, static_cast<unsigned>(wanted)));
    if (!eager && warp < a.warps && first < end) fetch_chunk(first);
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();
    if (warp < a.warps) {
      for (int at = warp * kIndexerChunk; first < end; at += a.warps * kIndexerChunk) {
        std::uint32_t x[STEPS][4];
        copy_async_wait<0>();
        __syncwarp();
        const std::uint32_t matrix =
            stage() + static_cast<std::uint32_t>((lane & 15) * kPitch + (lane >> 4) * 16);
#pragma unroll
        for (int i = 0; i < STEPS; ++i)
          load_matrices(matrix + 32 * i, x[i][0], x[i][1], x[i][2], x[i][3]);
        __syncwarp();
        first += a.warps * step;
        if (first < end) fetch_chunk(first);
        copy_async_commit();
        score_chunk(x, at);
      }
    }
    copy_async_wait<0>();
    __syncthreads();
  }
};

// A row's columns over the lanes of a warp, and 32 heads at a time: their sums are exchanged so that each lane ends with one.
struct IndexerF32 : IndexerSweep {
  static constexpr int kColumns = NVFP4J_MAX_INDEXER_COLUMNS / 32;  // of a lane

  __device__ __forceinline__ const float* q_row(int q, int h) const {
    return reinterpret_cast<const float*>(shared + a.layout.q) +
           (q * a.padded_heads + h) * a.columns;
  }

  __device__ __forceinline__ void fetch_q() const {
    for (int q = 0; q < count; ++q) {
      for (int h = warp; h < heads; h += kIndexerWarps) {
        const auto* from =
            reinterpret_cast<const float*>(a.q + (query + q) * a.q_query + (head + h) * a.q_head);
        for (int column = lane; column < a.columns; column += 32)
          copy_async_4(smem_address(q_row(q, h) + column), from + column);
      }
    }
  }

  // The sums over all lanes of 2 HALF values; lane i gets that of value i, modulo as many.
  template <int HALF>
  __device__ __forceinline__ float exchange(const float (&v)[2 * HALF]) const {
    const bool high = (lane & HALF) != 0;
    float w[HALF];
#pragma unroll
    for (int i = 0; i < HALF; ++i) {
      const float kept = high ? v[i + HALF] : v[i];
      const float sent = high ? v[i] : v[i + HALF];
      w[i] = kept + __shfl_xor_sync(0xffffffffu, sent, HALF);
    }
    if constexpr (HALF > 1) {
      return exchange<HALF / 2>(w);
    } else {
      return w[0];
    }
  }

  __device__ __forceinline__ void score_row(const float (&x)[kColumns], int at) const {
    for (int q = 0; q < count; ++q) {
      float sum = 0.0f;
#pragma unroll 1
      for (int h = 0; h < heads; h += 32) {
        float dot[32];
#pragma unroll
        for (int i = 0; i < 32; ++i) {
          const float* from = q_row(q, h + i) + lane;
          dot[i] = 0.0f;
#pragma unroll
          for (int c = 0; c < kColumns; ++c) {
            if (32 * c + lane < a.columns) dot[i] = __fmaf_rn(from[32 * c], x[c], dot[i]);
          }
        }
        const float mine = exchange<16>(dot);
        if (h + lane < heads) sum = __fmaf_rn(weights(q)[h + lane], positive_part(mine), sum);
      }
#pragma unroll
      for (int half = 16; half > 0; half /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, half);
      if (lane == 0) put(q, at, sum);
    }
  }

  __device__ __forceinline__ void prefetch() const {}

  __device__ __forceinline__ void run() const {
    const int wanted = lane < count ? visible_rows(a, query + lane) : 0;
    fetch_q();
    fetch_weights();
    copy_async_commit();
    const int end = static_cast<int>(__reduce_max_sync(0xffffffffu, static_cast<unsigned>(wanted)));
    copy_async_wait<0>();
    __syncthreads();
    const int places = place.places(end);
    // (A place of every warp in turn; those that a sweep adds to are of the same warp in each.)
    for (int at = warp; at < places; at += kIndexerWarps) {
      const float* from = reinterpret_cast<const float*>(
                              a.keys + static_cast<std::int64_t>(place.row(at)) * a.keys_row) +
                          lane;
      float x[kColumns];
#pragma unroll
      for (int c = 0; c < kColumns; ++c)
        x[c] = 32 * c + lane < a.columns ? load(from + 32 * c) : 0.0f;
      score_row(x, at);
    }
    __syncthreads();
  }
};

}  // namespace nvfp4j::device
