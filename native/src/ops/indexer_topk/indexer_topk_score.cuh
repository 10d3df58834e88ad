// SPDX-License-Identifier: Apache-2.0
// Scores of the rows of a thread block for a group of queries. Each warp has chunks of 16 rows of its own and waits for nobody, or only for those that it multiplies with: of BF16 one or two chunks are in registers, where they are multiplied, while the next are on their way to shared memory.
#pragma once
#include "device/mma.cuh"
#include "device/packet.cuh"
#include "nvfp4j/indexer.h"
#include "ops/indexer_topk/indexer_topk_target.cuh"

namespace nvfp4j::device {

// max(x, 0), NaN if x is.
__device__ __forceinline__ float positive_part(float x) {
  float r;
  asm("max.NaN.f32 %0, %1, 0f00000000;" : "=f"(r) : "f"(x));
  return r;
}

// What both types have alike: q and weights in shared memory, and where a score goes.
template <int WARPS>
struct IndexerSweep {
  static constexpr int kThreads = 32 * WARPS;
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

  __device__ __forceinline__ IndexerSweep(const IndexerTarget& all, const IndexerPlace& own,
                                          char* memory, std::uint32_t* scores,
                                          std::int64_t first_query, int queries, int first_head,
                                          int with_heads)
      : a(all),
        place(own),
        shared(memory),
        rows(scores),
        query(first_query),
        count(queries),
        head(first_head),
        heads(with_heads) {}

  __device__ __forceinline__ const float* weights(int q) const {
    return reinterpret_cast<const float*>(shared + a.layout.weights) + q * a.padded_heads;
  }

