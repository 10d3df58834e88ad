// SPDX-License-Identifier: Apache-2.0
// Products of indexer_topk on compute capability 9.0: a warpgroup's, 64 rows and 64 heads at a time. (Of single warps' products each warp loads all of q from shared memory.)
#pragma once
#include "device/wgmma.cuh"
#include "ops/indexer_topk/indexer_topk_score.cuh"

namespace nvfp4j::device {

// Keys are in registers, q is in shared memory as the products want it: of each query 64 columns after the other, of them all heads, with the 128-byte swizzle.
template <typename Sweep, int STEPS>
struct IndexerWgmma : Sweep {
  using Sweep::a, Sweep::query, Sweep::count, Sweep::head, Sweep::heads, Sweep::lane;
  using Sweep::kPackets, Sweep::kThreads;
  using Sweep::Sweep;
  static constexpr int kTogether = 4;  // warps that multiply
  static constexpr int kHeads = kIndexerWgmmaHeads;
  static constexpr int kRowBytes = 128;             // 64 columns of a head
  static constexpr int kRowSteps = kRowBytes / 32;  // products of 16 columns
  static constexpr int kRowPackets = kRowBytes / 16;
  static constexpr int kFetchRows = kThreads / kPackets;  // heads that are fetched at once
  static_assert(kFetchRows % 8 == 0, "the swizzle of a thread's heads is the same");
  static_assert(STEPS % kRowSteps == 0);

  // Zeros where no column or head is.
  __device__ __forceinline__ void clear_padding() const { this->clear(32 * STEPS); }

  __device__ __forceinline__ std::uint32_t q_rows(int q, int part) const {
    return smem_address(this->shared + a.layout.q) +
           static_cast<std::uint32_t>((q * (STEPS / kRowSteps) + part) * a.padded_heads *
                                      kRowBytes);
  }
  __device__ __forceinline__ void fetch_q() const {
    const int packet = static_cast<int>(threadIdx.x) % kPackets;
    const int first = static_cast<int>(threadIdx.x) / kPackets;
    // (Of all of this thread's heads: they are a multiple of 8 apart.)
    const int at = static_cast<int>(wgmma_swizzle_128(static_cast<std::uint32_t>(
                       first % 8 * kRowBytes + packet % kRowPackets * 16))) -
                   first % 8 * kRowBytes;
    for (int q = 0; q < count; ++q) {
      this->template fetch_rows<kFetchRows, kRowBytes>(
          q_rows(q, packet / kRowPackets), at, a.q + (query + q) * a.q_query + head * a.q_head,
          a.q_head, first, heads, a.q_aligned);
    }
  }
  // Each thread's copies, before the barrier behind which they are read by products.
  __device__ __forceinline__ void q_has_come() const { fence_async_proxy(); }

  // Of x[0], a chunk of each of the warps. (Rows that are not there count for nothing.) put(query, row of the chunk, score).
  template <int SIDE, typename Put>
  __device__ __forceinline__ void score_chunk(const std::uint32_t (&x)[SIDE][STEPS][4],
                                              const Put& put) const {
    float dot[kHeads / 2] = {};
    for (int q = 0; q < count; ++q) {
      const float* w = this->weights(q) + 2 * (lane & 3);
      float sum[2] = {};
      __syncwarp();
#pragma unroll 1
      for (int h = 0; h < heads; h += kHeads) {
        wgmma_fence();
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
          const std::uint64_t b = wgmma_operand_128(q_rows(q, step / kRowSteps) +
                                                    static_cast<std::uint32_t>(h * kRowBytes));
          wgmma_64x64_registers(dot, x[0][step], wgmma_advance(b, step % kRowSteps * 32), step > 0);
        }
        wgmma_commit();
        wgmma_wait<0>();
        wgmma_arrived(dot);
#pragma unroll
        for (int i = 0; i < kHeads; i += 8) {
          this->add_heads(dot + i / 2, *reinterpret_cast<const float2*>(w + h + i), h + i, sum);
        }
      }
      this->put_sums(sum, [&](int row, float score) { put(q, row, score); });
    }
  }
};

}  // namespace nvfp4j::device
