// SPDX-License-Identifier: Apache-2.0
// hc_post_pre with a norm or codes in hc_pre_wgmma: multipliers write a tile's collapsed rows, once their norms have come. Each warp has sixteen tokens, and a lane sixteen columns of some.
#pragma once
#include "ops/hc_pre/hc_pre_quantise.cuh"
#include "ops/hc_pre/hc_pre_wgmma_places.cuh"

namespace nvfp4j::device {

template <HcKind KIND, int GRANULES>
struct HcWgmmaWriter : HcWgmmaPlaces<KIND, GRANULES> {
  using Base = HcWgmmaPlaces<KIND, GRANULES>;
  using Base::a;
  using Base::first;
  using Base::first_token;
  using Base::kGranuleBytes;
  using Base::lane;
  using Base::norm_weights;
  using Base::packet_at;
  using Base::row_norm_word;
  using Base::rows;
  using Base::rows_empty;
  using Base::rows_full;
  using Base::tag;
  using Base::tokens_of;
  using Base::width;

  __device__ __forceinline__ void write(int quarter, int wave) const {
    const int count = tokens_of(wave) - quarter * 16;
    const std::uint32_t expected = tag(wave);
    mbarrier_wait(rows_full(wave), static_cast<std::uint32_t>(wave) >> 1 & 1u);
    Word16 word;
    do {
      word = {{0.0f, 0.0f, __uint_as_float(expected)}, expected};
      if (lane < min(count, 16)) word = receive(row_norm_word(wave, quarter * 16 + lane));
    } while (!__all_sync(0xffffffffu, is_pair(word, expected)));
    // Eight lanes next to each other write the codes of 128 columns.
#pragma unroll 1
    for (int i = 0; i < 4; ++i) {
      const int t = i * 4 + (lane >> 3);
      const float norm = __shfl_sync(0xffffffffu, word.v[0], t);
      const float largest = __shfl_sync(0xffffffffu, word.v[1], t);
      const int block = lane & 7;
      if (t < count && block * 16 < width)
        write_block(first_token(wave), rows(wave), quarter * 16 + t, block, norm, largest);
    }
    __syncwarp();
    if (lane == 0) mbarrier_arrive(rows_empty(wave));
  }

  __device__ __forceinline__ void write_block(std::int64_t first_of_tile, std::uint32_t tile, int t,
                                              int block, float norm, float largest) const {
    const std::int64_t token = first_of_tile + t;
    Block<Bf16> y;
    y.clear();
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int column = block * 16 + h * 8;
      if (column >= width) continue;
      uint4 c = load_shared_16(tile + static_cast<std::uint32_t>(block / 4 * kGranuleBytes) +
                               packet_at(t, (block & 3) * 2 + h));
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
