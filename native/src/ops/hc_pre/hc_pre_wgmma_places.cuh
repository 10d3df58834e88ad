// SPDX-License-Identifier: Apache-2.0
// hc_pre_wgmma: what is where in shared memory and in the words that thread blocks send each other, and who finishes which token.
#pragma once
#include <cuda.h>

#include "device/cluster.cuh"
#include "device/wgmma.cuh"
#include "ops/hc_pre/hc_pre_exchange.cuh"
#include "ops/hc_pre/hc_pre_group.cuh"
#include "ops/hc_pre/hc_pre_target.cuh"
#include "ops/hc_pre/hc_pre_wgmma_layout.hpp"

namespace nvfp4j {

struct HcWgmmaArgs : HcPreTarget {
  int slice, slices, groups;
  HcWgmmaLayout layout;
  char* exchange;
};

// [stream][token][column]
struct HcWgmmaMaps {
  CUtensorMap x, sub;
};

namespace device {

template <HcKind KIND, int GRANULES>
struct HcWgmmaPlaces : HcGroup<HcWgmmaArgs, kHcWgmmaTile> {
  using Base = HcGroup<HcWgmmaArgs, kHcWgmmaTile>;
  using Base::a;
  using Base::bar;
  using Base::group;
  using Base::lane;
  using Base::part;
  using Base::smem;
  using Base::tokens_of;
  using Base::waves;
  using typename Base::Finished;
  static constexpr bool kTail = KIND == HcKind::kPostPreTail;
  static constexpr bool kPost = kTail || KIND == HcKind::kPostPre;
  static constexpr int kGatherers = kTail ? 1 : 2;  // warps
  static constexpr int kTile = kHcWgmmaTile;
  static constexpr int kMixers = kHcWgmmaMixers<KIND>;  // warps
  static constexpr int kMultipliers = 4;                // warps
  static constexpr bool kPatient = true;                // HcBalancer
  static constexpr int kGranules = GRANULES;            // of a slice
  static constexpr int kSlice = GRANULES * kHcGranule;
  static constexpr int kGranuleBytes = HcWgmmaLayout::kGranuleBytes;
  static constexpr int kSlot = GRANULES * kGranuleBytes;
  static constexpr int kFnPiece = 3 * kHcMixes * 16;  // bytes: eight columns of fn

  const HcWgmmaMaps& maps;
  std::uint32_t base;  // of the shared memory

  __device__ __forceinline__ HcWgmmaPlaces(const HcWgmmaArgs& a, const HcWgmmaMaps& maps,
                                           char* smem)
      : Base(a, smem), maps(maps), base(smem_address(smem)) {
    // Or the compiler asks a special register for it each time, which takes as long as a load.
    asm volatile("" : "+r"(base));
  }

  // ---- shared memory -----------------------------------------------------------------------------------------------------

  // mbarriers
  __device__ __forceinline__ std::uint32_t place_of(int i) const {
    return base + static_cast<std::uint32_t>(8 * i);
  }
  __device__ __forceinline__ std::uint32_t full(int slot) const { return place_of(slot); }
  __device__ __forceinline__ std::uint32_t empty(int slot) const {
    return place_of(kHcWgmmaMaxSlots + slot);
  }
  // A granule of all streams of a new residual.
  static constexpr int kMade = 2 * kHcWgmmaMaxSlots;
  __device__ __forceinline__ std::uint32_t made(int wave, int granule) const {
    return place_of(kMade + granule * kHcWgmmaPhases + wave % kHcWgmmaPhases);
  }
  static constexpr int kSent = kMade + kHcWgmmaMaxSlice / kHcGranule * kHcWgmmaPhases;
  __device__ __forceinline__ std::uint32_t sent(int wave) const {
    return place_of(kSent + wave % kHcWgmmaPhases);
  }
  // Nobody asks other thread blocks for what a tile's sums become before it has sent its own: what cannot be there is not asked for again and again.
  __device__ __forceinline__ void await_own_sums(int wave) const {
    mbarrier_wait(sent(wave), static_cast<std::uint32_t>(wave) / kHcWgmmaPhases & 1u);
  }
  static constexpr int kRows = kSent + kHcWgmmaPhases;
  __device__ __forceinline__ std::uint32_t rows_full(int wave) const {
    return place_of(kRows + (wave & 1));
  }
  __device__ __forceinline__ std::uint32_t rows_empty(int wave) const {
    return place_of(kRows + 2 + (wave & 1));
  }
  static constexpr int kQueue = kRows + 4;
  __device__ __forceinline__ std::uint32_t queue_full(int n) const {
    return place_of(kQueue + n % kHcQueue);
  }
  __device__ __forceinline__ std::uint32_t queue_empty(int n) const {
    return place_of(kQueue + kHcQueue + n % kHcQueue);
  }
  static constexpr int kTag = kQueue + 2 * kHcQueue;
  static_assert(kTag + 1 == HcWgmmaLayout::kBarriers);
  __device__ __forceinline__ std::uint32_t* shared_tag() const {
    return reinterpret_cast<std::uint32_t*>(bar(kTag));
  }

