// SPDX-License-Identifier: Apache-2.0
// How gemm_wgmma.cuh turns a thread's sums into results: scaled, SwiGLU applied, written to D, and those that are not finite reported. C is its WgmmaConfig.
#pragma once
#include "device/cluster.cuh"
#include "ops/gemm/gemm_operands.cuh"
#include "ops/gemm/gemm_tiles.cuh"

namespace nvfp4j::device {

// The tiles of 16 rows of W that a thread block has, in the order of its warps. With SwiGLU two of gate and the two of up that belong to them in each warpgroup, which so needs no other.
template <bool SWIGLU>
struct WgmmaTile {
  // Which of the thread block's tiles of D.
  __host__ __device__ static constexpr int of_d(int i) { return SWIGLU ? i / 4 * 2 + i % 2 : i; }
  __host__ __device__ static constexpr bool upper(int i) { return SWIGLU && i % 4 >= 2; }
};

// Which results of a lane are not finite, one bit each. They are looked for only where a sum of zeros times all of them is not zero.
template <int COUNT>
struct Faults {
  std::uint32_t bits[(COUNT + 31) / 32] = {};

  __device__ __forceinline__ void add(int i, bool faulty) {
    bits[i / 32] |= static_cast<std::uint32_t>(faulty) << (i % 32);
  }
  // Calls report(i) of each.
  template <class F>
  __device__ __forceinline__ void for_each(F&& report) const {
    constexpr int kWords = (COUNT + 31) / 32;
    std::uint32_t any = 0;
#pragma unroll
    for (int w = 0; w < kWords; ++w) any |= bits[w];
    if (any == 0) return;
#pragma unroll 1
    for (int w = 0; w < kWords; ++w) {
      std::uint32_t left = 0;
#pragma unroll
      for (int i = 0; i < kWords; ++i) left = i == w ? bits[i] : left;
#pragma unroll 1
      for (; left != 0; left &= left - 1) report(32 * w + __ffs(static_cast<int>(left)) - 1);
    }
  }
};

__device__ __forceinline__ std::uint32_t fma_zero_pairs(std::uint32_t a, std::uint32_t sum) {
  std::uint32_t r;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(0u), "r"(sum));
  return r;
}

// What a lane's sums belong to. acc[4e + i]: tokens 8 (first_eight + e) + 2t + (i & 1), row 2g + (i >> 1) of the warp's tile.
struct LaneResults {
  int n;                // row of W
  std::int64_t column;  // of D
  int first_eight;
  float w_scale;
  float a_scale;          // of every token, or
  const float* a_scales;  // per token in shared memory; NULL

  __device__ __forceinline__ int token(int i) const {
    return 8 * (first_eight + i / 4) + 2 * (static_cast<int>(threadIdx.x) & 3) + (i & 1);
  }
};

// acc[FROM] to acc[FROM + COUNT - 1] become results; notes those that are not finite. Returns pairs of neighbours in BF16: pairs[2e + i].
template <class C, int COUNT, class F>
__device__ __forceinline__ void scale_results(const LaneResults& lane, int count, int from,
                                              float* acc, std::uint32_t (&pairs)[COUNT / 2],
                                              F& faults) {
  float alpha[COUNT / 2];
#pragma unroll
  for (int i = 0; i < COUNT / 2; ++i) alpha[i] = __fmul_rn(lane.a_scale, lane.w_scale);
  if (lane.a_scales != nullptr) {
#pragma unroll
    for (int i = 0; i < COUNT / 2; ++i)
      alpha[i] = __fmul_rn(lane.a_scales[lane.token(from + 4 * (i >> 1) + (i & 1))], lane.w_scale);
  }
  std::uint32_t zeros = 0;
#pragma unroll
  for (int i = 0; i < COUNT / 2; ++i) {
    float& low = acc[from + 4 * (i >> 1) + (i & 1)];
    float& high = acc[from + 4 * (i >> 1) + (i & 1) + 2];
    low = __fmul_rn(alpha[i], __fmul_rn(low, kOperandScale));
    high = __fmul_rn(alpha[i], __fmul_rn(high, kOperandScale));
    pairs[i] = Bf16::pack(low, high);
    zeros = fma_zero_pairs(pairs[i], zeros);
  }
  if ((zeros & 0x7FFF7FFFu) != 0) {
#pragma unroll
    for (int i = 0; i < COUNT; ++i)
      faults.add(from + i, !is_finite(acc[from + i]) && lane.token(from + i) < count);
#pragma unroll
    for (int i = 0; i < COUNT / 2; ++i) {
      const int at = from + 4 * (i >> 1) + (i & 1);
      pairs[i] = bf16_bits(acc[at]) | bf16_bits(acc[at + 2]) << 16;
    }
  }
}

