// SPDX-License-Identifier: Apache-2.0
// hc_pre_wgmma's multipliers, a warpgroup: a tile's streams times fn, sums to the thread blocks that finish the tokens.
#pragma once
#include "ops/hc_pre/hc_pre_math.cuh"
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
  using Base::kSlot;
  using Base::kTail;
  using Base::lane;
  using Base::made;
  using Base::mix_words;
  using Base::part;
  using Base::sent;
  using Base::tag;
  using Base::tokens_of;
  using Base::warp;
  using Base::waves;

  static constexpr int kEights = kHcMixes / 8;
  static constexpr int kSteps = kHcGranule / 16;  // of a granule
  // Tiles between a tile's sums and its rows: until their norms have come. There are two places for rows: mixers that wait for one make no further tile.
  static constexpr int kLag = 2;
  static_assert(kLag <= 3);
  static constexpr int kSlotsOfTile = hc_wgmma_slots_of_tile(KIND);
  using Sums = float[4 * kEights];

  __device__ __forceinline__ void run() const {
    for (int wave = 0; wave < waves + (kTail ? kLag : 0); ++wave) {
      if (wave < waves) multiply(wave);
      if constexpr (kTail) {
        if (wave >= kLag) this->write(warp, wave - kLag);
      }
    }
  }

  // Two granules at a time: of a stream, or of two streams where the slice has no more than one; of hc_post_pre of two streams, in the order in which they are made.
  __device__ __forceinline__ void multiply(int wave) const {
    // Slots by their number, not as a Slot: of it, and of what is not fn() and slot(), the compiler knows that it is the warp's, and keeps what products need in uniform registers.
    const int slots = kPost ? a.layout.slots : kHcStreams;
    const int first_slot = static_cast<int>(static_cast<std::uint32_t>(wave * kSlotsOfTile) %
                                            static_cast<std::uint32_t>(slots));
    const auto slot_of = [&](int stream) {
      const int i = first_slot + stream + (kPost ? 1 : 0);
      return i - (kPost && i >= slots ? slots : 0);
    };
    if constexpr (kPost) {
      mbarrier_wait(made(wave, 0), static_cast<std::uint32_t>(wave) / kHcWgmmaPhases & 1u);
      if (lane == 0) mbarrier_arrive(empty(first_slot));  // the module's results
    }
    // Sums of products with fn's first parts; and of those with the smaller parts, of which what is cut is less than 2^-4 of what is cut of the others.
    Sums sum = {};
    Sums of_first_half;
    float smaller[8 * kEights] = {};
    const std::uint32_t fn_at = smem_address(this->smem) + static_cast<std::uint32_t>(a.layout.fn);
    const std::uint32_t ring = smem_address(this->smem) + static_cast<std::uint32_t>(a.layout.ring);
    constexpr int kPairs = kHcStreams * kGranules / 2;
    static_assert(kPairs % 2 == 0);
    constexpr bool kAlong = kGranules == 2 && !kPost;  // a stream
#pragma unroll 1
    for (int pair = 0; pair < kPairs; ++pair) {
      if constexpr (kPost && kGranules == 2) {
        if (pair == kPairs / 2)
          mbarrier_wait(made(wave, 1), static_cast<std::uint32_t>(wave) / kHcWgmmaPhases & 1u);
      }
      const int stream = kAlong ? pair : pair % 2 * 2;
      const int granule = kAlong ? 0 : pair / 2;
      const int from = slot_of(stream);
      const int next = slot_of(stream + 1);
      if constexpr (!kPost) {
        // Each stream has its slot.
        mbarrier_wait(full(from), static_cast<std::uint32_t>(wave) & 1u);
        if constexpr (!kAlong) mbarrier_wait(full(next), static_cast<std::uint32_t>(wave) & 1u);
      }
      const auto x_of = [&](int slot, int g) {
        return wgmma_operand_128(ring +
                                 static_cast<std::uint32_t>(slot * kSlot + g * kGranuleBytes));
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
      // Groups of two steps, two of them under way. Their sums are added as a tree, as are those of pairs: what is alike is added without rounding.
      Sums s0[2], s1[2], s2[2], s3[2], t, u, v;
      multiply_two(x0, f0, s0, smaller);
      multiply_two(wgmma_advance(x0, 64), wgmma_advance(f0, 4 * kFnPiece), s1, smaller);
      wgmma_wait<1>();
      add_arrived(s0, t);
      multiply_two(x1, f1, s2, smaller);
      wgmma_wait<1>();
      add_arrived(s1, u);
      add(t, u, t);
      multiply_two(wgmma_advance(x1, 64), wgmma_advance(f1, 4 * kFnPiece), s3, smaller);
      wgmma_wait<1>();
      add_arrived(s2, u);
      wgmma_wait<0>();
      add_arrived(s3, v);
      add(u, v, u);
      add(t, u, t);
      add(sum, t, sum);
      wgmma_arrived(smaller);
      if (!kPost && lane == 0) {
        mbarrier_arrive(empty(from));
        if constexpr (!kAlong) mbarrier_arrive(empty(next));
      }
      if (pair == kPairs / 2 - 1) {
#pragma unroll
        for (int i = 0; i < 4 * kEights; ++i) {
          of_first_half[i] = sum[i];
          sum[i] = 0.0f;
        }
      }
    }
    if constexpr (kPost) {
      if (lane < kHcStreams) mbarrier_arrive(empty(slot_of(lane)));
    }
    const float dither = hc_dither(part);
#pragma unroll
    for (int i = 0; i < 4 * kEights; ++i)
      sum[i] = hc_round(__fadd_rn(of_first_half[i], sum[i]),
                        __fadd_rn(smaller[i], smaller[4 * kEights + i]), dither);
    send_sums(wave, sum);
    __syncwarp();
    if (lane == 0) mbarrier_arrive(sent(wave));
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
  static __device__ __forceinline__ void add_arrived(Sums (&step)[2], Sums& to) {
    wgmma_arrived(step[0]);
    wgmma_arrived(step[1]);
    add(step[0], step[1], to);
  }
  static __device__ __forceinline__ void add(const Sums& x, const Sums& y, Sums& to) {
#pragma unroll
    for (int i = 0; i < 4 * kEights; ++i) to[i] = __fadd_rn(x[i], y[i]);
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