  __device__ __forceinline__ void fetch_weights() const {
    for (int q = 0; q < count; ++q) {
      const float* from = a.weights + (query + q) * a.weights_row + head;
      for (int h = static_cast<int>(threadIdx.x); h < heads; h += kThreads)
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

// 16 STEPS columns, products of matrices of 16 rows and 8 heads. A warp multiplies up to SIDE chunks side by side, so that it loads q once for them.
template <int STEPS, int WARPS = kIndexerWarps, int SIDE = 1>
struct IndexerBf16 : IndexerSweep<WARPS> {
  using Base = IndexerSweep<WARPS>;
  using Base::a, Base::place, Base::shared, Base::query, Base::count, Base::head, Base::heads;
  using Base::Base;
  using Base::lane, Base::warp, Base::weights, Base::kThreads;
  static constexpr int kPitch = indexer_pitch(STEPS, 0);
  static constexpr int kPackets = 2 * STEPS;  // of a padded row
  // Chunks of a thread block that are asked for before it is known how many rows are visible: half of what is in flight at a time.
  static constexpr int kEager = WARPS * SIDE / 2;
  // Products whose sums a matrix unit may add up: it truncates.
  static constexpr int kChain = STEPS < 8 ? STEPS : 8;
  // Of 8 heads, multiplied side by side: as registers allow.
  static constexpr int kTiles = STEPS < 16 ? 2 : 1;

  __device__ __forceinline__ std::uint32_t stage(int side) const {
    return smem_address(shared + a.layout.stage) +
           static_cast<std::uint32_t>((side * WARPS + warp) * kIndexerChunk * kPitch);
  }
  __device__ __forceinline__ std::uint32_t q_row(int q, int h) const {
    return smem_address(shared + a.layout.q) +
           static_cast<std::uint32_t>((q * a.padded_heads + h) * kPitch);
  }
  // Zeros where no column or head is: no product there is a NaN. Of q's rows, which have so many bytes.
  __device__ __forceinline__ void clear(int row_bytes) const {
    if (a.columns == 16 * STEPS && heads == a.padded_heads) return;
    const std::uint32_t from = smem_address(shared + a.layout.stage);
    const std::uint32_t to = smem_address(shared + a.layout.q) +
                             static_cast<std::uint32_t>(a.group * a.padded_heads * row_bytes);
    for (std::uint32_t p = from + threadIdx.x * 16; p < to; p += kThreads * 16)
      store_shared_16(p, make_uint4(0u, 0u, 0u, 0u));
    __syncthreads();
  }

  __device__ __forceinline__ void clear_padding() const { clear(kPitch); }

  // 16 bytes of every ROWS-th row from this thread's `row` on, below `end`, to shared memory: `at` bytes into rows that are PITCH bytes apart. (What is not aligned is rare: code that is not run need not be fetched either.)
  template <int ROWS, int PITCH = kPitch>
  __device__ __forceinline__ void fetch_rows(std::uint32_t to, int at, const char* from,
                                             std::int64_t stride, int row, int end,
                                             bool aligned) const {
    const int column = static_cast<int>(threadIdx.x) % kPackets;
    if (column >= a.columns / 8) return;
    to += static_cast<std::uint32_t>(at);
    from += 16 * column;
    if (aligned) {
      if constexpr (STEPS < 16) {
        // Little code, which comes from memory too, and no products on the way from one address to the next.
        to += static_cast<std::uint32_t>(row * PITCH);
        from += row * stride;
        const std::int64_t step = ROWS * stride;
#pragma unroll 1
        for (; row < end; row += ROWS) {
          copy_async_16(to, from);
          to += ROWS * PITCH;
          from += step;
        }
      } else {  // registers are short
#pragma unroll 4
        for (; row < end; row += ROWS)
          copy_async_16(to + static_cast<std::uint32_t>(row * PITCH), from + row * stride);
      }
    } else {
#pragma unroll 1
      for (; row < end; row += ROWS) {
        store_shared_16(to + static_cast<std::uint32_t>(row * PITCH),
                        load_packet<Bf16, false>(from + row * stride));
      }
    }
  }

  // In a padded row.
  __device__ __forceinline__ static int packet_at() {
    return static_cast<int>(threadIdx.x) % kPackets * 16;
  }

  __device__ __forceinline__ void fetch_q() const {
    for (int q = 0; q < count; ++q) {
      fetch_rows<kThreads / kPackets>(q_row(q, 0), packet_at(),
                                      a.q + (query + q) * a.q_query + head * a.q_head, a.q_head,
                                      static_cast<int>(threadIdx.x) / kPackets, heads, a.q_aligned);
    }
  }

  // The first row of a chunk of the thread block.
  __device__ __forceinline__ int row_of(int chunk) const {
    return (chunk * place.blocks + place.block) * kIndexerChunk;
  }

  // Rows from `first` on, below C. They may be more than are visible.
  __device__ __forceinline__ void fetch_chunk(int first, int side) const {
    fetch_rows<32 / kPackets>(
        stage(side), packet_at(), a.keys + static_cast<std::int64_t>(first) * a.keys_row,
        a.keys_row, lane / kPackets, min(kIndexerChunk, a.all_rows - first), a.keys_aligned);
  }
  __device__ __forceinline__ void take_chunk(std::uint32_t (&x)[STEPS][4], int side) const {
    const std::uint32_t matrix =
        stage(side) + static_cast<std::uint32_t>((lane & 15) * kPitch + (lane >> 4) * 16);
#pragma unroll
    for (int i = 0; i < STEPS; ++i)
      load_matrices(matrix + 32 * i, x[i][0], x[i][1], x[i][2], x[i][3]);
  }

  // Of the tiles from `address` on, with the first N chunks.
  template <int N>
  __device__ __forceinline__ void multiply(const std::uint32_t (&x)[SIDE][STEPS][4],
                                           std::uint32_t address,
                                           float (&dot)[N][kTiles][4]) const {
#pragma unroll
    for (int part = 0; part < STEPS / kChain; ++part) {
      float chain[N][kTiles][4] = {};
#pragma unroll
      for (int step = part * kChain; step < (part + 1) * kChain; step += 2) {
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
          std::uint32_t b[4];
          load_matrices(address + static_cast<std::uint32_t>(tile * 8 * kPitch + step * 32), b[0],
                        b[1], b[2], b[3]);
#pragma unroll
          for (int n = 0; n < N; ++n) {
            mma_16x8x16(chain[n][tile], x[n][step][0], x[n][step][1], x[n][step][2], x[n][step][3],
                        b[0], b[1]);
          }
#pragma unroll
          for (int n = 0; n < N; ++n) {
            mma_16x8x16(chain[n][tile], x[n][step + 1][0], x[n][step + 1][1], x[n][step + 1][2],
                        x[n][step + 1][3], b[2], b[3]);
          }
        }
      }
#pragma unroll
      for (int n = 0; n < N; ++n) {
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
          for (int i = 0; i < 4; ++i)
            dot[n][tile][i] = part == 0 ? chain[n][tile][i] : dot[n][tile][i] + chain[n][tile][i];
        }
      }
    }
  }

  // Adds to a lane's two sums, of rows g and g + 8 in lane 4g + t, its part of a product: dot[0] and dot[1] of row g with heads h + 2t and h + 2t + 1, dot[2] and dot[3] of row g + 8.
  __device__ __forceinline__ void add_heads(const float* dot, float2 weight, int h,
                                            float (&sum)[2]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      // (A head that is not there has zeros for q, but its product with an infinite key is NaN.)
      if (h + 2 * (lane & 3) + (i & 1) < heads)
        sum[i >> 1] = __fmaf_rn(i & 1 ? weight.y : weight.x, positive_part(dot[i]), sum[i >> 1]);
    }
  }
  // Adds up those of four lanes; put(row of the chunk, score).
  template <typename Put>
  __device__ __forceinline__ void put_sums(float (&sum)[2], const Put& put) const {
    const int t = lane & 3;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], 1);
      sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], 2);
    }
    if (t < 2) put(lane / 4 + 8 * t, t == 0 ? sum[0] : sum[1]);
  }

  // put(query, chunk, row of the chunk, score).
  template <int N, typename Put>
  __device__ __forceinline__ void score_chunks(const std::uint32_t (&x)[SIDE][STEPS][4],
                                               const Put& put) const {
    const std::uint32_t matrix = static_cast<std::uint32_t>((lane & 7) * kPitch + (lane >> 3) * 16);
    for (int q = 0; q < count; ++q) {
      const float* w = weights(q) + 2 * (lane & 3);
      float sum[N][2] = {};
#pragma unroll 1
      for (int h = 0; h < heads; h += 8 * kTiles) {
        float dot[N][kTiles][4];
        multiply<N>(x, q_row(q, h) + matrix, dot);
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
          const float2 weight = *reinterpret_cast<const float2*>(w + h + 8 * tile);
#pragma unroll
          for (int n = 0; n < N; ++n) add_heads(dot[n][tile], weight, h + 8 * tile, sum[n]);
        }
      }
#pragma unroll
      for (int n = 0; n < N; ++n)
        put_sums(sum[n], [&](int row, float score) { put(q, n, row, score); });
    }
  }

  // Before the wait for the kernel before: what is read first is on its way to L2.
  __device__ __forceinline__ void prefetch_chunk(int chunk) const {
    const int row = row_of(chunk) + lane;
    if (lane >= kIndexerChunk || row >= a.all_rows || !a.keys_aligned) return;
    prefetch_l2_bulk(a.keys + static_cast<std::int64_t>(row) * a.keys_row,
                     static_cast<std::uint32_t>(2 * a.columns));
  }
  __device__ __forceinline__ void prefetch() const {
    if (warp < kEager && warp < a.warps) prefetch_chunk(warp);
  }

  // All places of rows that a query of the group sees, with these products or a derived class's. Shared memory is free.
  __device__ __forceinline__ void run() const { run_with(*this); }
  static constexpr int kTogether = 1;  // warps that multiply together
  __device__ __forceinline__ void q_has_come() const {}
  template <typename Put>
  __device__ __forceinline__ void score_chunk(const std::uint32_t (&x)[SIDE][STEPS][4],
                                              const Put& put) const {
    score_chunks<1>(x, [&](int q, int, int row, float score) { put(q, row, score); });
  }
  template <typename Products>
  __device__ __forceinline__ void run_with(const Products& products) const {
    static_assert(SIDE == 1);
    const int wanted = lane < count ? visible_rows(a, query + lane) : 0;
    products.clear_padding();
    products.fetch_q();
    this->fetch_weights();
    copy_async_commit();
    const int step = place.blocks * kIndexerChunk;  // rows from chunk to chunk of a thread block
    int first = row_of(warp);
    const bool eager = warp < kEager;
    if (eager && warp < a.warps && first < a.all_rows) fetch_chunk(first, 0);
    const int end = static_cast<int>(__reduce_max_sync(0xffffffffu, static_cast<unsigned>(wanted)));
    if (!eager && warp < a.warps && first < end) fetch_chunk(first, 0);
    copy_async_commit();
    copy_async_wait<1>();
    products.q_has_come();
    __syncthreads();
    if (warp < a.warps) {
      constexpr int kTogether = Products::kTogether;
      int together = row_of(warp / kTogether * kTogether);
      for (int at = warp * kIndexerChunk; (kTogether == 1 ? first : together) < end;
           at += a.warps * kIndexerChunk) {
        const bool there = kTogether == 1 || first < end;
        std::uint32_t x[SIDE][STEPS][4];
        copy_async_wait<0>();
        __syncwarp();
        take_chunk(x[0], 0);
        __syncwarp();
        first += a.warps * step;
        together += a.warps * step;
        if (first < end) fetch_chunk(first, 0);
        copy_async_commit();
        products.score_chunk(x, [&](int q, int row, float score) {
          if (there) this->put(q, at + row, score);
        });
      }
    }
    copy_async_wait<0>();
    __syncthreads();
  }
};

// A row's columns over the lanes of a warp, and 32 heads at a time: their sums are exchanged so that each lane ends with one.
struct IndexerF32 : IndexerSweep<kIndexerWarps> {
  using IndexerSweep::IndexerSweep;
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
