// SPDX-License-Identifier: Apache-2.0
// hc_pre_wgmma's multipliers, a warpgroup: a tile's streams times fn, sums to the thread blocks that finish the tokens.
#pragma once
#include "ops/hc_pre/hc_pre_wgmma_places.cuh"
#include "ops/hc_pre/hc_pre_wgmma_write.cuh"

namespace nvfp4j::device {

template <HcKind KIND, int GRANULES>
struct HcWgmmaMultiplier : HcWgmmaWriter<KIND, GRANULES> {
  using Base = HcWgmmaWriter<KIND, GRANULES>;
  using Base::a;
  using Base::empty;
  using Base::full;
  using Base::kFnPiece;
  using Base::kGranuleBytes;
  using Base::kGranules;
  using Base::kPost;
  using Base::kTail;
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

  static constexpr int kEights = kHcMixes / 8;
  static constexpr int kSteps = kHcGranule / 16;  // of a granule
  // Tiles between a tile's sums and its rows: until their norms have come. There are two places for rows: mixers that wait for one make no further tile.
  static constexpr int kLag = 2;
  static_assert(kLag <= 3);
  using Sums = float[4 * kEights];

  __device__ __forceinline__ void run() const {
    Slot s;
    for (int wave = 0; wave < waves + (kTail ? kLag : 0); ++wave) {
      if (wave < waves) multiply(wave, s);
      if constexpr (kTail) {
        if (wave >= kLag) this->write(warp, wave - kLag);
      }
    }
  }

  // Two granules at a time: of a stream, or of two streams where the slice has no more than one; of hc_post_pre of two streams, in the order in which they are made.
  __device__ __forceinline__ void multiply(int wave, Slot& s) const {
    if constexpr (kPost) {
      mbarrier_wait(made(wave, 0), static_cast<std::uint32_t>(wave) / kHcWgmmaPhases & 1u);
      if (lane == 0) mbarrier_arrive(empty(s.index));  // the module's results
      s.advance(a.layout.slots);
    }
    // Sums of products with fn's first parts, and what they are off by; and of those with the smaller parts, of which what is cut is less than 2^-4 of what is cut of the others.
    Sums sum = {};
    Sums off = {};
    float smaller[8 * kEights] = {};
    // The last two granules' sum, which is added to the others while the next ones are multiplied; of hc_post_pre, where mixers need the registers, at once.
    Sums last = {};
    // Not fn(): of this address the compiler knows that it is the warp's.
    const std::uint32_t fn_at = smem_address(this->smem) + static_cast<std::uint32_t>(a.layout.fn);
    constexpr int kPairs = kHcStreams * kGranules / 2;
    constexpr bool kAlong = kGranules == 2 && !kPost;  // a stream
#pragma unroll 1
    for (int pair = 0; pair < kPairs; ++pair) {
      if constexpr (kPost && kGranules == 2) {
        if (pair == kPairs / 2)
          mbarrier_wait(made(wave, 1), static_cast<std::uint32_t>(wave) / kHcWgmmaPhases & 1u);
      }
      const int stream = kAlong ? pair : pair % 2 * 2;
      const int granule = kAlong ? 0 : pair / 2;
      const Slot from = s.behind(stream, a.layout.slots);
      const Slot next = kAlong ? from : s.behind(stream + 1, a.layout.slots);
      if constexpr (!kPost) {
        mbarrier_wait(full(from.index), from.parity);
        if constexpr (!kAlong) mbarrier_wait(full(next.index), next.parity);
      }
      const auto x_of = [&](const Slot& in, int g) {
        return wgmma_operand_128(
            same(slot(in.index) + static_cast<std::uint32_t>(g * kGranuleBytes)));
      };
      const auto fn_of = [&](int j, int g) {
        return wgmma_operand(
            fn_at + static_cast<std::uint32_t>((j * kGranules + g) * (2 * kSteps * kFnPiece)),
            kFnPiece, 128);
      };
      const std::uint64_t x0 = x_of(from, granule);
      const std::uint64_t x1 = kAlong ? x_of(from, 1) : x_of(next, granule);
      const std::uint64_t f0 = fn_of(stream, granule);
      const std::uint64_t f1 = kAlong ? fn_of(stream, 1) : fn_of(stream + 1, granule);
      // Groups of two steps, two of them under way.
      Sums s0[2], s1[2], s2[2], s3[2], t, v, w;
      multiply_two(x0, f0, s0, smaller);
      multiply_two(wgmma_advance(x0, 64), wgmma_advance(f0, 4 * kFnPiece), s1, smaller);
      if constexpr (!kPost) add_exactly(last, sum, off);
      wgmma_wait<1>();
      add_arrived(s0, t);
      multiply_two(x1, f1, s2, smaller);
      wgmma_wait<1>();
      add_arrived(s1, v);
      add(v, t, t);
      multiply_two(wgmma_advance(x1, 64), wgmma_advance(f1, 4 * kFnPiece), s3, smaller);
      wgmma_wait<1>();
      add_arrived(s2, v);
      wgmma_wait<0>();
      add_arrived(s3, w);
      add(w, v, v);
      add(v, t, last);
      if constexpr (kPost) add_exactly(last, sum, off);
      wgmma_arrived(smaller);
      if (!kPost && lane == 0) {
        mbarrier_arrive(empty(from.index));
        if constexpr (!kAlong) mbarrier_arrive(empty(next.index));
      }
    }
    if (kPost && lane < kHcStreams) mbarrier_arrive(empty(s.behind(lane, a.layout.slots).index));
    s = s.behind(kHcStreams, a.layout.slots);
    if constexpr (!kPost) add_exactly(last, sum, off);
#pragma unroll
    for (int i = 0; i < 4 * kEights; ++i) {
      const float of_smaller = __fadd_rn(smaller[i], smaller[4 * kEights + i]);
      sum[i] = __fadd_rn(sum[i], __fadd_rn(off[i], of_smaller));
    }
    send_sums(wave, sum);
    __syncwarp();
    if (lane == 0) mbarrier_arrive(sent(wave));
  }

