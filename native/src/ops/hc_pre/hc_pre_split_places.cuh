// SPDX-License-Identifier: Apache-2.0
// hc_pre_split: what is where in shared memory and in the words that thread blocks send each other, and who finishes which token.
#pragma once
#include "ops/hc_pre/hc_pre_exchange.cuh"
#include "ops/hc_pre/hc_pre_group.cuh"
#include "ops/hc_pre/hc_pre_math.cuh"
#include "ops/hc_pre/hc_pre_plan.hpp"
#include "ops/hc_pre/hc_pre_target.cuh"

namespace nvfp4j {

struct HcSplitArgs : HcPreTarget {
  int slice, slices, groups, workers, gatherers;
  HcSplitLayout layout;
  char* exchange;
};

namespace device {

template <HcKind KIND>
struct HcSplitPlaces : HcGroup<HcSplitArgs, kHcTile> {
  static constexpr bool kPatient = false;  // HcBalancer
  using Base = HcGroup<HcSplitArgs, kHcTile>;
  using Base::a;
  using Base::bar;
  using Base::epoch;
  using Base::first_tag;
  using Base::first_token;
  using Base::group;
  using Base::lane;
  using Base::part;
  using Base::smem;
  using Base::tokens_of;
  using Base::waves;
  using Base::width;
  using typename Base::Finished;
  static constexpr bool kHead = KIND == HcKind::kHead;
  static constexpr bool kTail = KIND == HcKind::kPostPreTail;
  static constexpr bool kPost = kTail || KIND == HcKind::kPostPre;
  static constexpr int kMixes = kHead ? kHcStreams : kHcMixes;  // rows of fn
  static constexpr int kTiles = kHead ? 1 : 3;                  // of eight rows
  static constexpr int kWords =
      kMixes / kTiles + 1;  // of a token's sums: kTiles mixes each, and the last one of squares
  static constexpr int kTailers = hc_tailers(KIND);
  static constexpr int kParked = hc_parked_steps(KIND);
  static constexpr int kLag = hc_lag(KIND);
  static constexpr int kAhead = kHcAhead;
  static constexpr int kStages = hc_stages(KIND);
  // Of a sum of squares, which is one sum of four steps where it is the workers' diagonal: it loses 1/4 + 2/4 + 3/4 + 1 times that.
  static constexpr bool kDiagonalSquares = !kPost;
  static constexpr double kSquaresCut = kDiagonalSquares ? 2.5 * kHcCut : 0.0;

  __device__ __forceinline__ HcSplitPlaces(const HcSplitArgs& a, char* smem) : Base(a, smem) {}

  // ---- what is where ---------------------------------------------------------------------------------------------------

  __device__ __forceinline__ std::uint64_t* sums_full(int half) const { return bar(half); }
  __device__ __forceinline__ std::uint64_t* sums_empty(int half) const { return bar(2 + half); }
  static constexpr int kQueue = 4;
  __device__ __forceinline__ std::uint64_t* queue_full(int n) const {
    return bar(kQueue + n % kHcQueue);
  }
  __device__ __forceinline__ std::uint64_t* queue_empty(int n) const {
    return bar(kQueue + kHcQueue + n % kHcQueue);
  }
  static constexpr int kPre = kQueue + 2 * kHcQueue;
  __device__ __forceinline__ std::uint64_t* pre_there(int i) const { return bar(kPre + i); }
  __device__ __forceinline__ std::uint64_t* weights_there(int i) const {
    return bar(kPre + kHcRing + i);
  }
  __device__ __forceinline__ std::uint64_t* mixed(int i) const {
    return bar(kPre + 2 * kHcRing + i);
  }
  __device__ __forceinline__ std::uint64_t* empty(int stage) const {
    return bar(kPre + 3 * kHcRing + stage);
  }
  static constexpr int kTag = kPre + 4 * kHcRing;
  static_assert(kTag + 2 == HcSplitLayout::kBarriers);
  __device__ __forceinline__ std::uint64_t* tag_there() const { return bar(kTag); }
  __device__ __forceinline__ std::uint32_t* shared_tag() const {
    return reinterpret_cast<std::uint32_t*>(bar(kTag + 1));
  }

