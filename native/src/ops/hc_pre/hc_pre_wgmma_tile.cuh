// SPDX-License-Identifier: Apache-2.0
// hc_post_pre's mixers in hc_pre_wgmma: what a lane has of a tile, taken from its slots to registers. A warp has eight tokens, of which eight lanes have one at a time: a line of L2.
#pragma once
#include "ops/hc_pre/hc_pre_wgmma_places.cuh"

namespace nvfp4j::device {

template <HcKind KIND, int GRANULES>
struct HcWgmmaTiles : HcWgmmaPlaces<KIND, GRANULES> {
  using Base = HcWgmmaPlaces<KIND, GRANULES>;
  using Base::a;
  using Base::empty;
  using Base::kGranuleBytes;
  using Base::kGranules;
  using Base::kSlot;
  using Base::lane;
  using Base::packet_at;
  using Base::slot;
  using typename Base::Slot;

  static constexpr int kTokens = 2;  // of a lane
  using Tile = uint4[kTokens][kGranules][kHcStreams];

  // A lane's part of each tile.
  struct Lane {
    int first;                  // token; the second is the fourth behind it
    int column;                 // of the first granule, of the slice
    std::uint32_t at[kTokens];  // in the first slot; of the second granule kGranuleBytes further on
    __device__ __forceinline__ int token(int h) const { return first + 4 * h; }
    // Of a tile of so many tokens.
    __device__ __forceinline__ bool has(int h, int count) const { return first < count - 4 * h; }
  };
  __device__ __forceinline__ Lane lane_of(int mixer) const {
    const int first = mixer * 8 + (lane >> 3);
    const std::uint32_t ring = slot(0);
    Lane l = {first,
              (lane & 7) * 8,
              {ring + packet_at(first, lane & 7), ring + packet_at(first + 4, lane & 7)}};
    // Or they are computed again and again.
    asm volatile("" : "+r"(l.at[0]), "+r"(l.at[1]));
    return l;
  }

  // Of a slot, behind the first.
  static __device__ __forceinline__ std::uint32_t offset(const Slot& s) {
    return static_cast<std::uint32_t>(s.index * kSlot);
  }

  // From the slots of the tile's streams, which are free then. `s` goes on to those behind them.
  __device__ __forceinline__ void take(const Lane& l, Slot& s, Tile& x) const {
#pragma unroll
    for (int j = 0; j < kHcStreams; ++j) {
      const std::uint32_t from = offset(s.behind(j, a.layout.slots));
#pragma unroll
      for (int h = 0; h < kTokens; ++h) {
#pragma unroll
        for (int g = 0; g < kGranules; ++g)
          x[h][g][j] =
              load_shared_16(from + l.at[h] + static_cast<std::uint32_t>(g * kGranuleBytes));
      }
    }
    // Without it the tensor loads that an arrival lets begin may overtake the loads above.
    fence_async_proxy();
    __syncwarp();
    if (lane < kHcStreams) mbarrier_arrive(empty(s.behind(lane, a.layout.slots).index));
    s = s.behind(kHcStreams, a.layout.slots);
  }
};

}  // namespace nvfp4j::device
