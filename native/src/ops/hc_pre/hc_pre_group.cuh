// SPDX-License-Identifier: Apache-2.0
// What hc_pre_split and hc_pre_wgmma have in common: a group of thread blocks shares tiles of tokens, each with a slice of the columns. Which columns and tokens a thread block has, its queue of logits, and the tags of the group's words.
#pragma once
#include "device/ptx.cuh"
#include "ops/hc_pre/hc_pre_layout.hpp"

namespace nvfp4j::device {

// `Args` has tokens, columns, slice, slices, groups, layout.queue and exchange.
template <typename Args, int TILE>
struct HcGroup {
  const Args& a;
  char* const smem;
  const int warp;
  const int lane;
  const int group;
  const int part;   // of the columns
  const int first;  // column
  const int width;  // columns, a multiple of 8
  const int waves;  // tiles of this group

  __device__ __forceinline__ HcGroup(const Args& a, char* smem)
      : a(a),
        smem(smem),
        warp(static_cast<int>(threadIdx.x) >> 5),
        lane(static_cast<int>(threadIdx.x) & 31),
        group(static_cast<int>(blockIdx.x) / a.slices),
        part(static_cast<int>(blockIdx.x) - group * a.slices),
        first(part * a.slice),
        width(min(a.slice, a.columns - first)),
        waves((tiles() - group + a.groups - 1) / a.groups) {}

  // No device has memory for 2^31 of them.
  __device__ __forceinline__ int tiles() const {
    return static_cast<int>((a.tokens + TILE - 1) / TILE);
  }
  __device__ __forceinline__ std::int64_t first_token(int wave) const {
    return static_cast<std::int64_t>(wave * a.groups + group) * TILE;
  }
  __device__ __forceinline__ int tokens_of(int wave) const {
    return static_cast<int>(min(static_cast<std::int64_t>(TILE), a.tokens - first_token(wave)));
  }

  __device__ __forceinline__ std::uint64_t* bar(int i) const {
    return reinterpret_cast<std::uint64_t*>(smem) + i;
  }
  // The logits of the n-th token that this thread block finishes.
  __device__ __forceinline__ float* queue(int n) const {
    return reinterpret_cast<float*>(smem + a.layout.queue) + n % kHcQueue * 16;
  }

  // A token that this thread block finishes: they go round among the group's.
  struct Finished {
    int wave;
    int token;  // of the tile
  };
  __device__ __forceinline__ bool is_one(const Finished& f) const { return f.wave < waves; }

  __device__ __forceinline__ std::uint64_t* epoch(int g) const {
    return reinterpret_cast<std::uint64_t*>(a.exchange + HcExchange::kEpochs) + g;
  }
  // Of this launch's first tile.
  __device__ __forceinline__ std::uint32_t first_tag() const {
    return static_cast<std::uint32_t>(load_shared_word(epoch(group))) + 1u;
  }
  // By one warp of each group's first thread block, when all of the group have read its epoch. Groups that this launch has not are the first one's.
  __device__ __forceinline__ void end_epoch(std::uint32_t tag_of_first_tile) const {
    const std::uint32_t last =
        tag_of_first_tile - 1u + static_cast<std::uint32_t>((tiles() + a.groups - 1) / a.groups);
    if (lane == 0) store_shared_word(epoch(group), last);
    if (group == 0) {
      for (int g = a.groups + lane; g < kHcMaxBlocks; g += 32) store_shared_word(epoch(g), last);
    }
  }
};

}  // namespace nvfp4j::device
