// SPDX-License-Identifier: Apache-2.0
// Where hc_pre_wgmma keeps what: in shared memory, and in the workspace that its thread blocks share. For host and device code.
#pragma once
#include <algorithm>
#include <cstdint>

#include "ops/hc_pre/hc_pre_layout.hpp"

namespace nvfp4j {

inline constexpr int kHcWgmmaTile = 64;  // tokens that a thread block works on at a time
// Tiles whose words are in flight.
constexpr int hc_wgmma_ring(HcKind kind) { return hc_has_post(kind) ? 3 : 5; }
template <HcKind KIND>
inline constexpr int kHcWgmmaRing = hc_wgmma_ring(KIND);
// Of hc_pre: tiles between a tile's squares and its rows, for which it is read again. With more tiles on their way, in slots or between, L2 does not have it any more.
inline constexpr int kHcWgmmaPreLag = 3;
// A granule: columns that are a line of L2. Where two multiprocessors write parts of one line, memory takes half as long again.
inline constexpr int kHcGranule = 64;
inline constexpr int kHcWgmmaMaxSlice = 2 * kHcGranule;  // columns
inline constexpr int kHcWgmmaMaxBlocks = 144;            // thread blocks of a grid
inline constexpr int kHcWgmmaMaxSlots = 14;
// Tiles that a thread block's own warps tell each other of.
inline constexpr int kHcWgmmaPhases = 8;
inline constexpr int kHcWgmmaMixWords = 8;  // of a token's sums over a slice, three mixes each
// Warps that mix; four others multiply, and four do the rest.
constexpr int hc_wgmma_mixers(HcKind kind) { return hc_has_post(kind) ? 8 : 16; }
constexpr int hc_wgmma_threads(HcKind kind) { return 32 * (8 + hc_wgmma_mixers(kind)); }
template <HcKind KIND>
inline constexpr int kHcWgmmaMixers = hc_wgmma_mixers(KIND);
template <HcKind KIND>
inline constexpr int kHcWgmmaThreads = hc_wgmma_threads(KIND);
// A slot has what comes to shared memory at a time: a slice's columns of one stream of a tile, or of the results of the module before.
constexpr int hc_wgmma_slots_of_tile(HcKind kind) { return hc_has_post(kind) ? 5 : 4; }

// Of a thread block's dynamic shared memory: offsets in bytes, behind its mbarriers. Slots and rows are in granules, [token][128 bytes], with the 128-byte swizzle; fn is in pieces of eight columns, [row of its parts][16 bytes].
struct HcWgmmaLayout {
  // Full and empty slots; new residuals, of two granules; sums; collapsed rows, full and empty; the queue. And the tag.
  static constexpr int kBarriers = 2 * kHcWgmmaMaxSlots + 3 * kHcWgmmaPhases + 4 + 2 * kHcQueue + 1;
  static constexpr int kWeights = 80;  // bytes of a token
  static constexpr int kGranuleBytes = kHcWgmmaTile * kHcGranule * 2;
  int slots;  // of the ring
  int slot;   // bytes
  int fn;
  int ring;
  int rows;          // collapsed rows of two tiles (norm, quantisation)
  int norm_weights;  // F32, of the slice's columns
  int weights;       // hc_post_pre: of each token comb and post of the module before
  int queue;
  int total;

  static constexpr int align(int bytes) { return (bytes + 1023) / 1024 * 1024; }

  // `available`: bytes of shared memory. No slots: too few.
  static constexpr HcWgmmaLayout of(HcKind kind, int columns, int available) {
    const bool tail = kind == HcKind::kPostPreTail;
    HcWgmmaLayout l{};
    l.slot = columns / kHcGranule * kGranuleBytes;
    l.queue = (8 * kBarriers + 15) / 16 * 16;
    l.norm_weights = l.queue + kHcQueue * 16 * 4;
    l.weights = l.norm_weights + (tail ? columns * 4 : 0);
    l.fn = align(l.weights + (hc_has_post(kind) ? kHcWgmmaTile * kWeights : 0));
    l.rows = l.fn + align(kHcStreams * columns / 8 * 3 * kHcMixes * 16);
    l.ring = l.rows + (tail ? 2 * l.slot : 0);
    // Words of a tile take the places of those of tile w, the ring's length before it, which nobody reads any more once mixers of each thread block have mixed w. That is so for
    // - hc_pre: it comes to the slots of the tile before it, at which mixers look only when they have mixed the one that is kHcWgmmaPreLag + 1 before that. (So sums. A warp that sends squares has mixed the same tokens of w; `pre` is made of all of these.)
    // - hc_post_pre: mixers make it after that
    // - words of rows' norms: mixers make its rows only when those of w + 1 are written.
    static_assert(kHcWgmmaPreLag + 2 <= hc_wgmma_ring(HcKind::kPre));
    const int fit = (available - l.ring) / l.slot;
    if (hc_has_post(kind)) {
      l.slots = std::min(fit, kHcWgmmaMaxSlots);
      if (l.slots <= hc_wgmma_slots_of_tile(kind)) l.slots = 0;
    } else {
      l.slots = hc_wgmma_slots_of_tile(kind);
      if (l.slots > fit) l.slots = 0;
    }
    l.total = l.ring + l.slots * l.slot;
    return l;
  }
};
// A thread block finishes tokens of one in so many tiles. Who waits for a tile's sums is never eight tiles behind them: those of w + ring come only when `pre` of w has.
static_assert(kHcWgmmaMaxBlocks <= kHcWgmmaPhases * kHcWgmmaTile);
static_assert(hc_wgmma_ring(HcKind::kPostPre) <= hc_wgmma_ring(HcKind::kPre) &&
              hc_wgmma_ring(HcKind::kPre) < kHcWgmmaPhases);

// In the workspace, in the same places as the words of hc_pre_split and with the same tags. Words have 16 bytes where those of hc_pre_split are.
struct HcWgmmaExchange {
  static constexpr std::int64_t kPlaces = std::int64_t{hc_wgmma_ring(HcKind::kPre)} *
                                          kHcWgmmaMaxBlocks *
                                          kHcWgmmaTile;  // [ring][group][token][slice]
  // [kPlaces][kHcWgmmaMixWords]
  static constexpr std::int64_t kMixes = HcExchange::kWords;
  // [kPlaces]
  static constexpr std::int64_t kNorms = kMixes + kPlaces * kHcWgmmaMixWords * 16;
  // [ring][group][token][2]
  static constexpr std::int64_t kPre = kNorms + kPlaces * 16;
  // [ring][group][token]
  static constexpr std::int64_t kRowNorms = kPre + kPlaces * 2 * 16;
  // [kPlaces], of 8 bytes.
  static constexpr std::int64_t kSquares = kRowNorms + kPlaces * 16;
  static_assert(kSquares >= HcExchange::kBytes);
  static constexpr std::int64_t kBytes = kSquares + kPlaces * 8;
};

}  // namespace nvfp4j
