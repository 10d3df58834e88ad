// SPDX-License-Identifier: Apache-2.0
// hc_pre_split's fetcher, a warp: what its thread block waits for.
#pragma once
#include "ops/hc_pre/hc_pre_split_places.cuh"

namespace nvfp4j::device {

template <HcKind KIND>
struct HcSplitFetcher : HcSplitPlaces<KIND> {
  using Base = HcSplitPlaces<KIND>;
  using Base::a;
  using Base::first_tag;
  using Base::first_token;
  using Base::kPost;
  using Base::kStages;
  using Base::lane;
  using Base::mixed;
  using Base::pre;
  using Base::pre_there;
  using Base::pre_word;
  using Base::shared_tag;
  using Base::stage;
  using Base::tag_there;
  using Base::tokens_of;
  using Base::waves;
  using Base::weights_before;
  using Base::weights_there;

  // What other thread blocks make of a tile: asked for now, looked at later.
  struct PreWords {
    std::uint64_t v[2];
  };
  __device__ __forceinline__ PreWords ask_for_pre(int wave) const {
    PreWords p;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int at = i * 32 + lane;
      if (at / kHcStreams < tokens_of(wave))
        p.v[i] = load_shared_word(pre_word(wave, at / kHcStreams, at % kHcStreams));
    }
    return p;
  }
  // Whether the workers have mixed the tile that had this one's places in the rings before.
  __device__ __forceinline__ bool is_free(int wave) const {
    return wave < kHcRing || mbarrier_test(mixed(wave % kHcRing),
                                           static_cast<std::uint32_t>(wave / kHcRing - 1) & 1u);
  }

  // Whether all of it was there: then it is the workers'. (They have sent the tile's sums, so that its places have been free for long.)
  __device__ __forceinline__ bool take_pre(int wave, const PreWords& p, std::uint32_t tag) const {
    const int count = tokens_of(wave);
    bool there = true;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if ((i * 32 + lane) / kHcStreams < count)
        there = there && static_cast<std::uint32_t>(p.v[i] >> 32) == tag;
    }
    if (!__all_sync(0xffffffffu, there && is_free(wave))) return false;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int at = i * 32 + lane;
      if (at / kHcStreams < count) {
        pre(stage(wave % kStages), at / kHcStreams)[at % kHcStreams] =
            __uint_as_float(static_cast<std::uint32_t>(p.v[i]));
      }
    }
    mbarrier_arrive(pre_there(wave % kHcRing));
    return true;
  }

  // comb and post of the module before, for a tile's tokens.
  __device__ __forceinline__ void ask_for_weights(int wave) const {
    const int count = tokens_of(wave);
    const std::int64_t token = first_token(wave);
    for (int i = lane; i < count * 5; i += 32) {
      const int t = i / 5;
      const int packet = i - t * 5;
      const float* from = packet < 4
                              ? a.comb_before + (token + t) * a.comb_before_token + packet * 4
                              : a.post_before + (token + t) * a.post_before_token;
      copy_async_16(smem_address(weights_before(wave, t)) + static_cast<std::uint32_t>(packet * 16),
                    from);
    }
    mbarrier_arrive_after_copies(weights_there(wave % kHcRing));
  }

  __device__ __forceinline__ void run() const {
    int weighted = 0;  // waves of which the weights before have been asked for
    if constexpr (kPost) ask_for_weights(weighted++);
    const std::uint32_t tag = first_tag();
    if (lane == 0) {
      *shared_tag() = tag;
      mbarrier_arrive(tag_there());
    }
    for (int fetched = 0; fetched < waves;) {
      PreWords words[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (fetched + i < waves) words[i] = ask_for_pre(fetched + i);
      }
      if constexpr (kPost) {
        if (weighted < waves && __all_sync(0xffffffffu, is_free(weighted)))
          ask_for_weights(weighted++);
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (fetched < waves &&
            !take_pre(fetched, words[i], tag + static_cast<std::uint32_t>(fetched)))
          break;
        fetched = min(fetched + 1, waves);
      }
    }
  }
};

}  // namespace nvfp4j::device
