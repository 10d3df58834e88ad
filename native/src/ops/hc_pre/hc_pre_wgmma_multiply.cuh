// SPDX-License-Identifier: Apache-2.0
// hc_pre_wgmma's multipliers, a warpgroup: a tile's streams times fn, sums to the thread blocks that finish the tokens.
#pragma once
#include "ops/hc_pre/hc_pre_wgmma_places.cuh"

namespace nvfp4j::device {

template <HcKind KIND>
struct HcWgmmaMultiplier : HcWgmmaPlaces<KIND> {
  using Base = HcWgmmaPlaces<KIND>;
  using Base::a;
  using Base::fn;
  using Base::full;
  using Base::kBlock;
  using Base::kFnPiece;
  using Base::kPost;
  using Base::lane;
  using Base::made;
  using Base::mix_words;
  using Base::part;
  using Base::sent;
  using Base::slot;
  using Base::tag;
  using Base::tokens_of;
  using Base::warp;
  using Base::waves;
  using typename Base::Slot;

  static constexpr int kTiles = kHcMixes / 8;
  // Steps of 16 columns that are under way at a time. A tile has four times a whole number of them.
  static constexpr int kDepth = 4;

  __device__ __forceinline__ void run() const {
    const int steps = a.slice / 16;  // of a stream
    Slot s;
    for (int wave = 0; wave < waves; ++wave) {
      if constexpr (kPost) {
        mbarrier_wait(made(wave), static_cast<std::uint32_t>(wave) / kHcWgmmaPhases & 1u);
        s.advance(a.layout.slots);  // behind the module's results
      }
      Slot awaited = s;
      // Sums of products with fn's first parts, and what they are off by; and of those with the smaller parts, of which what is cut is less than 2^-4 of what is cut of the others.
      float sum[4 * kTiles] = {};
      float off[4 * kTiles] = {};
      float smaller[8 * kTiles] = {};
      std::uint64_t fn_at = wgmma_operand(fn(), kFnPiece, 128);
      std::uint64_t x_at = 0;
      int left = 0;
      int ready = 0;  // steps that have come
#pragma unroll 1
      for (int i = 0; i < kHcStreams * steps; i += kDepth) {
        if constexpr (!kPost) {
          for (; ready < i + kDepth; ready += steps) {
            mbarrier_wait(full(awaited.index), awaited.parity);
            awaited.advance(a.layout.slots);
          }
        }
        float step[kDepth][4 * kTiles];
        wgmma_fence();
#pragma unroll
        for (int u = 0; u < kDepth; ++u) {
          if (left == 0) {
            x_at = wgmma_operand_32(slot(s.index), 256);
            s.advance(a.layout.slots);
            left = steps;
          }
          --left;
          wgmma_64x24(step[u], x_at, fn_at);
          wgmma_add_64x48(smaller, x_at, wgmma_advance(fn_at, kHcMixes * 16));
          wgmma_commit();
          x_at = wgmma_advance(x_at, kBlock);
          fn_at = wgmma_advance(fn_at, 2 * kFnPiece);
        }
        wgmma_wait<2>();
        wgmma_arrived(step[0]);
        wgmma_arrived(step[1]);
        add(step[1], step[0]);
        wgmma_wait<0>();
        wgmma_arrived(step[2]);
        wgmma_arrived(step[3]);
        add(step[3], step[2]);
        add(step[2], step[0]);
        wgmma_arrived(smaller);
        add_exactly(step[0], sum, off);
      }
#pragma unroll
      for (int i = 0; i < 4 * kTiles; ++i) {
        const float of_smaller = __fadd_rn(smaller[i], smaller[4 * kTiles + i]);
        sum[i] = __fadd_rn(sum[i], __fadd_rn(off[i], of_smaller));
      }
      send_sums(wave, sum);
      __syncwarp();
      if (lane == 0) mbarrier_arrive(sent(wave));
    }
  }

  using Tiles = float[4 * kTiles];
  static __device__ __forceinline__ void add(const Tiles& from, Tiles& to) {
#pragma unroll
    for (int i = 0; i < 4 * kTiles; ++i) to[i] = __fadd_rn(to[i], from[i]);
  }
  // Steps may resemble each other, and then so do the roundings of their sums: what is rounded off is added up as well.
  static __device__ __forceinline__ void add_exactly(const Tiles& from, Tiles& sum, Tiles& off) {
#pragma unroll
    for (int i = 0; i < 4 * kTiles; ++i) {
      const float s = __fadd_rn(sum[i], from[i]);
      const float added = __fadd_rn(s, -sum[i]);
      const float lost =
          __fadd_rn(__fadd_rn(sum[i], -__fadd_rn(s, -added)), __fadd_rn(from[i], -added));
      off[i] = __fadd_rn(off[i], lost);
      sum[i] = s;
    }
  }

  // A thread has rows 2q and 2q + 1 of each eight of fn, of two tokens: a word each, those of even rows first.
  __device__ __forceinline__ void send_sums(int wave, const float (&sum)[4 * kTiles]) const {
    const int count = tokens_of(wave);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int token = warp * 16 + (lane >> 2) + 8 * h;
      if (token >= count) continue;
      char* const to = mix_words(wave, token, part) + (lane & 3) * 16;
#pragma unroll
      for (int odd = 0; odd < 2; ++odd) {
        const int i = 2 * h + odd;
        send(to + odd * (kHcWgmmaMixWords / 2) * 16, sum[i], sum[4 + i], sum[8 + i], tag(wave));
      }
    }
  }
};

}  // namespace nvfp4j::device
