// SPDX-License-Identifier: Apache-2.0
// The matrix products for few tokens on Hopper, with prepared weights: M up to 16, or experts with few rows.
//
// Bound by memory: every byte of W is read once, at the rate of a kernel that does nothing else. Tokens are the narrow side of mma.m16n8k16 (swap-AB): a warp decodes a tile of 16 rows of W straight into the registers of the
// 16-row operand. A thread block has WN tiles and, for each, WK warps that deal out the chunks of K round robin; the WK sums are added through shared memory in the order of the warps, once: no atomics, no exchange between
// thread blocks, no workspace.
//
// Each warp has a ring of its own in shared memory, filled by bulk copies of one chunk (1152 consecutive bytes: codes and scales), so that no warp waits for another in the loop. Rings are shallow on purpose: about 30 KB in
// flight on an SM are enough, and more makes the memory slower. One more warp keeps a ring of pieces of the tokens' rows (kDecodePiece columns), which all warps read with ldmatrix; a row is 16 bytes longer there than it is, for
// the banks.
//
// Measured on an H100 80GB HBM3 (run-bench, commit e4f24d5c9edf), M = 1, plain launches: w13 6144x7168 12.4 us, 75 % of a kernel that only reads; o_b 7168x16384 25.7 us, 88 %; q_b 65536x1536 22.9 us, 86 %.
// What is missing is latency: the first weights and tokens arrive after 1.2 us, the last chunks' arithmetic and the sum of the warps take 1 us.
//
// A slot is filled again only after the tensor core instructions that used it have been issued: those wait for their registers, so the slot has been read then. (A copy issued right behind the loads may overtake them.)
#pragma once
#include "ops/gemm/gemm_operands.cuh"
#include "ops/gemm/gemm_tiles.cuh"

namespace nvfp4j {

// Columns of a piece of the tokens.
inline constexpr int kDecodePiece = 1024;

template <int WN_, int WK_, int NT_, int STAGES_, int PIECES_, bool NVFP4_ = false>
struct DecodeConfig {
  static constexpr int WN = WN_, WK = WK_, NT = NT_, kStages = STAGES_, kPieces = PIECES_;
  static constexpr bool kNvfp4 = NVFP4_;
  static constexpr int kWarps = WN * WK;
  static constexpr int kTokenThreads = NVFP4_ ? 128 : 32;  // BF16 is copied, NVFP4 decoded
  static constexpr int kThreads = 32 * kWarps + kTokenThreads;
  static constexpr int kTokens = 8 * NT;
  static constexpr int kRing = kWarps * kStages * prepared::kChunkBytes;
  static constexpr int kPitch = kDecodePiece * 2 + 16;
  static constexpr int kSums = kWarps * kTokens * 17 * 4;
  static constexpr int kBars = kWarps * kStages + 2 * kPieces;
  // Few tokens need less room: a piece has the rows that there are.
  static constexpr int bytes(int rows, bool grouped) {
    return kRing + kPieces * rows * kPitch + kSums + 8 * kBars +
           (grouped ? device::kTileListBytes : 0);
  }
};

namespace device {

// The warps of the tokens decode a piece of NVFP4 rows.
template <class C>
__device__ __forceinline__ void decode_piece(const GemmProblem& p, const TokenTile& tile,
                                             int column, int columns, unsigned char* piece) {
  const int thread = static_cast<int>(threadIdx.x) - 32 * C::kWarps;
  const int blocks = columns / 16;
  const std::int64_t offset =
      (p.batched ? static_cast<std::int64_t>(tile.group) * p.k : 0) + column;
  for (int i = thread; i < blocks * tile.count; i += C::kTokenThreads) {
    const int r = i / blocks, b = i % blocks;
    const std::int64_t m = tile.first + r;
    const auto* q =
        reinterpret_cast<const std::uint32_t*>(p.a + m * p.a_stride + offset / 2 + 8 * b);
    const std::uint32_t scale = load(p.a_scales + m * (p.a_stride / 8) + offset / 16 + b);
    uint4 first, second;
    expand_block(make_uint2(load(q), load(q + 1)), scale, first, second);
    auto* to = reinterpret_cast<uint4*>(piece + r * C::kPitch + 32 * b);
    to[0] = first;
    to[1] = second;
  }
}

// `piece_rows`: the rows that a piece has room for, at least those of any tile.
template <class C, bool GROUPED, bool SWIGLU>
__global__ void __launch_bounds__(C::kThreads, 1)
    gemm_decode_kernel(const __grid_constant__ GemmProblem p, int row_blocks, int token_tiles,
                       int piece_rows) {
  constexpr int WN = C::WN, WK = C::WK, NT = C::NT, STAGES = C::kStages;
  constexpr int kTokens = C::kTokens;
  constexpr int kPitch = 17;
  constexpr int kPieceChunks = kDecodePiece / prepared::kChunkColumns;
  static_assert(!SWIGLU || WN % 2 == 0, "gate and up tiles come in pairs");
  static_assert(kPieceChunks % WK == 0 || WK % kPieceChunks == 0, "a warp's turns repeat");
  extern __shared__ __align__(128) unsigned char shared[];
  unsigned char* pieces = shared + C::kRing;
  const int piece_bytes = piece_rows * C::kPitch;
  float* sums = reinterpret_cast<float*>(pieces + C::kPieces * piece_bytes);
  auto* bars = reinterpret_cast<std::uint64_t*>(reinterpret_cast<unsigned char*>(sums) + C::kSums);
  std::uint64_t* piece_full = bars + C::kWarps * STAGES;
  std::uint64_t* piece_empty = piece_full + C::kPieces;
  auto* tiles = reinterpret_cast<TokenTile*>(piece_empty + C::kPieces);
  int* counter = reinterpret_cast<int*>(tiles + kListedTiles);

  const int warp = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) >> 5, 0);
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const int chunks = p.k / prepared::kChunkColumns;
  const int all_tiles = p.n / 16;
  const int d_tiles = SWIGLU ? all_tiles / 2 : all_tiles;  // of 16 columns of D
  constexpr int kBlockTiles = SWIGLU ? WN / 2 : WN;
  unsigned char* my_ring = shared + warp * STAGES * prepared::kChunkBytes;
  std::uint64_t* my_bars = bars + warp * STAGES;

