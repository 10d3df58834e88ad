// SPDX-License-Identifier: Apache-2.0
// hc_pre's mixers in hc_pre_wgmma, sixteen warps: they add up a tile's squares while it is in its slots. Tiles later, when its `pre` has come, they read it once more, from L2, and make its collapsed rows.
#pragma once
#include "device/packet.cuh"
#include "ops/hc_pre/hc_pre_math.cuh"
#include "ops/hc_pre/hc_pre_wgmma_places.cuh"

namespace nvfp4j::device {

template <int GRANULES>
struct HcWgmmaReader : HcWgmmaPlaces<HcKind::kPre, GRANULES> {
  using Base = HcWgmmaPlaces<HcKind::kPre, GRANULES>;
  using Base::a;
  using Base::await_own_sums;
  using Base::empty;
  using Base::end_epoch;
  using Base::first;
  using Base::first_token;
  using Base::full;
  using Base::kGranuleBytes;
  using Base::kGranules;
  using Base::kMixers;
  using Base::kSlot;
  using Base::kTile;
  using Base::lane;
  using Base::packet_at;
  using Base::part;
  using Base::pre_words;
  using Base::slot;
  using Base::square_words;
  using Base::tag;
  using Base::tokens_of;
  using Base::waves;
  using Base::width;

  static constexpr int kLag = kHcWgmmaPreLag;
  static_assert(kMixers * 4 == kTile);
  using Tile = uint4[kGranules][kHcStreams];

  // A lane has eight columns of each granule of one token; eight lanes next to each other have a line of L2. Of tokens and columns that there are not it has others, which it does not write.
  __device__ __forceinline__ void run(int mixer) const {
    const int t = mixer * 4 + (lane >> 3);
    const int column = (lane & 7) * 8;
    std::uint32_t at = slot(0) + packet_at(t, lane & 7);
    asm volatile("" : "+r"(at));  // or it is computed again and again
    const bool has_first = column < width;
    const bool has_second = column + kHcGranule < width;
    int in_last = t < tokens_of(waves - 1) ? 1 : 0;  // all other tiles are full
    asm volatile("" : "+r"(in_last));
    const char* from =
        a.x + (first_token(0) + t) * a.x_token + (first + (has_first ? column : 0)) * 2;
    const int second = has_second ? kHcGranule * 2 : 0;
    char* to = a.collapsed + (first_token(0) + t) * a.collapsed_token + (first + column) * 2;
    for (int wave = 0; wave < waves + kLag; ++wave) {
      const int due = wave - kLag;
      const bool has = in_last != 0 || due != waves - 1;
      Tile x;
      if (due >= 0) {
        read_again(has ? from : from - t * a.x_token, second, x);
        from += std::int64_t{a.groups} * kTile * a.x_token;
      }
      float squares = 0.0f;
      if (wave < waves) squares = look(at, wave);
      if (wave >= waves && due >= 0) await_own_sums(due);
      // Asked for here, so that they come while squares are added up.
      const int due_token = has ? t : 0;
      const char* const words = pre_words(max(due, 0), due_token);
      Word16 u = receive(words);
      Word16 v = receive(words + 16);
      if (wave < waves) {
        squares = sum_of_eight_lanes(squares);
        if ((lane & 7) == 0 && (in_last != 0 || wave != waves - 1))
          send_one(square_words(wave, t, part), squares, tag(wave));
      }
      if (due < 0) continue;
      const float4 weights = await_pre(due, due_token, u, v);
      if (has) {
#pragma unroll
        for (int g = 0; g < kGranules; ++g) {
          if (!(g == 0 ? has_first : has_second)) continue;
          float y[8];
          collapse_packets(x[g], weights, y);
          store_streaming(to + g * kHcGranule * 2, pack<Bf16>(y));
        }
      }
      to += std::int64_t{a.groups} * kTile * a.collapsed_token;
    }
    // All thread blocks of the group have read its epoch: their sums came.
    if (part == 0 && mixer == 0) end_epoch(tag(0));
  }

  // Before look(), during which it comes; for the last time.
  __device__ __forceinline__ void read_again(const char* from, int second, Tile& x) const {
    const std::uint64_t policy = policy_evict_first();
#pragma unroll
    for (int j = 0; j < kHcStreams; ++j) {
#pragma unroll
      for (int g = 0; g < kGranules; ++g)
        x[g][j] = load_streaming(from + (g == 0 ? 0 : second), policy);
      from += a.x_stream;
    }
  }

  // The sum of squares of this lane's columns. `at`: its packet in the first slot; each stream has its own.
  __device__ __forceinline__ float look(std::uint32_t at, int wave) const {
    float of_streams[kHcStreams];
#pragma unroll
    for (int j = 0; j < kHcStreams; ++j) {
      mbarrier_wait(full(j), static_cast<std::uint32_t>(wave) & 1u);
      uint4 x[kGranules];
#pragma unroll
      for (int g = 0; g < kGranules; ++g)
        x[g] = load_shared_16(at + static_cast<std::uint32_t>(j * kSlot + g * kGranuleBytes));
      // The tensor load that an arrival lets begin must not overtake the loads above, of which only what became of them tells that they are done: so the arrival depends on that, in a way that the compiler cannot see through. A warp's load is done for all its lanes at once.
      // (A fence would wait for what is read again as well.)
      float s = squares_of_packets(x);
      asm volatile("" : "+f"(s));
      __syncwarp();
      if (lane == 0 && !(s < 0.0f)) mbarrier_arrive(empty(j));
      of_streams[j] = s;
    }
    return __fadd_rn(__fadd_rn(of_streams[0], of_streams[1]),
                     __fadd_rn(of_streams[2], of_streams[3]));
  }

  // A token's mixing weights, two in a word: `u` and `v`, or, if these are not there yet, what is asked for again.
  __device__ __forceinline__ float4 await_pre(int wave, int t, Word16& u, Word16& v) const {
    const char* const from = pre_words(wave, t);
    const std::uint32_t expected = tag(wave);
    while (!__all_sync(0xffffffffu, is_pair(u, expected) && is_pair(v, expected))) {
      u = receive(from);
      v = receive(from + 16);
    }
    return make_float4(u.v[0], u.v[1], v.v[0], v.v[1]);
  }
};

}  // namespace nvfp4j::device
