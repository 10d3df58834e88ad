// SPDX-License-Identifier: Apache-2.0
// Where hc_pre_split keeps what: in shared memory, and in the workspace that its thread blocks share. For host and device code.
#pragma once
#include <cstdint>

namespace nvfp4j {

inline constexpr int kHcTile = 16;    // tokens that a thread block works on at a time
inline constexpr int kHcStreams = 4;  // n
inline constexpr int kHcMixes = 24;   // n * (n + 2)
inline constexpr int kHcMixWords =
    9;  // 16-byte words of a token's sums: mixes j, 8 + j and 16 + j for j = 0 .. 7, and the sum of squares
inline constexpr int kHcRing = 4;         // tiles whose words are in flight
inline constexpr int kHcMaxBlocks = 160;  // thread blocks of a grid
inline constexpr int kHcQueue = 8;        // logits on their way to Sinkhorn

enum class HcKind { kHead, kPre, kPostPre, kPostPreTail };  // the last: with norm or quantisation

constexpr bool hc_has_post(HcKind kind) {
  return kind == HcKind::kPostPre || kind == HcKind::kPostPreTail;
}
// Of a worker's four steps, those whose smallest parts of fn wait in shared memory: registers are short.
constexpr int hc_parked_steps(HcKind kind) {
  return kind == HcKind::kPostPreTail ? 4 : hc_has_post(kind) ? 3 : 2;
}
// Tiles between a tile's sums and its mixing: a way through two other thread blocks.
constexpr int hc_lag(HcKind kind) {
  return kind == HcKind::kPostPreTail ? 1 : kind == HcKind::kPostPre ? 2 : 3;
}
// Tiles that are asked for ahead.
inline constexpr int kHcAhead = 2;
// And one whose rows wait for their norms.
constexpr int hc_stages(HcKind kind) {
  return hc_lag(kind) + kHcAhead + (kind == HcKind::kPostPreTail ? 1 : 0);
}
static_assert(hc_lag(HcKind::kPre) < kHcRing && hc_stages(HcKind::kPostPreTail) <= kHcRing);

// Of a thread block's dynamic shared memory: offsets in bytes, behind its mbarriers.
struct HcSplitLayout {
  // Of the sums and of the queue two; of pre, of the weights of the module before, of mixed and of free stages; of the first tag, and the tag itself.
  static constexpr int kBarriers = 2 * 2 + 2 * kHcQueue + 4 * kHcRing + 2;
  int tiles;
  int row;  // of a token in a stage: its columns of the four streams, and 32 bytes that keep rows on different banks, of which its `pre` has 16
  int pre;  // in a row
  int stage;    // a tile
  int sub;      // in a stage (hc_post_pre): the module's result
  int weights;  // hc_post_pre: of each token its comb and post, a ring
  int sums;  // of each worker, twice: mixes [row tile][token][8], and behind all of them the sums of squares [worker][token]
  int sums_half;
  int parts;  // of gathering warps, twice
  int queue;
  int squares;  // of the collapsed rows' blocks, a ring (norm, quantisation)
  int parked;
  int total;

  static constexpr int align(int bytes) { return (bytes + 127) / 128 * 128; }

  static constexpr HcSplitLayout of(HcKind kind, int columns, int workers, int gatherers) {
    const bool post = hc_has_post(kind);
    HcSplitLayout l{};
    l.tiles = align(8 * kBarriers);
    l.pre = 8 * columns;
    l.row = l.pre + 32;
    l.sub = kHcTile * l.row;
    l.stage = align(l.sub + (post ? kHcTile * 2 * columns : 0));
    l.weights = l.tiles + hc_stages(kind) * l.stage;
    l.sums = l.weights + (post ? kHcRing * kHcTile * kWeights : 0);
    l.sums_half = workers * kHcTile * (kHcMixes + 1) * 4;
    l.parts = l.sums + align(2 * l.sums_half);
    l.queue = l.parts + align(2 * gatherers * 3 * kHcMixWords * 8);
    l.squares = l.queue + kHcQueue * 16 * 4;
    l.parked = l.squares + (kind == HcKind::kPostPreTail ? kHcRing * workers * kHcTile * 8 : 0);
    l.total = l.parked + workers * hc_parked_steps(kind) * (kHcMixes / 8) * 256;
    return l;
  }

  static constexpr int kWeights = 80;  // bytes of a token's comb and post
};

// In the workspace, from kWorkspaceHcAt on. Every word carries the tag of the tile that it is of; tags go on from launch to launch, so that words that others left behind are of no tile.
struct HcExchange {
  // One a group of thread blocks, all the same between launches: the last tag given.
  static constexpr std::int64_t kEpochs = 0;
  // [ring][group][token of the tile][kHcStreams] of 8 bytes.
  static constexpr std::int64_t kPre = 8 * kHcMaxBlocks;
  // From here to the end of these areas all words have 16 bytes, whichever kernel writes them: a tag is always in the same place.
  static constexpr std::int64_t kWords =
      kPre + std::int64_t{kHcRing} * kHcMaxBlocks * kHcTile * kHcStreams * 8;
  // [ring][group][token of the tile][slice][kHcMixWords]
  static constexpr std::int64_t kSums = kWords;
  // [ring][group][token of the tile][slice]
  static constexpr std::int64_t kNorms =
      kSums + std::int64_t{kHcRing} * kHcMaxBlocks * kHcTile * kHcMixWords * 16;
  static constexpr std::int64_t kBytes =
      kNorms + std::int64_t{kHcRing} * kHcMaxBlocks * kHcTile * 16;
};

}  // namespace nvfp4j