  if (lane == 0) {
    if (warp < C::kWarps) {
#pragma unroll
      for (int s = 0; s < STAGES; ++s) mbarrier_init(my_bars + s, 1);
    } else if (warp == C::kWarps) {
#pragma unroll
      for (int s = 0; s < C::kPieces; ++s) {
        mbarrier_init(piece_full + s, C::kNvfp4 ? C::kTokenThreads : 1);
        mbarrier_init(piece_empty + s, C::kWarps);
      }
    }
    mbarrier_init_fence();
  }
  wait_for_predecessor();
  int listed = token_tiles * (p.batched ? p.groups : 1);
  if constexpr (GROUPED) listed = list_grouped_tiles(p, kTokens, tiles, counter);
  const int jobs = listed * row_blocks;
  const auto tile_of = [&](int job) -> TokenTile {
    const int place = job / row_blocks;
    if constexpr (GROUPED) return tiles[place];
    const int at = place % token_tiles * kTokens;
    return {place / token_tiles, at, min(kTokens, static_cast<int>(p.m) - at)};
  };

  if (warp >= C::kWarps) {
    // ---- tokens ---------------------------------------------------------------------------------------------------
    if constexpr (!GROUPED) __syncthreads();
    const std::uint64_t policy = policy_evict_last();
    int slot = 0;
    std::uint32_t parity = 1;
    for (int job = static_cast<int>(blockIdx.x); job < jobs; job += static_cast<int>(gridDim.x)) {
      const TokenTile tile = tile_of(job);
      for (int column = 0; column < p.k; column += kDecodePiece) {
        const int columns = min(kDecodePiece, p.k - column);
        unsigned char* piece = pieces + slot * piece_bytes;
        mbarrier_wait(piece_empty + slot, parity);
        if constexpr (C::kNvfp4) {
          decode_piece<C>(p, tile, column, columns, piece);
          mbarrier_arrive(piece_full + slot);
        } else {
          if (lane == 0) mbarrier_expect(piece_full + slot, 2u * columns * tile.count);
          __syncwarp();
          if (lane < tile.count) {
            const char* row =
                p.a + static_cast<std::int64_t>(tile.first + lane) * p.a_stride +
                2 * ((p.batched ? static_cast<std::int64_t>(tile.group) * p.k : 0) + column);
            bulk_load(piece + lane * C::kPitch, row, 2u * columns, piece_full + slot, policy);
          }
        }
        if (++slot == C::kPieces) slot = 0, parity ^= 1u;
      }
    }
    return;
  }