  // So that the compiler knows it to be the warp's: operands are in uniform registers.
  static __device__ __forceinline__ std::uint32_t same(std::uint32_t x) {
    return __shfl_sync(0xffffffffu, x, 0);
  }

  static __device__ __forceinline__ void multiply_two(std::uint64_t x, std::uint64_t fn,
                                                      Sums (&step)[2],
                                                      float (&smaller)[8 * kEights]) {
    wgmma_fence();
#pragma unroll
    for (int u = 0; u < 2; ++u) {
      const std::uint64_t x_at = wgmma_advance(x, static_cast<std::uint32_t>(u * 32));
      const std::uint64_t fn_at = wgmma_advance(fn, static_cast<std::uint32_t>(u * 2 * kFnPiece));
      wgmma_64x24(step[u], x_at, fn_at);
      wgmma_add_64x48(smaller, x_at, wgmma_advance(fn_at, kHcMixes * 16));
    }
    wgmma_commit();
  }
  // Of steps, as a tree: steps that are alike are added without rounding.
  static __device__ __forceinline__ void add_arrived(Sums (&step)[2], Sums& to) {
    wgmma_arrived(step[0]);
    wgmma_arrived(step[1]);
    add(step[0], step[1], to);
  }
  static __device__ __forceinline__ void add(const Sums& x, const Sums& y, Sums& to) {
#pragma unroll
    for (int i = 0; i < 4 * kEights; ++i) to[i] = __fadd_rn(x[i], y[i]);
  }
  // Granules may resemble each other, and then so do the roundings of their sums: what is rounded off is added up as well.
  static __device__ __forceinline__ void add_exactly(const Sums& from, Sums& sum, Sums& off) {
#pragma unroll
    for (int i = 0; i < 4 * kEights; ++i) {
      const float s = __fadd_rn(sum[i], from[i]);
      const float added = __fadd_rn(s, -sum[i]);
      const float lost =
          __fadd_rn(__fadd_rn(sum[i], -__fadd_rn(s, -added)), __fadd_rn(from[i], -added));
      off[i] = __fadd_rn(off[i], lost);
      sum[i] = s;
    }
  }

  // A thread has rows 2q and 2q + 1 of each eight of fn, of two tokens: a word each, those of even rows first.
  __device__ __forceinline__ void send_sums(int wave, const Sums& sum) const {
    const int count = tokens_of(wave);
    // Asked for here, so that addresses do not occupy registers while products are under way.
    int thread;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int token = thread / 32 * 16 + (thread >> 2 & 7) + 8 * h;
      if (token >= count) continue;
      char* const to = mix_words(wave, token, part) + (thread & 3) * 16;
#pragma unroll
      for (int odd = 0; odd < 2; ++odd) {
        const int i = 2 * h + odd;
        send(to + odd * (kHcWgmmaMixWords / 2) * 16, sum[i], sum[4 + i], sum[8 + i], tag(wave));
      }
    }
  }
};

}  // namespace nvfp4j::device
