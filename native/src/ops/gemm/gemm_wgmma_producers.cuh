// SPDX-License-Identifier: Apache-2.0
// What the producers of gemm_wgmma.cuh do besides tensor loads: NVFP4 tokens, which they decode to where a tensor load would have put BF16 ones.
#pragma once
#include <cuda.h>

#include "device/cluster.cuh"
#include "ops/gemm/gemm_operands.cuh"
#include "ops/gemm/gemm_problem.cuh"
#include "ops/gemm/gemm_tiles.cuh"

namespace nvfp4j {

/// Codes and scales of NVFP4 tokens as they come, in a ring for each of the warps that decode them; a piece is 32 rows of 64 columns, the scales those of 256.
struct TokenPieces {
  static constexpr int kWarps = 3;
  static constexpr int kAhead = 4;  // pieces on their way to a warp
  static constexpr int kRows = 32;
  static constexpr int kCodes = kRows * 32;
  static constexpr int kBytes = kCodes + kRows * 16;
  static constexpr int kRings = kWarps * kAhead * kBytes;
  static constexpr int kBars = kWarps * kAhead;
};

namespace device {

// A piece in those that a warp works through: of every third group of GROUP units of 64 columns, all rows of a tile. The jobs are those of the thread block, and have whole groups.
template <int GROUP, class TileOf>
struct PieceCursor {
  const TileOf& tile_of;
  int jobs, step, first_unit, end_unit;
  int job, unit;
  int row;  // of the tile
  TokenTile tile;

  __device__ __forceinline__ PieceCursor(const TileOf& tile_of_, int start, int jobs_, int step_,
                                         int first_unit_, int end_unit_, int warp)
      : tile_of(tile_of_),
        jobs(jobs_),
        step(step_),
        first_unit(first_unit_),
        end_unit(end_unit_),
        job(start),
        unit(first_unit_ + GROUP * warp),
        row(0) {
    settle();
    if (more()) tile = tile_of(job);
  }
  __device__ __forceinline__ bool more() const { return job < jobs; }
  __device__ __forceinline__ int place() const {
    return (unit - first_unit) % GROUP;
  }  // in its group
  __device__ __forceinline__ bool ends_unit() const {
    return row + TokenPieces::kRows >= tile.count;
  }
  __device__ __forceinline__ void next() {
    row += TokenPieces::kRows;
    if (row < tile.count) return;
    row = 0;
    ++unit;
    if (place() != 0) return;
    unit += GROUP * (TokenPieces::kWarps - 1);
    if (unit < end_unit) return;
    settle();
    if (more()) tile = tile_of(job);
  }
  __device__ __forceinline__ void settle() {
    while (unit >= end_unit) {
      unit += first_unit - end_unit;
      job += step;
    }
  }
};

// A piece to where a tensor load with the 128-byte swizzle would have put BF16: each lane decodes a row. `unit` is that of the piece among the four that its scales are of.
__device__ __forceinline__ void decode_piece(std::uint32_t piece, int unit, std::uint32_t stage) {
  const int lane = static_cast<int>(threadIdx.x) & 31;
  // (The codes came with the 32-byte swizzle.)
  const std::uint32_t codes = piece + 32 * lane + ((lane & 4) << 2);
  const uint4 low = load_shared_16(codes);
  const uint4 high = load_shared_16(codes ^ 16u);
  const std::uint32_t words[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
  const std::uint32_t scales = load_shared_4(piece + TokenPieces::kCodes + 16 * lane + 4 * unit);
  std::uint32_t s[2];
  expand_scales(scales, s);
  // All that the row meets here becomes NaN, as its results do.
  if ((bad_scales(scales) & 0x80808080u) != 0) s[0] = s[1] = 0x7FFF7FFFu;
  const std::uint32_t row = stage + lane * 128 + ((lane & 7) << 4);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const std::uint32_t scale = scale_twice(s, i >> 1);
    std::uint32_t r[4];
#pragma unroll
    for (int j = 0; j < 4; ++j)
      r[j] = multiply_pairs(expand_byte(permute_bytes(words[i], 0u, byte_selectors(j))), scale);
    store_shared_16(row ^ (i << 4), make_uint4(r[0], r[1], r[2], r[3]));
  }
}

// The work of the warps that decode tokens: whole groups of units, in turn. What comes next is on its way meanwhile; a tensor load, because the fence after a group would wait for loads of its own threads. That fence takes as long as a
// piece: so one for a group where the ring is long; in short ones, of 128 tokens, groups of two were slower.
template <class C, class TileOf>
__device__ __forceinline__ void decode_tokens(const GemmProblem& p, const CUtensorMap& codes_map,
                                              const CUtensorMap& scales_map, const TileOf& tile_of,
                                              int start, int jobs, int step, int first_unit,
                                              int end_unit, unsigned char* pieces,
                                              std::uint64_t* piece_full, unsigned char* a_ring,
                                              std::uint64_t* a_full, std::uint64_t* a_empty) {
  using P = TokenPieces;
  constexpr int kGroup = C::kAStages >= 11 ? 4 : 1;
  // A barrier tells one lap from the next, no more; a warp skips the groups of the others, and consumers hold up to WGK units.
  static_assert(C::kAStages >= 2 * kGroup + C::WGK, "no warp is two laps ahead");
  const int warp = (static_cast<int>(threadIdx.x) >> 5) - C::kConsumers / 32 - 1;
  const int lane = static_cast<int>(threadIdx.x) & 31;
  unsigned char* ring = pieces + warp * (P::kAhead * P::kBytes);
  std::uint64_t* full = piece_full + warp * P::kAhead;
  PieceCursor<kGroup, TileOf> ahead(tile_of, start, jobs, step, first_unit, end_unit, warp);
  PieceCursor<kGroup, TileOf> now = ahead;

  const auto fetch = [&](int i) {
    if (!ahead.more()) return;
    if (lane == 0) {
      const int unit = (p.batched ? ahead.tile.group * (p.k / 64) : 0) + ahead.unit;
      const int row = ahead.tile.first + ahead.row;
      mbarrier_expect(full + i, P::kBytes);
      tensor_load(ring + i * P::kBytes, &codes_map, 32 * unit, row, full + i);
      tensor_load(ring + i * P::kBytes + P::kCodes, &scales_map, unit / 4 * 16, row, full + i);
    }
    ahead.next();
  };

  for (int i = 0; i < P::kAhead; ++i) fetch(i);
  int place = 0;
  std::uint32_t place_parity = 0;
  int turn = kGroup * warp;  // the unit, counted over all jobs
#pragma unroll 1
  while (now.more()) {
    const int slot = turn % C::kAStages;
    if (now.row == 0) mbarrier_wait(a_empty + slot, (turn / C::kAStages & 1) ^ 1u);
    mbarrier_wait(full + place, place_parity);
    decode_piece(smem_address(ring + place * P::kBytes), now.unit & 3,
                 smem_address(a_ring + slot * C::kAStageBytes) + now.row * 128);
    const bool ends_unit = now.ends_unit();
    const bool ends_group = ends_unit && now.place() == kGroup - 1;
    // The tensor cores read through the asynchronous proxy.
    if (ends_group) asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncwarp();
    if (ends_group && lane < kGroup) mbarrier_arrive(a_full + (turn - lane) % C::kAStages);
    if (ends_unit) turn += ends_group ? 1 + kGroup * (P::kWarps - 1) : 1;
    now.next();
    fetch(place);
    if (++place == P::kAhead) place = 0, place_parity ^= 1u;
  }
}

}  // namespace device
}  // namespace nvfp4j