// All consumers call it; those that are not `active` have nothing to write.
template <class C, bool SWIGLU>
__device__ __forceinline__ void write_results(const GemmProblem& p, const TokenTile& tile,
                                              float (&acc)[C::BM / 2], const float* a_scales,
                                              float* exchange, int first_tile, int d_tiles, int own,
                                              bool active, int first_eight) {
  constexpr int kResults = 4 * C::kEights;  // of a lane
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const int g = lane >> 2, t = lane & 3;
  const bool upper = WgmmaTile<SWIGLU>::upper(own);
  const int d_tile = first_tile + WgmmaTile<SWIGLU>::of_d(own);
  const std::int64_t group_column = column_of_d(p, tile.group);
  LaneResults results;
  results.n = d_tile * 16 + 2 * g + (upper ? p.n / 2 : 0);
  results.column = group_column + d_tile * 16 + 2 * g;
  results.first_eight = first_eight;
  active = active && d_tile < d_tiles;
  results.w_scale = active ? w_scale_of(p, tile.group, results.n) : 0.0f;
  results.a_scale =
      p.a_global_scales == nullptr || p.a_global_scale_per_row ? 1.0f : load(p.a_global_scales);
  results.a_scales = p.a_global_scale_per_row && p.a_global_scales != nullptr ? a_scales : nullptr;
  Faults<kResults> faults;
  if constexpr (SWIGLU) {
    constexpr int kStep = C::kStepTokens / 2;  // results of a lane
    static_assert(kResults % kStep == 0, "whole steps");
    float* mine = exchange + own * kStep * 32 + lane;
    const float* gates = exchange + (own & ~2) * kStep * 32 + lane;
    const float* ups = gates + 2 * kStep * 32;
    const int warpgroup = static_cast<int>(threadIdx.x) >> 7;
#pragma unroll
    for (int from = 0; from < kResults; from += kStep) {
      named_barrier(2 + warpgroup, 128);  // the step before has been read
      if (active) {
        std::uint32_t pairs[kStep / 2];
        scale_results<C, kStep>(results, tile.count, from, acc, pairs, faults);
#pragma unroll
        for (int i = 0; i < kStep; ++i) mine[32 * i] = acc[from + i];
      }
      named_barrier(2 + warpgroup, 128);
      if (active) {
        // Half of the step is gate's warp's, half is up's. Not unrolled: the code is long, and its registers are wanted elsewhere.
        const int begin = upper ? kStep / 4 : 0;
#pragma unroll 1
        for (int j = begin; j < begin + kStep / 4; ++j) {
          const int i = 4 * (j >> 1) + (j & 1);
          const int token = results.token(from + i);
          if (token >= tile.count) continue;
          const float weight =
              p.row_weight != nullptr ? load(p.row_weight + tile.first + token) : 1.0f;
          const auto of_both = [&](int at) {
            const float gate = gates[32 * at], up = ups[32 * at];
            const float v = swiglu_result(gate, up, p.limit, weight);
            // Where gate or up is not finite, its own warp reports why. (A step does not cross a word.)
            const bool faulty = !is_finite(v) && is_finite(gate) && is_finite(up);
            faults.bits[from / 32] |= static_cast<std::uint32_t>(faulty) << (from % 32 + at);
            return v;
          };
          const float low = of_both(i);
          const float high = of_both(i + 2);
          store_pair(p, tile.first + token, results.column, low, high);
        }
      }
    }
  } else {
    constexpr int kBatch = C::kEights < 4 ? kResults : 16;  // results of a lane: of up to 32 tokens
    static_assert(kResults % kBatch == 0, "whole batches");
    // Where a warpgroup has all sums of its rows, 128 bytes of a row of D are written at once: its warps' results meet in shared memory, at the places of the 128-byte swizzle.
    constexpr bool kWide = C::WGK == 1 && C::CK == 1 && kBatch == 16;
    if (kWide && p.d_eights_aligned) {
      const int group = own >> 2;
      const int in_group = static_cast<int>(threadIdx.x) & 127;
      unsigned char* stage = reinterpret_cast<unsigned char*>(exchange) + group * 8192;
      const int chunk = in_group & 7, row = in_group >> 3;
      const bool inside = first_tile + 4 * group + (chunk >> 1) < d_tiles;
      char* d = p.d + (tile.first + row) * p.d_stride +
                2 * (group_column + (first_tile + 4 * group) * 16 + 8 * chunk);
      const std::uint32_t from_address =
          smem_address(stage) + row * 128 + ((chunk ^ (row & 7)) << 4);
      const std::uint32_t to_address = smem_address(stage) + 2 * t * 128 +
                                       (((2 * (own & 3) + (g >> 2)) ^ (2 * t)) << 4) + (g & 3) * 4;
      // Two places in turn, so that one barrier is enough; after an odd number of batches it is the same one's turn again.
      if constexpr (kResults / kBatch % 2 != 0) named_barrier(2 + group, 128);
#pragma unroll
      for (int from = 0; from < kResults; from += kBatch) {
        const std::uint32_t place = (from / kBatch & 1) * 4096;
        std::uint32_t pairs[kBatch / 2];
        scale_results<C, kBatch>(results, active ? tile.count : 0, from, acc, pairs, faults);
#pragma unroll
        for (int i = 0; i < kBatch / 2; ++i) {
          // Token 2t + 1 is a row further, and its piece the other of two.
          const std::uint32_t to = (i & 1) == 0 ? to_address : (to_address ^ 16u) + 128u;
          store_shared_4(to + place + (i >> 1) * 1024, pairs[i]);
        }
        named_barrier(2 + group, 128);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int token = 2 * from + 16 * i;
          const uint4 v = load_shared_16(from_address + place + i * 2048);
          if (inside && token + row < tile.count)
            *reinterpret_cast<uint4*>(d + token * p.d_stride) = v;
        }
      }
    } else if (active) {
#pragma unroll
      for (int from = 0; from < kResults; from += kBatch) {
        std::uint32_t pairs[kBatch / 2];
        scale_results<C, kBatch>(results, tile.count, from, acc, pairs, faults);
#pragma unroll
        for (int i = 0; i < kBatch / 2; ++i) {
          const int at = from + 4 * (i >> 1) + (i & 1);
          const int token = results.token(at);
          if (token >= tile.count) continue;
          if (p.d_is_bf16 && p.d_pairs_aligned) {
            *reinterpret_cast<std::uint32_t*>(p.d + (tile.first + token) * p.d_stride +
                                              2 * results.column) = pairs[i];
          } else {
            store_pair(p, tile.first + token, results.column, acc[at], acc[at + 2]);
          }
        }
      }
    }
  }
  if (active) {
    faults.for_each([&](int i) {
      report_result(p, tile.group, tile.first + results.token(i), results.n + (i >> 1 & 1),
                    results.column + (i >> 1 & 1));
    });
  }
}
}  // namespace nvfp4j::device
