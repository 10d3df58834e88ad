// SPDX-License-Identifier: Apache-2.0
// Sorting in the thread blocks of indexer_topk's kernel for many queries.
#pragma once
#include "device/ptx.cuh"
#include "ops/indexer_topk/indexer_topk_plan.hpp"

namespace nvfp4j::device {

// Entries in two arrays, of keys and of what stands for rows (indexer_entry()), so that searches load keys alone.
struct IndexerEntries {
  std::uint32_t* keys;
  std::uint32_t* rows;

  __device__ __forceinline__ IndexerEntries from(int i) const { return {keys + i, rows + i}; }
  __device__ __forceinline__ std::uint64_t entry(int i) const {
    return static_cast<std::uint64_t>(keys[i]) << 32 | rows[i];
  }
  __device__ __forceinline__ void put(int i, std::uint64_t entry) const {
    keys[i] = static_cast<std::uint32_t>(entry >> 32);
    rows[i] = static_cast<std::uint32_t>(entry);
  }
};

// The place of this lane's key among the 32 of the warp, which begin at `keys`, from the highest on; equal ones in the order that they have.
__device__ __forceinline__ int place_of_32(const std::uint32_t* keys, std::uint32_t key) {
  int before[4] = {};
#pragma unroll
  for (int j = 0; j < 32; j += 4) {
    const uint4 other = *reinterpret_cast<const uint4*>(keys + j);
    before[0] += other.x > key ? 1 : 0;
    before[1] += other.y > key ? 1 : 0;
    before[2] += other.z > key ? 1 : 0;
    before[3] += other.w > key ? 1 : 0;
  }
  const int n = before[0] + before[1] + (before[2] + before[3]);
  // 0 + ... + 31 where no two are equal.
  if (__reduce_add_sync(0xffffffffu, static_cast<unsigned>(n)) == 496u) return n;
  return n + __popc(__match_any_sync(0xffffffffu, key) & ((1u << (threadIdx.x & 31u)) - 1u));
}

// Each 32 in order.
__device__ __forceinline__ void sort_32s(const IndexerEntries& e, int total) {
  const int lane = static_cast<int>(threadIdx.x) & 31;
  for (int first = static_cast<int>(threadIdx.x) - lane; first < total; first += kIndexerThreads) {
    const std::uint32_t key = e.keys[first + lane];
    const std::uint32_t row = e.rows[first + lane];
    const int n = place_of_32(e.keys + first, key);
    __syncwarp();
    e.keys[first + n] = key;
    e.rows[first + n] = row;
  }
  __syncthreads();
}

// Of each two runs of `size` in order, among N entries a thread from `base` on, one of twice the size: an entry's place is its own and how many of the other run are before it. The N are searched for side by side. PART: only those below `end`, whole warps' (N is 1).
template <int N, bool PART = false>
__device__ __forceinline__ void merge_part(const IndexerEntries& e, int base, int end, int size) {
  const int first = base + static_cast<int>(threadIdx.x);
  const bool mine = !PART || first < end;
  std::uint32_t key[N];
  std::uint32_t row[N];
  std::uint32_t least[N];  // the lowest key that is before it
  std::uint32_t from[N];
  std::uint32_t at[N];
  if (mine) {
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const int i = first + j * kIndexerThreads;
      key[j] = e.keys[i];
      row[j] = e.rows[i];
      // Of equal keys those of the first run are before. (No key is the highest number.)
      least[j] = (i & size) == 0 ? key[j] + 1u : key[j];
      from[j] = smem_address(e.keys + ((i & -size) ^ size));
      at[j] = from[j];
    }
#pragma unroll 1
    for (int step = size / 2; step > 0; step /= 2) {
#pragma unroll
      for (int j = 0; j < N; ++j) {
        if (load_shared_4(at[j] + 4u * (step - 1)) >= least[j]) at[j] += 4u * step;
      }
    }
#pragma unroll
    for (int j = 0; j < N; ++j)
      at[j] = (at[j] - from[j]) / 4u + (load_shared_4(at[j]) >= least[j] ? 1u : 0u);
  }
  __syncthreads();
  if (mine) {
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const int to = ((first + j * kIndexerThreads) & ~size) + static_cast<int>(at[j]);
      e.keys[to] = key[j];
      e.rows[to] = row[j];
    }
  }
  __syncthreads();
}

// The same of all entries. Each part is of whole runs, the largest parts first.
__device__ __forceinline__ void merge_runs(const IndexerEntries& e, int total, int size) {
  constexpr int kMost = 8;
  int base = 0;
#pragma unroll 1
  for (; total - base >= kMost * kIndexerThreads; base += kMost * kIndexerThreads)
    merge_part<kMost>(e, base, total, size);
  if (total - base >= 4 * kIndexerThreads) {
    merge_part<4>(e, base, total, size);
    base += 4 * kIndexerThreads;
  }
  if (total - base >= 2 * kIndexerThreads) {
    merge_part<2>(e, base, total, size);
    base += 2 * kIndexerThreads;
  }
  if (total - base >= kIndexerThreads) {
    merge_part<1>(e, base, total, size);
    base += kIndexerThreads;
  }
  if (total > base) merge_part<1, true>(e, base, total, size);
}

// Sorts descending, equal keys in the order that they have: as many runs as fill `total` entries, each of `run` entries, a power of two from 32 on.
__device__ __forceinline__ void sort_runs(const IndexerEntries& e, int total, int run) {
  sort_32s(e, total);
  for (int size = 32; size < run; size *= 2) merge_runs(e, total, size);
}

}  // namespace nvfp4j::device