  // Without the warps of the tokens, which are jobs ahead.
  const auto consumers_meet = [] { named_barrier(1, 32 * C::kWarps); };
  const int g = lane >> 2, t = lane & 3;
  const int wn = warp / WK, wk = warp % WK;
  // The tile of W that a warp has in a block of rows.
  const int own = SWIGLU ? wn % kBlockTiles : wn;
  const int half = SWIGLU ? wn / kBlockTiles * d_tiles : 0;
  const auto weights_of = [&](int job) {
    const int row_tile = min((job % row_blocks) * kBlockTiles + own, d_tiles - 1) + half;
    const int place = job / row_blocks;
    const int group = GROUPED ? tiles[place].group : place / token_tiles;
    return p.w + group * prepared::group_bytes(p.n, p.k) +
           (static_cast<std::int64_t>(row_tile) * chunks + wk) * prepared::kChunkBytes;
  };

  // What lane 0 asks for next.
  int next_job = static_cast<int>(blockIdx.x);
  int next_chunk = wk;
  const std::uint8_t* next = next_job < jobs ? weights_of(next_job) : nullptr;
  bool last_asked = false;
  const std::uint64_t policy = policy_evict_first();
  const auto fill = [&](int slot) {
    if (next_job >= jobs) return;
    mbarrier_expect(my_bars + slot, prepared::kChunkBytes);
    bulk_load(my_ring + slot * prepared::kChunkBytes, next, prepared::kChunkBytes, my_bars + slot,
              policy);
    next_chunk += WK;
    next += WK * prepared::kChunkBytes;
    if (next_chunk >= chunks) {
      next_job += static_cast<int>(gridDim.x);
      next_chunk = wk;
      if (next_job < jobs) {
        next = weights_of(next_job);
      } else {
        last_asked = true;
      }
    }
  };
  if (lane == 0) {
#pragma unroll
    for (int s = 0; s < STAGES; ++s) fill(s);
  }
  if constexpr (!GROUPED) __syncthreads();

  // The successor may start when a warp has asked for the last of its weights: sooner, its own would come between.
  if (warp == 0 && last_asked) start_successor();

