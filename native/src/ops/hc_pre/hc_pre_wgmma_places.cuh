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

// Of slots: [stream][block of 16 columns][token][16 columns].
struct HcWgmmaMaps {
  CUtensorMap x, sub;
};

namespace device {

template <HcKind KIND>
struct HcWgmmaPlaces : HcGroup<HcWgmmaArgs, kHcWgmmaTile> {
  using Base = HcGroup<HcWgmmaArgs, kHcWgmmaTile>;
  using Base::a;
  using Base::bar;
  using Base::epoch;
  using Base::first_token;
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
  static constexpr int kBlock = kTile * 32;           // bytes: 16 columns of a slot
  static constexpr int kFnPiece = 3 * kHcMixes * 16;  // bytes: eight columns of fn

  const HcWgmmaMaps& maps;

  __device__ __forceinline__ HcWgmmaPlaces(const HcWgmmaArgs& a, const HcWgmmaMaps& maps,
                                           char* smem)
      : Base(a, smem), maps(maps) {}

  // ---- shared memory -----------------------------------------------------------------------------------------------------

  __device__ __forceinline__ std::uint64_t* full(int slot) const { return bar(slot); }
  __device__ __forceinline__ std::uint64_t* empty(int slot) const {
    return bar(kHcWgmmaMaxSlots + slot);
  }
  static constexpr int kMade = 2 * kHcWgmmaMaxSlots;
  __device__ __forceinline__ std::uint64_t* made(int wave) const {
    return bar(kMade + wave % kHcWgmmaPhases);
  }
  static constexpr int kSent = kMade + kHcWgmmaPhases;
  __device__ __forceinline__ std::uint64_t* sent(int wave) const {
    return bar(kSent + wave % kHcWgmmaPhases);
  }
  // Nobody asks other thread blocks for what a tile's sums become before it has sent its own: what cannot be there is not asked for again and again.
  __device__ __forceinline__ void await_own_sums(int wave) const {
    mbarrier_wait(sent(wave), static_cast<std::uint32_t>(wave) / kHcWgmmaPhases & 1u);
  }
  static constexpr int kRows = kSent + kHcWgmmaPhases;
  __device__ __forceinline__ std::uint64_t* rows_full(int wave) const {
    return bar(kRows + (wave & 1));
  }
  __device__ __forceinline__ std::uint64_t* rows_empty(int wave) const {
    return bar(kRows + 2 + (wave & 1));
  }
  static constexpr int kQueue = kRows + 4;
  __device__ __forceinline__ std::uint64_t* queue_full(int n) const {
    return bar(kQueue + n % kHcQueue);
  }
  __device__ __forceinline__ std::uint64_t* queue_empty(int n) const {
    return bar(kQueue + kHcQueue + n % kHcQueue);
  }
  static constexpr int kTag = kQueue + 2 * kHcQueue;
  static_assert(kTag + 1 == HcWgmmaLayout::kBarriers);
  __device__ __forceinline__ std::uint32_t* shared_tag() const {
    return reinterpret_cast<std::uint32_t*>(bar(kTag));
  }

  // By one warp.
  __device__ __forceinline__ void make_barriers() const {
    for (int i = lane; i < kTag; i += 32) {
      std::uint32_t count = 4u;                                        // warps
      if (i < kHcWgmmaMaxSlots || i >= kQueue + kHcQueue) count = 1u;  // full, queue_empty
      if (i >= kQueue && i < kQueue + kHcQueue) count = 32u;           // queue_full
      if ((i >= kMade && i < kSent) || (i >= kRows && i < kQueue)) count = 128u;  // made, rows
      mbarrier_init(bar(i), count);
    }
    mbarrier_init_fence();
  }

  __device__ __forceinline__ std::uint32_t slot(int s) const {
    return smem_address(smem) + static_cast<std::uint32_t>(a.layout.ring + s * a.layout.slot);
  }
  __device__ __forceinline__ std::uint32_t rows(int wave) const {
    return smem_address(smem) +
           static_cast<std::uint32_t>(a.layout.rows + (wave & 1) * a.layout.slot);
  }
  __device__ __forceinline__ std::uint32_t fn() const {
    return smem_address(smem) + static_cast<std::uint32_t>(a.layout.fn);
  }
  __device__ __forceinline__ float* norm_weights() const {
    return reinterpret_cast<float*>(smem + a.layout.norm_weights);
  }
  __device__ __forceinline__ float4* pre() const {
    return reinterpret_cast<float4*>(smem + a.layout.pre);
  }
  __device__ __forceinline__ double* parts(int n) const {
    return reinterpret_cast<double*>(smem + a.layout.parts) + (n & 1) * 32;
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
  };

  // Sixteen tokens of a warp, in two halves of lanes: these have eight columns each of a block.
  struct Lane {
    int token;  // of the tile
    int half;
    std::uint32_t offset;  // in a block
  };
  __device__ __forceinline__ Lane lane_of(int quarter) const {
    const int token = quarter * 16 + (lane & 15);
    const int half = lane >> 4;
    return {token, half, static_cast<std::uint32_t>(token * 32 + (half ^ (token >> 2 & 1)) * 16)};
  }

  // ---- the exchange ------------------------------------------------------------------------------------------------------

  __device__ __forceinline__ int place(int wave, int token) const {
    return (wave % kHcWgmmaRing * a.groups + group) * kTile + token;
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
