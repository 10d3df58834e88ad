// SPDX-License-Identifier: Apache-2.0
// hc_post_pre's mixers in hc_pre_wgmma, eight warps: they take a tile from its slots and keep it in registers until its `pre` has come; then its streams become the collapsed rows. Meanwhile they prepare the next tile.
#pragma once
#include "device/packet.cuh"
#include "ops/hc_pre/hc_pre_math.cuh"
#include "ops/hc_pre/hc_pre_wgmma_make.cuh"

namespace nvfp4j::device {

template <HcKind KIND, int GRANULES>
struct HcWgmmaMixer : HcWgmmaMaker<KIND, GRANULES> {
  using Base = HcWgmmaMaker<KIND, GRANULES>;
  using Base::a;
  using Base::await_own_sums;
  using Base::end_epoch;
  using Base::first;
  using Base::first_token;
  using Base::kGranuleBytes;
  using Base::kGranules;
  using Base::kTail;
  using Base::kTokens;
  using Base::lane;
  using Base::lane_of;
  using Base::norm_weights;
  using Base::norm_words;
  using Base::part;
  using Base::pre_words;
  using Base::rows_behind_ring;
  using Base::rows_empty;
  using Base::rows_full;
  using Base::tag;
  using Base::tokens_of;
  using Base::waves;
  using Base::width;
  using typename Base::Lane;
  using typename Base::Slot;
  using typename Base::Tile;

  __device__ __forceinline__ void run(int mixer) const {
    const Lane l = lane_of(mixer);
    Slot taken;
    Slot seen;
    this->fetch_weights(mixer, 0);
    // The first time there is no tile yet to be mixed: a place for each step keeps the code small.
    for (int wave = -1; wave < waves; ++wave) {
      Tile x;
      if (wave >= 0) {
        taken.advance(a.layout.slots);  // behind the module's results
        this->take(l, taken, x);
      }
      if (wave + 1 < waves) this->make(l, mixer, wave + 1, seen);
      if (wave < 0) continue;
      await_own_sums(wave);
      float4 weights[kTokens];
      await_pre(mixer, wave, weights);
      if constexpr (kTail) {
        mbarrier_wait(rows_empty(wave), (static_cast<std::uint32_t>(wave) >> 1 & 1u) ^ 1u);
        make_rows(l, wave, x, weights);
      } else {
        write_rows(l, wave, x, weights);
      }
    }
    // All thread blocks of the group have read its epoch: their sums came.
    if (part == 0 && mixer == 0) end_epoch(tag(0));
  }

  // The mixing weights of a lane's tokens, two in a word.
  __device__ __forceinline__ void await_pre(int mixer, int wave, float4 (&weights)[kTokens]) const {
    const int t = mixer * 8 + (lane >> 1 & 7);
    const bool mine = lane < 16 && t < tokens_of(wave);
    const char* const from = pre_words(wave, t) + (lane & 1) * 16;
    const std::uint32_t expected = tag(wave);
    Word16 word = {{0.0f, 0.0f, __uint_as_float(expected)}, mine ? expected - 1u : expected};
    do {
      if (!is_pair(word, expected)) word = receive(from);
    } while (!__all_sync(0xffffffffu, is_pair(word, expected)));
#pragma unroll
    for (int h = 0; h < kTokens; ++h) {
      const int source = 2 * (lane >> 3) + 8 * h;
      weights[h].x = __shfl_sync(0xffffffffu, word.v[0], source);
      weights[h].y = __shfl_sync(0xffffffffu, word.v[1], source);
      weights[h].z = __shfl_sync(0xffffffffu, word.v[0], source + 1);
      weights[h].w = __shfl_sync(0xffffffffu, word.v[1], source + 1);
    }
  }

  __device__ __forceinline__ void write_rows(const Lane& l, int wave, const Tile& x,
                                             const float4 (&weights)[kTokens]) const {
    const int count = tokens_of(wave);
    char* const out =
        a.collapsed + (first_token(wave) + l.first) * a.collapsed_token + (first + l.column) * 2;
#pragma unroll
    for (int h = 0; h < kTokens; ++h) {
      if (!l.has(h, count)) continue;
#pragma unroll
      for (int g = 0; g < kGranules; ++g) {
        if (g * kHcGranule + l.column >= width) continue;
        float y[8];
        collapse_packets(x[h][g], weights[h], y);
        *reinterpret_cast<uint4*>(out + 4 * h * a.collapsed_token + g * kHcGranule * 2) =
            pack<Bf16>(y);
      }
    }
  }

  // Into shared memory, with what their norms are made of. Eight lanes have a token.
  __device__ __forceinline__ void make_rows(const Lane& l, int wave, const Tile& x,
                                            const float4 (&weights)[kTokens]) const {
#pragma unroll
    for (int h = 0; h < kTokens; ++h) {
      double sum = 0.0;
      std::uint32_t largest = 0u;  // of those that are finite
#pragma unroll
      for (int g = 0; g < kGranules; ++g) {
        const int column = g * kHcGranule + l.column;
        if (column >= width) continue;
        float y[8];
        collapse_packets(x[h][g], weights[h], y);
        const uint4 c = pack<Bf16>(y);
        store_shared_16(
            l.at[h] + rows_behind_ring(wave) + static_cast<std::uint32_t>(g * kGranuleBytes), c);
        measure(column, c, sum, largest);
      }
#pragma unroll
      for (int i = 1; i < 8; i *= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, i);
        largest = max(largest, __shfl_xor_sync(0xffffffffu, largest, i));
      }
      if ((lane & 7) == 0 && l.has(h, tokens_of(wave)))
        send_pair(norm_words(wave, l.token(h), part), static_cast<float>(sum),
                  __uint_as_float(largest), tag(wave));
    }
    __syncwarp();
    if (lane == 0) mbarrier_arrive(rows_full(wave));
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