  __device__ __forceinline__ char* stage(int s) const {
    return smem + a.layout.tiles + s * a.layout.stage;
  }
  // Workers' mixes [worker][row tile][token][8], then their sums of squares [worker][token].
  __device__ __forceinline__ float* sums(int half) const {
    return reinterpret_cast<float*>(smem + a.layout.sums + half * a.layout.sums_half);
  }
  __device__ __forceinline__ float* pre(char* tile, int token) const {
    return reinterpret_cast<float*>(tile + token * a.layout.row + a.layout.pre);
  }
  // Of a worker's 16 columns of a collapsed row: the sum of squares, and the largest product with the norm's weight.
  __device__ __forceinline__ float2* squares(int wave, int worker) const {
    return reinterpret_cast<float2*>(smem + a.layout.squares) +
           (wave % kHcRing * a.workers + worker) * kHcTile;
  }

  // hc_post_pre: a token's comb, then post, of the module before.
  __device__ __forceinline__ float* weights_before(int wave, int token) const {
    return reinterpret_cast<float*>(smem + a.layout.weights +
                                    (wave % kHcRing * kHcTile + token) * HcSplitLayout::kWeights);
  }

  __device__ __forceinline__ int slot(int wave, int token) const {
    return (wave % kHcRing * a.groups + group) * kHcTile + token;
  }
  __device__ __forceinline__ char* sums_word(int wave, int token, int slice, int word) const {
    return a.exchange + HcExchange::kSums +
           ((slot(wave, token) * a.slices + slice) * kWords + word) * 16;
  }
  __device__ __forceinline__ std::uint64_t* pre_word(int wave, int token, int stream) const {
    return reinterpret_cast<std::uint64_t*>(a.exchange + HcExchange::kPre) +
           slot(wave, token) * kHcStreams + stream;
  }
  __device__ __forceinline__ char* norm_word(int wave, int token, int slice) const {
    return a.exchange + HcExchange::kNorms + (slot(wave, token) * a.slices + slice) * 16;
  }
  // first_tag() for workers, who have no register for it while fn comes: the fetcher has it.
  __device__ __forceinline__ std::uint32_t fetched_tag() const {
    mbarrier_wait(tag_there(), 0u);
    return *shared_tag();
  }

  // ---- before all begin ------------------------------------------------------------------------------------------------

  // By a warp that loads nothing: the fence waits for the loads of whoever asks for it.
  __device__ __forceinline__ void make_barriers() const {
    for (int i = lane; i < HcSplitLayout::kBarriers - 1; i += 32) {
      std::uint32_t count = 1u;
      if (i < kQueue) count = static_cast<std::uint32_t>(a.workers);
      if (i >= kQueue && i < kQueue + kHcQueue) count = 32u;           // queue_full
      if (i >= kPre && i < kPre + kHcRing) count = 32u;                // pre_there
      if (i >= kPre + kHcRing && i < kPre + 2 * kHcRing) count = 32u;  // weights_there
      if (i >= kPre + 2 * kHcRing && i < kPre + 3 * kHcRing)
        count = static_cast<std::uint32_t>(a.workers);                     // mixed
      if (kTail && i >= kPre + 3 * kHcRing && i < kTag) count = kTailers;  // empty
      mbarrier_init(bar(i), count);
    }
    mbarrier_init_fence();
  }

  // What no copy fills is multiplied by zeros, and must not be NaN.
  __device__ __forceinline__ void clear_behind_width() const {
    const int packets = (a.slice - width) / 8;
    for (int i = static_cast<int>(threadIdx.x); i < kStages * kHcTile * kHcStreams * packets;
         i += static_cast<int>(blockDim.x)) {
      const int place = i / packets;
      *reinterpret_cast<uint4*>(
          stage(place / (kHcTile * kHcStreams)) + place / kHcStreams % kHcTile * a.layout.row +
          place % kHcStreams * a.slice * 2 + (width + (i - place * packets) * 8) * 2) =
          make_uint4(0u, 0u, 0u, 0u);
    }
  }

  // ---- who finishes a token ------------------------------------------------------------------------------------------

  __device__ __forceinline__ void skip_to_one(Finished& f) const {
    while (f.wave < waves && f.token >= tokens_of(f.wave)) {
      ++f.wave;
      const int turn = static_cast<int>(static_cast<std::int64_t>(f.wave) * kHcTile % a.slices);
      f.token = part >= turn ? part - turn : part - turn + a.slices;
    }
  }
  __device__ __forceinline__ Finished first_finished() const {
    Finished f = {0, part};
    skip_to_one(f);
    return f;
  }
  __device__ __forceinline__ void advance(Finished& f) const {
    f.token += a.slices;
    skip_to_one(f);
  }
};

}  // namespace device
}  // namespace nvfp4j
