// SPDX-License-Identifier: Apache-2.0
// hc_pre_wgmma's mixers, a warpgroup: when a token's `pre` has come, its streams become the collapsed row. Each warp has sixteen tokens, two lanes a token.
#pragma once
#include "device/packet.cuh"
#include "ops/hc_pre/hc_pre_math.cuh"
#include "ops/hc_pre/hc_pre_wgmma_places.cuh"

namespace nvfp4j::device {

template <HcKind KIND>
struct HcWgmmaMixer : HcWgmmaPlaces<KIND> {
  using Base = HcWgmmaPlaces<KIND>;
  using Base::a;
  using Base::await_own_sums;
  using Base::empty;
  using Base::end_epoch;
  using Base::first;
  using Base::first_token;
  using Base::full;
  using Base::kBlock;
  using Base::kPost;
  using Base::kTail;
  using Base::lane;
  using Base::lane_of;
  using Base::made;
  using Base::norm_weights;
  using Base::norm_words;
  using Base::part;
  using Base::pre;
  using Base::pre_words;
  using Base::rows;
  using Base::rows_empty;
  using Base::rows_full;
  using Base::slot;
  using Base::tag;
  using Base::tokens_of;
  using Base::waves;
  using Base::width;
  using typename Base::Lane;
  using typename Base::Slot;

  // The warp's tokens' mixing weights: of a token's two lanes the first fetches three, the other the fourth.
  __device__ __forceinline__ void await_pre(int wave, const Lane& at) const {
    const bool mine = at.token < tokens_of(wave);
    const char* const from = pre_words(wave, at.token) + at.half * 16;
    const std::uint32_t expected = tag(wave);
    Word16 word = {{0.0f, 0.0f, 0.0f}, mine ? expected - 1u : expected};
    do {
      if (word.tag != expected) word = receive(from);
    } while (!__all_sync(0xffffffffu, word.tag == expected));
    const float fourth = __shfl_down_sync(0xffffffffu, word.v[0], 16);
    if (at.half == 0) pre()[at.token] = make_float4(word.v[0], word.v[1], word.v[2], fourth);
    __syncwarp();
  }

  // The slots of a tile's streams.
  struct Tile {
    int slots[kHcStreams];
    std::uint32_t at[kHcStreams];
  };

  __device__ __forceinline__ void run(int quarter) const {
    const Lane at = lane_of(quarter);
    Slot s;
    for (int wave = 0; wave < waves; ++wave) {
      if constexpr (kPost) {
        mbarrier_wait(made(wave), static_cast<std::uint32_t>(wave) / kHcWgmmaPhases & 1u);
        s.advance(a.layout.slots);
      }
      Tile tile;
#pragma unroll
      for (int j = 0; j < kHcStreams; ++j) {
        if constexpr (!kPost) mbarrier_wait(full(s.index), s.parity);
        tile.slots[j] = s.index;
        tile.at[j] = slot(s.index);
        s.advance(a.layout.slots);
      }
      await_own_sums(wave);
      await_pre(wave, at);
      if constexpr (kTail) {
        mbarrier_wait(rows_empty(wave), (static_cast<std::uint32_t>(wave) >> 1 & 1u) ^ 1u);
        make_rows(wave, at, tile);
      } else {
        write_rows(wave, at, tile);
      }
      __syncwarp();
      if (lane == 0) {
#pragma unroll
        for (int j = 0; j < kHcStreams; ++j) mbarrier_arrive(empty(tile.slots[j]));
      }
    }
    // All thread blocks of the group have read its epoch: their sums came.
    if (part == 0 && quarter == 0) end_epoch(tag(0));
  }