  // By one warp.
  __device__ __forceinline__ void make_barriers() const {
    for (int i = lane; i < kTag; i += 32) {
      std::uint32_t count = 1u;                                                // full, queue_empty
      if (i >= kHcWgmmaMaxSlots && i < kMade) count = kMixers + kMultipliers;  // empty
      if (i >= kMade && i < kSent) count = kMixers;
      if (i >= kSent && i < kRows) count = kMultipliers;
      if (i >= kRows && i < kQueue) count = i < kRows + 2 ? kMixers : kMultipliers;
      if (i >= kQueue && i < kQueue + kHcQueue) count = 32u;  // queue_full
      mbarrier_init(place_of(i), count);
    }
    mbarrier_init_fence();
    __syncwarp();
  }

  __device__ __forceinline__ std::uint32_t slot(int s) const {
    return base + static_cast<std::uint32_t>(a.layout.ring + s * kSlot);
  }
  __device__ __forceinline__ std::uint32_t rows_behind_ring(int wave) const {
    return static_cast<std::uint32_t>(a.layout.rows - a.layout.ring + (wave & 1) * kSlot);
  }
  __device__ __forceinline__ std::uint32_t rows(int wave) const {
    return slot(0) + rows_behind_ring(wave);
  }
  __device__ __forceinline__ std::uint32_t fn() const {
    return base + static_cast<std::uint32_t>(a.layout.fn);
  }
  __device__ __forceinline__ float* norm_weights() const {
    return reinterpret_cast<float*>(smem + a.layout.norm_weights);
  }
  // Of the module before, a token's.
  __device__ __forceinline__ std::uint32_t weights_of(int token) const {
    return base + static_cast<std::uint32_t>(a.layout.weights + token * HcWgmmaLayout::kWeights);
  }

  // A place in the ring of slots, and the parity of its barriers' current phase.
  struct Slot {
    int index = 0;
    std::uint32_t parity = 0u;
    __device__ __forceinline__ void advance(int slots) {
      if (++index == slots) {
        index = 0;
        parity ^= 1u;
      }
    }
    __device__ __forceinline__ Slot behind(int n, int slots) const {
      const bool again = index + n >= slots;
      return {index + n - (again ? slots : 0), parity ^ (again ? 1u : 0u)};
    }
  };
  // Where a slot, or rows, have eight columns of a token, the packet-th of a granule.
  static __device__ __forceinline__ std::uint32_t packet_at(int token, int packet) {
    return static_cast<std::uint32_t>(token * 128 + (packet ^ (token & 7)) * 16);
  }

  // ---- the exchange ------------------------------------------------------------------------------------------------------

  __device__ __forceinline__ int place(int wave, int token) const {
    return (wave % kHcWgmmaRing<KIND> * a.groups + group) * kTile + token;
  }
  __device__ __forceinline__ char* words(std::int64_t area, int place) const {
    return a.exchange + area + static_cast<std::int64_t>(place) * 16;
  }
  __device__ __forceinline__ char* mix_words(int wave, int token, int slice) const {
    return words(HcWgmmaExchange::kMixes,
                 (place(wave, token) * a.slices + slice) * kHcWgmmaMixWords);
  }
  __device__ __forceinline__ std::uint64_t* square_words(int wave, int token, int slice) const {
    return reinterpret_cast<std::uint64_t*>(a.exchange + HcWgmmaExchange::kSquares) +
           place(wave, token) * a.slices + slice;
  }
  __device__ __forceinline__ char* norm_words(int wave, int token, int slice) const {
    return words(HcWgmmaExchange::kNorms, place(wave, token) * a.slices + slice);
  }
  __device__ __forceinline__ char* pre_words(int wave, int token) const {
    return words(HcWgmmaExchange::kPre, place(wave, token) * 2);
  }
  __device__ __forceinline__ char* row_norm_word(int wave, int token) const {
    return words(HcWgmmaExchange::kRowNorms, place(wave, token));
  }
  // Of a tile's words. The first is there once all threads of the thread block have met.
  __device__ __forceinline__ std::uint32_t tag(int wave) const {
    return *shared_tag() + static_cast<std::uint32_t>(wave);
  }

  // ---- who finishes a token ----------------------------------------------------------------------------------------------

  __device__ __forceinline__ void skip_to_one(Finished& f) const {
    f.wave += f.token / kTile;
    f.token %= kTile;
    // Only the last tile has fewer tokens.
    if (f.wave == waves - 1 && f.token >= tokens_of(f.wave)) f.wave = waves;
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
