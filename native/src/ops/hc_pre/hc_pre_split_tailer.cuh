// SPDX-License-Identifier: Apache-2.0
// hc_pre_split's tailers: norms and largest magnitudes of the rows, through all slices, then the rows that are written and their codes.
#pragma once
#include "device/packet.cuh"
#include "ops/hc_pre/hc_pre_math.cuh"
#include "ops/hc_pre/hc_pre_quantise.cuh"
#include "ops/hc_pre/hc_pre_split_places.cuh"

namespace nvfp4j::device {

template <HcKind KIND>
struct HcSplitTailer : HcSplitPlaces<KIND> {
  using Base = HcSplitPlaces<KIND>;
  using Base::a;
  using Base::empty;
  using Base::first;
  using Base::first_tag;
  using Base::first_token;
  using Base::kStages;
  using Base::kTailers;
  using Base::lane;
  using Base::mixed;
  using Base::norm_word;
  using Base::part;
  using Base::squares;
  using Base::stage;
  using Base::tokens_of;
  using Base::waves;
  using Base::width;

  // Each has half of a tile's tokens, four lanes a token.
  __device__ __forceinline__ void run(int tailer) const {
    constexpr int kLoads = 11;  // a lane has under way
    const std::uint32_t tag = first_tag();
    const int turn = lane & 3;
    const int t = tailer * (kHcTile / kTailers) + (lane >> 2);
    static_assert(kStages == kHcRing);
    int s = 0;
    std::uint32_t parity = 0u;
    for (int wave = 0; wave < waves; ++wave) {
      mbarrier_wait(mixed(s), parity);
      const bool mine = t < tokens_of(wave);
      const std::uint32_t expected = tag + static_cast<std::uint32_t>(wave);
      double slice_sum = 0.0;
      std::uint32_t largest = 0u;
      for (int j = turn; j < a.workers; j += 4) {
        const float2 v = squares(wave, j)[t];
        slice_sum += static_cast<double>(v.x);
        largest = max(largest, __float_as_uint(v.y));
      }
#pragma unroll
      for (int h = 1; h < 4; h *= 2) {
        slice_sum += __shfl_xor_sync(0xffffffffu, slice_sum, h);
        largest = max(largest, __shfl_xor_sync(0xffffffffu, largest, h));
      }
      if (turn == 0 && mine)
        send_pair(norm_word(wave, t, part), static_cast<float>(slice_sum), __uint_as_float(largest),
                  expected);
      double sum = 0.0;
      for (int i0 = 0; i0 < a.slices; i0 += 4 * kLoads) {
        Word16 v[kLoads];
        for (bool there = false; !there;) {
          bool all = true;
#pragma unroll
          for (int k = 0; k < kLoads; ++k) {
            const int i = i0 + turn + 4 * k;
            v[k] = {{0.0f, 0.0f, __uint_as_float(expected)}, expected};
            if (mine && i < a.slices) v[k] = receive(norm_word(wave, t, i));
          }
#pragma unroll
          for (int k = 0; k < kLoads; ++k) all = all && is_pair(v[k], expected);
          there = __all_sync(0xffffffffu, all);
        }
#pragma unroll
        for (int k = 0; k < kLoads; ++k) {
          sum += static_cast<double>(v[k].v[0]);
          largest = max(largest, __float_as_uint(v[k].v[1]));
        }
      }
#pragma unroll
      for (int h = 1; h < 4; h *= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, h);
        largest = max(largest, __shfl_xor_sync(0xffffffffu, largest, h));
      }
      if (mine) {
        const float norm = static_cast<float>(reciprocal_sqrt(sum * a.inverse_columns + a.rms_eps));
        write_row(first_token(wave) + t, stage(s) + t * a.layout.row, norm,
                  __uint_as_float(largest));
      }
      __syncwarp();
      if (lane == 0) mbarrier_arrive(empty(s));
      if (++s == kStages) {
        s = 0;
        parity ^= 1u;
      }
    }
  }

  // The slice's part of a row, from its collapsed columns: four lanes have blocks of 16 in turn.
  __device__ __forceinline__ void write_row(std::int64_t token, const char* row, float norm,
                                            float largest) const {
    if (a.norm_weight != nullptr) largest = normalised_maximum(largest, norm);
#pragma unroll 1
    for (int b = lane & 3; b * 16 < width; b += 4) {
      Block<Bf16> y;
      y.clear();
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int column = b * 16 + h * 8;
        if (column < width) {
          uint4 c = *reinterpret_cast<const uint4*>(row + column * 2);
          if (a.norm_weight != nullptr) {
            float g[8];
            load_norm_weights(a, first + column, g);
            c = normalise_packet(c, g, norm);
          }
          if (a.collapsed != nullptr) {
            *reinterpret_cast<uint4*>(a.collapsed + token * a.collapsed_token +
                                      (first + column) * 2) = c;
          }
          set_packet(y, h, c);
        }
      }
      if (a.quantize)
        quantise_block(a, token, static_cast<std::uint32_t>(first / 16 + b), y, largest);
    }
  }
};

}  // namespace nvfp4j::device