  // Eight columns of all streams.
  struct Columns {
    uint4 x[kHcStreams];
  };
  __device__ __forceinline__ Columns load_columns(const Tile& tile, std::uint32_t offset) const {
    Columns c;
#pragma unroll
    for (int j = 0; j < kHcStreams; ++j) c.x[j] = load_shared_16(tile.at[j] + offset);
    return c;
  }
  static __device__ __forceinline__ void collapse(const Columns& c, const float4& weights,
                                                  float (&y)[8]) {
    const float w[kHcStreams] = {weights.x, weights.y, weights.z, weights.w};
#pragma unroll
    for (int j = 0; j < kHcStreams; ++j) {
      float v[8];
      unpack<Bf16>(c.x[j], v);
#pragma unroll
      for (int i = 0; i < 8; ++i)
        y[i] = j == 0 ? __fmul_rn(w[0], v[i]) : __fmaf_rn(w[j], v[i], y[i]);
    }
  }

  __device__ __forceinline__ void write_rows(int wave, const Lane& at, const Tile& tile) const {
    if (at.token >= tokens_of(wave)) return;
    const float4 weights = pre()[at.token];
    char* const out =
        a.collapsed + (first_token(wave) + at.token) * a.collapsed_token + first * 2 + at.half * 16;
    std::uint32_t largest = 0u;
    Columns next = load_columns(tile, at.offset);
#pragma unroll
    for (int i = 0; i < kHcWgmmaMaxSlice / 16; ++i) {
      if (i * 16 < width) {
        const Columns c = next;
        if (i + 1 < kHcWgmmaMaxSlice / 16 && (i + 1) * 16 < width)
          next = load_columns(tile, at.offset + static_cast<std::uint32_t>((i + 1) * kBlock));
        float y[8];
        collapse(c, weights, y);
        *reinterpret_cast<uint4*>(out + i * 32) = pack_any<Bf16>(y, largest);
      }
    }
    if (has_nan<Bf16>(largest)) make_canonical(out);
  }
  // What this thread has just written.
  __device__ __forceinline__ void make_canonical(char* out) const {
#pragma unroll 1
    for (int i = 0; i * 16 < width; ++i) {
      auto* const packet = reinterpret_cast<uint4*>(out + i * 32);
      *packet = canonical<Bf16>(*packet);
    }
  }

  // Into shared memory, with what their norms are made of. Two lanes have a token.
  __device__ __forceinline__ void make_rows(int wave, const Lane& at, const Tile& tile) const {
    double sum = 0.0;
    std::uint32_t largest = 0u;  // of those that are finite
    const bool mine = at.token < tokens_of(wave);
    if (mine) {
      const float4 weights = pre()[at.token];
#pragma unroll 2
      for (int block = 0; block * 16 < width; ++block) {
        const std::uint32_t offset = at.offset + static_cast<std::uint32_t>(block * kBlock);
        float y[8];
        collapse(load_columns(tile, offset), weights, y);
        const uint4 c = pack<Bf16>(y);
        store_shared_16(rows(wave) + offset, c);
        measure(block * 16 + at.half * 8, c, sum, largest);
      }
    }
    mbarrier_arrive(rows_full(wave));
    sum += __shfl_xor_sync(0xffffffffu, sum, 16);
    largest = max(largest, __shfl_xor_sync(0xffffffffu, largest, 16));
    if (at.half == 0 && mine)
      send_pair(norm_words(wave, at.token, part), static_cast<float>(sum), __uint_as_float(largest),
                tag(wave));
  }

  // Of collapsed columns: the sum of squares, and the largest product with the norm's weights.
  __device__ __forceinline__ void measure(int column, uint4 c, double& sum,
                                          std::uint32_t& largest) const {
    float y[8];
    unpack<Bf16>(c, y);
    sum += static_cast<double>(squares_of(y));
    if (a.norm_weight != nullptr) {
      const float* const g = norm_weights() + column;
#pragma unroll
      for (int i = 0; i < 8; ++i) y[i] = __fmul_rn(g[i], y[i]);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const std::uint32_t magnitude = __float_as_uint(y[i]) & 0x7FFFFFFFu;
      if (magnitude < 0x7F800000u) largest = max(largest, magnitude);
    }
  }
};

}  // namespace nvfp4j::device
