// SPDX-License-Identifier: Apache-2.0
// Which rows of A and D a thread block works on. Where rows are sorted by group only the device knows: each thread block finds out for itself, from the offsets.
#pragma once
#include "device/ptx.cuh"
#include "device/status.cuh"
#include "ops/gemm/gemm_plan.hpp"
#include "ops/gemm/gemm_problem.cuh"

namespace nvfp4j {
namespace device {

// The rows of A and D that a thread block works on, and whose weights they meet.
struct TokenTile {
  int group;  // -1: there is nothing to do
  int first;
  int count;
};

// Words of shared memory that locate_grouped_tile needs.
inline constexpr int kLocateWords = 4;

// Tile number `tile` of the experts' rows cut into tiles of at most `rows`; for a whole thread block. Offsets that are not monotonic are reported, and there is no tile. All threads get the same.
static __device__ __noinline__ TokenTile locate_grouped_tile(const GemmProblem& p,
                                                             std::int64_t tile, int rows,
                                                             std::int64_t* scratch) {
  const int warp = static_cast<int>(threadIdx.x) >> 5;
  const unsigned lane = threadIdx.x & 31u;
  __syncthreads();
  if (threadIdx.x == 0) scratch[0] = -1;
  __syncthreads();
  if (warp == 0) {
    std::int64_t before = 0;
    bool bad = false;
    for (int base = 0; base < p.groups; base += 32) {
      const int e = base + static_cast<int>(lane);
      std::int64_t begin = 0, end = 0;
      if (e < p.groups) {
        begin = load(p.offsets + e);
        end = load(p.offsets + e + 1);
        bad = bad || begin < 0 || end < begin || end > p.m;
      }
      const int tiles = bad || end <= begin ? 0 : static_cast<int>((end - begin + rows - 1) / rows);
      int prefix = tiles;
#pragma unroll
      for (int step = 1; step < 32; step <<= 1) {
        const int other = __shfl_up_sync(0xffffffffu, prefix, step);
        if (static_cast<int>(lane) >= step) prefix += other;
      }
      const std::int64_t from = before + prefix - tiles;
      if (tile >= from && tile < from + tiles) {
        scratch[0] = e;
        scratch[1] = begin + (tile - from) * rows;
        scratch[2] = end;
      }
      before += __shfl_sync(0xffffffffu, prefix, 31);
    }
    if (__any_sync(0xffffffffu, bad)) {
      if (lane == 0) {
        scratch[0] = -1;
        report(p.status, p.op, NVFP4J_CAUSE_BAD_OFFSETS, -1, -1);
      }
    }
  }
  __syncthreads();
  TokenTile t;
  t.group = static_cast<int>(scratch[0]);
  t.first = static_cast<int>(scratch[1]);
  const std::int64_t left = scratch[2] - scratch[1];
  t.count = t.group < 0 ? 0 : static_cast<int>(left < rows ? left : rows);
  return t;
}

// The same where groups are not rows: of one matrix, or of a batch.
__device__ __forceinline__ TokenTile plain_tile(const GemmProblem& p, int group, std::int64_t tile,
                                                int rows) {
  const std::int64_t first = tile * rows;
  const std::int64_t left = p.m - first;
  return {group, static_cast<int>(first), static_cast<int>(left < rows ? left : rows)};
}

// ---- a list of all tiles, for thread blocks with several jobs ----------------------------------------------------------

// Shared memory for kListedTiles tiles and their number.
inline constexpr int kTileListBytes = kListedTiles * static_cast<int>(sizeof(TokenTile)) + 16;

// Lists the tiles of up to `rows` rows of all experts, of rows `first` to `last` - 1 of A; returns their number, 0 and a report where the offsets are bad. For a whole thread block; `tiles` and `counter` are in shared memory.
static __device__ __noinline__ int list_grouped_tiles(const GemmProblem& p, int rows, int first,
                                                      int last, TokenTile* tiles, int* counter) {
  // The order of the tiles must be the same in all thread blocks: each finds its place by counting those before.
  const int lane = static_cast<int>(threadIdx.x) & 31;
  if (threadIdx.x < 32) {
    int before = 0;
    bool bad = false;
    for (int base = 0; base < p.groups; base += 128) {
      std::int32_t begin[4], end[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int e = base + 32 * i + lane;
        begin[i] = e < p.groups ? load(p.offsets + e) : 0;
        end[i] = e < p.groups ? load(p.offsets + e + 1) : 0;
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        bad = bad || begin[i] < 0 || end[i] < begin[i] || end[i] > p.m;
        begin[i] = max(begin[i], first);
        end[i] = max(min(end[i], last), begin[i]);
        const int count = bad ? 0 : (end[i] - begin[i] + rows - 1) / rows;
        int prefix = count;
#pragma unroll
        for (int step = 1; step < 32; step <<= 1) {
          const int other = __shfl_up_sync(0xffffffffu, prefix, step);
          if (lane >= step) prefix += other;
        }
        for (int j = 0; j < count; ++j) {
          const int at = before + prefix - count + j;
          if (at < kListedTiles)
            tiles[at] = {base + 32 * i + lane, begin[i] + j * rows,
                         min(rows, end[i] - begin[i] - j * rows)};
        }
        before += __shfl_sync(0xffffffffu, prefix, 31);
      }
    }
    bad = __any_sync(0xffffffffu, bad);
    if (lane == 0) {
      counter[0] = bad ? 0 : before;
      if (bad && blockIdx.x == 0) report(p.status, p.op, NVFP4J_CAUSE_BAD_OFFSETS, -1, -1);
    }
  }
  __syncthreads();
  return counter[0];
}

}  // namespace device
}  // namespace nvfp4j