  int slot = 0;
  std::uint32_t parity = 0;
  int piece = 0;
  std::uint32_t piece_parity = 0;
  bool first = true;
  for (int job = static_cast<int>(blockIdx.x); job < jobs; job += static_cast<int>(gridDim.x)) {
    const TokenTile tile = tile_of(job);
    // ldmatrix: lane 8i + r gives row r of matrix i, columns 8i to 8i + 7 of a half unit.
    std::uint32_t rows[NT];
#pragma unroll
    for (int j = 0; j < NT; ++j)
      rows[j] = smem_address(pieces) + min(8 * j + (lane & 7), tile.count - 1) * C::kPitch +
                (lane >> 3) * 16;
    // The scales of the thread's first result, asked for now: they come from far.
    float alpha[SWIGLU ? 2 : 1];
    {
      const int i = static_cast<int>(threadIdx.x);
      const int token = min(i / 16 % kTokens, tile.count - 1);
      const int n = min(((job % row_blocks) * kBlockTiles + i / (16 * kTokens)) * 16 + (i & 15),
                        16 * d_tiles - 1);
#pragma unroll
      for (int h = 0; h < (SWIGLU ? 2 : 1); ++h)
        alpha[h] = alpha_of(p, tile.group, tile.first + token, n + h * d_tiles * 16);
    }
    float acc[NT][4] = {};
    int chunk = wk;
    for (int begin = 0; begin < chunks; begin += kPieceChunks) {
      const int end = min(begin + kPieceChunks, chunks);
      mbarrier_wait(piece_full + piece, piece_parity);
      for (; chunk < end; chunk += WK) {
        // The slot of the chunk before this one has been read.
        if (!first && lane == 0) {
          fill(slot == 0 ? STAGES - 1 : slot - 1);
          if (warp == 0 && last_asked) start_successor();
        }
        first = false;
        __syncwarp();
        mbarrier_wait(my_bars + slot, parity);
        const std::uint32_t base = smem_address(my_ring + slot * prepared::kChunkBytes);
        uint4 codes[2];
        uint2 scales[2];
#pragma unroll
        for (int u = 0; u < 2; ++u) {
          codes[u] = load_shared_16(base + u * 512 + lane * 16);
          scales[u] = load_shared_8(base + prepared::kChunkCodes + u * 64 + g * 8);
        }
        const std::uint32_t column = piece * piece_bytes + (chunk - begin) * 256;
        std::uint32_t b[2][NT][8];
        const auto load_unit = [&](int u) {
#pragma unroll
          for (int j = 0; j < NT; ++j) {
            std::uint32_t (&r)[8] = b[u & 1][j];
            load_matrices(rows[j] + column + 128 * u, r[0], r[1], r[2], r[3]);
            load_matrices(rows[j] + column + 128 * u + 64, r[4], r[5], r[6], r[7]);
          }
        };
        load_unit(0);
#pragma unroll
        for (int u = 0; u < 2; ++u) {
          if (u < 1) load_unit(u + 1);
          // Keeps the compiler from putting the loads off until they are needed, which saves registers that nobody wants.
          __syncwarp();
          std::uint32_t a[16];
          expand_unit(codes[u], scales[u], a);
#pragma unroll
          for (int j = 0; j < NT; ++j) {
#pragma unroll
            for (int s = 0; s < 4; ++s)
              mma_16x8x16(acc[j], a[4 * s], a[4 * s + 1], a[4 * s + 2], a[4 * s + 3],
                          b[u & 1][j][2 * s], b[u & 1][j][2 * s + 1]);
          }
        }
        if (++slot == STAGES) slot = 0, parity ^= 1u;
      }
      __syncwarp();
      if (lane == 0) mbarrier_arrive(piece_empty + piece);
      if (++piece == C::kPieces) piece = 0, piece_parity ^= 1u;
    }

    // [warp][token][row], a word more in a row to spread the banks.
    float* mine = sums + warp * kTokens * kPitch;
#pragma unroll
    for (int j = 0; j < NT; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        mine[(8 * j + 2 * t + (i & 1)) * kPitch + 2 * g + (i >> 1)] = acc[j][i];
    }
    consumers_meet();
    const int row_block = job % row_blocks;
    const auto place_of = [&](int i, int& token, int& at, int& n) {
      token = i / 16 % kTokens;
      at = i / (16 * kTokens);
      n = (row_block * kBlockTiles + at) * 16 + (i & 15);
      return token < tile.count && n < 16 * d_tiles;
    };
    int fault = -1;  // twice the place, and which half
    for (int i = static_cast<int>(threadIdx.x); i < kBlockTiles * kTokens * 16;
         i += 32 * C::kWarps) {
      int token, at, n;
      if (!place_of(i, token, at, n)) continue;
      const std::int64_t m = tile.first + token;
      float v[SWIGLU ? 2 : 1];
#pragma unroll
      for (int h = 0; h < (SWIGLU ? 2 : 1); ++h) {
        const float* from =
            sums + ((h * kBlockTiles + at) * WK * kTokens + token) * kPitch + (i & 15);
        float sum = from[0];
#pragma unroll
        for (int k = 1; k < WK; ++k) sum = __fadd_rn(sum, from[k * kTokens * kPitch]);
        sum = __fmul_rn(sum, C::kNvfp4 ? kOperandScale * kOperandScale : kOperandScale);
        v[h] = __fmul_rn(
            i < 32 * C::kWarps ? alpha[h] : alpha_of(p, tile.group, m, n + h * d_tiles * 16), sum);
        if (!is_finite(v[h])) fault = 2 * i + h;
      }
      if constexpr (SWIGLU) {
        v[0] = swiglu_result(v[0], v[1], p.limit,
                             p.row_weight != nullptr ? load(p.row_weight + m) : 1.0f);
        if (!is_finite(v[0]) && fault < 0) fault = 2 * i;
      }
      store_result(p, m, n + (p.batched ? static_cast<std::int64_t>(tile.group) * p.n : 0), v[0]);
    }
    if (fault >= 0) {
      int token, at, n;
      place_of(fault >> 1, token, at, n);
      report_result(p, tile.group, tile.first + token, n + (fault & 1) * d_tiles * 16,
                    n + (p.batched ? static_cast<std::int64_t>(tile.group) * p.n : 0));
    }
    consumers_meet();
  }
}

}  // namespace device
}  // namespace nvfp4j
