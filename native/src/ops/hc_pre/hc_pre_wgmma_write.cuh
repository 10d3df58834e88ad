// SPDX-License-Identifier: Apache-2.0
// hc_pre_wgmma's writers, a warpgroup, of hc_post_pre with a norm or codes: collapsed rows, once their norms have come. Two lanes have a token.
#pragma once
#include "ops/hc_pre/hc_pre_quantise.cuh"
#include "ops/hc_pre/hc_pre_wgmma_places.cuh"

namespace nvfp4j::device {

template <HcKind KIND>
struct HcWgmmaWriter : HcWgmmaPlaces<KIND> {
  using Base = HcWgmmaPlaces<KIND>;
  using Base::a;
  using Base::first;
  using Base::first_token;
  using Base::kBlock;
  using Base::lane_of;
  using Base::norm_weights;
  using Base::row_norm_word;
  using Base::rows;
  using Base::rows_empty;
  using Base::rows_full;
  using Base::tag;
  using Base::tokens_of;
  using Base::waves;
  using Base::width;
  using typename Base::Lane;

  __device__ __forceinline__ void run(int quarter) const {
    const Lane at = lane_of(quarter);
    for (int wave = 0; wave < waves; ++wave) {
      const bool mine = at.token < tokens_of(wave);
      const std::uint32_t expected = tag(wave);
      mbarrier_wait(rows_full(wave), static_cast<std::uint32_t>(wave) >> 1 & 1u);
      Word16 word;
      do {
        word = {{0.0f, 0.0f, __uint_as_float(expected)}, expected};
        if (mine) word = receive(row_norm_word(wave, at.token));
      } while (!__all_sync(0xffffffffu, is_pair(word, expected)));
      if (mine) {
#pragma unroll 1
        for (int block = at.half; block * 16 < width; block += 2)
          write_block(first_token(wave) + at.token, rows(wave), at.token, block, word.v[0],
                      word.v[1]);
      }
      mbarrier_arrive(rows_empty(wave));
    }
  }

  __device__ __forceinline__ void write_block(std::int64_t token, std::uint32_t tile, int t,
                                              int block, float norm, float largest) const {
    Block<Bf16> y;
    y.clear();
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int column = block * 16 + h * 8;
      uint4 c = load_shared_16(
          tile + static_cast<std::uint32_t>(block * kBlock + t * 32 + (h ^ (t >> 2 & 1)) * 16));
      if (a.norm_weight != nullptr) {
        float g[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) g[i] = norm_weights()[column + i];
        c = normalise_packet(c, g, norm);
      }
      if (a.collapsed != nullptr) {
        *reinterpret_cast<uint4*>(a.collapsed + token * a.collapsed_token + (first + column) * 2) =
            c;
      }
      set_packet(y, h, c);
    }
    if (a.quantize)
      quantise_block(a, token, static_cast<std::uint32_t>(first / 16 + block), y, largest);
  }
};

}  // namespace nvfp4j::device
