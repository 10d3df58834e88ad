// SPDX-License-Identifier: Apache-2.0
// The matrix products for few tokens on Hopper: M up to 16, or experts with few rows.
//
// Bound by memory: every byte of W is read once, at the rate of a kernel that does nothing else. Tokens are the narrow side of mma.m16n8k16 (swap-AB): a warp decodes a tile of 16 rows of W straight into the registers of the
// 16-row operand.
//
//   a thread block     WN tiles; WK warps to a tile deal out its columns round robin, 256 at a time, and their sums are added through shared memory in the order of the warps, once: no atomics, no workspace
//                      Where a warp has a tile to itself (WK = CK = 1, no SwiGLU) it writes what it has, and none waits for another's sums
//   a cluster          where tokens are a burden (each thread block reads all of them), CK thread blocks cut K instead and send their sums to the one that adds up the tile: in order, too
//   weights            each warp has a ring of its own in shared memory, of one slot or two; a slot is asked for again as soon as it has been read into registers. 28 to 37 KB are in flight on an SM: more was slower, as less was
//   tokens             one more warp (two or four, that decode, if they are NVFP4) keeps a ring of pieces of their rows; a row is 16 bytes longer there than it is, for the banks
//
// Prepared weights come in bulk copies of 2304 bytes, codes and scales together; linear ones (the order of a checkpoint) in boxes of 16 rows and 256 columns of codes and of scales.
//
// Measured with run-bench, M = 1, plain launches: on an H200 (commit aa3baa92939b) w13 6144x7168 9.1 us, 77 % of a kernel that only reads (linear 12.1); o_b 7168x16384 20.0 us, 81 %; q_b 65536x1536 16.7 us, 85 %. On an H100 80GB HBM3 (an
// earlier one, c3c7ba9463a0) 11.3 us, 83 % (linear 14.2); 25.9 us, 87 %; 22.8 us, 87 %. Prepared weights are bound by how they arrive on the slower memory of the H100, and by decoding as well on the H200; linear ones by decoding on both.
#pragma once
#include <cuda.h>

#include "device/cluster.cuh"
#include "ops/gemm/gemm_decode_operands.cuh"

namespace nvfp4j {

/// Of a thread block WN tiles, WK warps to each; clusters of CK; 8 NT tokens; rings of STAGES slots and PIECES pieces; BLOCKS thread blocks must fit an SM. K has at least CK WK STAGES slots.
template <int WN_, int WK_, int CK_, int NT_, int STAGES_, int PIECES_, int BLOCKS_,
          bool NVFP4_ = false, bool LINEAR_ = false>
struct DecodeConfig {
  static constexpr int WN = WN_, WK = WK_, CK = CK_, NT = NT_;
  static constexpr int kStages = STAGES_, kPieces = PIECES_, kBlocks = BLOCKS_;
  static constexpr bool kNvfp4 = NVFP4_;
  static constexpr bool kLinear = LINEAR_;
  static constexpr int kSlotParts = LINEAR_ && (NT_ > 1 || (NVFP4_ && WN_ * WK_ == 16)) ? 2 : 1;
  using Slot = device::DecodeSlot<LINEAR_, kSlotParts>;
  static constexpr int kSlotBytes = Slot::kCodes + Slot::kScales;
  static constexpr int kWarps = WN * WK;
  // BF16 is copied, NVFP4 decoded, by as many as registers allow.
  static constexpr int kTokenThreads = !NVFP4_                                     ? 32
                                       : BLOCKS_ > 1 || (kWarps == 16 && CK_ == 1) ? 64
                                                                                   : 128;
  static constexpr int kThreads = 32 * kWarps + kTokenThreads;
  static constexpr int kTokens = 8 * NT;
  static constexpr int kRing = kWarps * kStages * kSlotBytes;
  static constexpr int kPitch = kDecodePieceColumns * 2 + 16;
  // Floats of a token's 16 rows of a tile: more, so that a warp's pairs of them meet no bank twice.
  static constexpr int kSumPitch = 20;
  // Two places for sums in turn, so that a job begins while results of the one before are still being made; of a cluster's one job, one.
  static constexpr int kSumPlaces = CK == 1 && NT == 1 ? 2 : 1;
  static constexpr int kSumBytes = CK * kWarps * kTokens * kSumPitch * 4;  // of a place
  static constexpr int kSums = kSumPlaces * kSumBytes;
  static constexpr int kBars = kWarps * kStages + 2 * kPieces + 1;
  // Boxes with the 128-byte swizzle start at multiples of 1024 bytes.
  static constexpr int kAlignment = LINEAR_ ? 1024 : 128;
  // Few tokens need less room: a piece has the rows that there are.
  static constexpr int bytes(int rows, bool grouped) {
    return kAlignment - 128 + kRing + kPieces * rows * kPitch + kSums + 8 * kBars +
           (grouped ? device::kTileListBytes : 0);
  }
};

/// Linear weights: codes and scales as bytes, in boxes of 16 rows and 256 columns of W.
template <bool LINEAR>
struct DecodeMaps {
  CUtensorMap codes, scales;
};
template <>
struct DecodeMaps<false> {};

namespace device {

// A place in the sequence of jobs: blocks of rows of W fastest, then tiles of tokens ("places"). No division: the first job of a thread block is found at once, and the next few steps on.
struct DecodeJob {
  int row_block;
  int place = 0;
  __device__ __forceinline__ DecodeJob(int first, int row_blocks) : row_block(first) {
    settle(row_blocks);
  }
  __device__ __forceinline__ void advance(int row_blocks) {
    row_block += static_cast<int>(gridDim.x);
    settle(row_blocks);
  }
  __device__ __forceinline__ void settle(int row_blocks) {
    while (row_block >= row_blocks) {
      row_block -= row_blocks;
      ++place;
    }
  }
};

// `piece_rows`: the rows that a piece has room for, at least those of any tile. `early`: W is read before the kernel before this one has ended.
template <class C, bool GROUPED, bool SWIGLU>
__global__ void __launch_bounds__(C::kThreads, C::kBlocks)
    gemm_decode_kernel(const __grid_constant__ GemmProblem p,
                       const __grid_constant__ DecodeMaps<C::kLinear> maps, int row_blocks,
                       int token_tiles, int piece_rows, bool early) {
  constexpr int WK = C::WK, NT = C::NT, STAGES = C::kStages;
  constexpr int kTokens = C::kTokens;
  constexpr int kPitch = C::kSumPitch;
  constexpr int kPieceSlots = kDecodePieceColumns / kDecodeColumns;
  static_assert(!SWIGLU || C::WN % 2 == 0, "gate and up tiles come in pairs");
  extern __shared__ __align__(128) unsigned char unaligned[];
  unsigned char* shared =
      unaligned + (C::kLinear ? (1024u - (smem_address(unaligned) & 1023u)) & 1023u : 0u);
  unsigned char* pieces = shared + C::kRing;
  const int piece_bytes = piece_rows * C::kPitch;
  float* sums = reinterpret_cast<float*>(pieces + C::kPieces * piece_bytes);
  auto* bars = reinterpret_cast<std::uint64_t*>(reinterpret_cast<unsigned char*>(sums) + C::kSums);
  std::uint64_t* piece_full = bars + C::kWarps * STAGES;
  std::uint64_t* piece_empty = piece_full + C::kPieces;
  std::uint64_t* sums_full = piece_empty + C::kPieces;
  auto* tiles = reinterpret_cast<TokenTile*>(sums_full + 1);
  int* counter = reinterpret_cast<int*>(tiles + kListedTiles);

  const int warp = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) >> 5, 0);
  const int lane = static_cast<int>(threadIdx.x) & 31;
  // This thread block's columns of W, in slots. A cluster has one job.
  const int rank = C::CK > 1 ? static_cast<int>(cluster_rank()) : 0;
  const int start = static_cast<int>(blockIdx.x) / C::CK;
  const int all_slots = p.k / kDecodeColumns;
  const int first_slot = all_slots * rank / C::CK;
  const int slots = all_slots * (rank + 1) / C::CK - first_slot;
  const int first_column = first_slot * kDecodeColumns;
  const int end_column = first_column + slots * kDecodeColumns;
  const int all_tiles = p.n / 16;
  const int d_tiles = SWIGLU ? all_tiles / 2 : all_tiles;  // of 16 columns of D
  constexpr int kBlockTiles = SWIGLU ? C::WN / 2 : C::WN;
  std::uint64_t* my_bars = bars + warp * STAGES;
  // All codes lie before all scales that are apart.
  const std::uint32_t my_codes = smem_address(shared) + warp * STAGES * C::Slot::kCodes;
  const std::uint32_t my_scales =
      smem_address(shared) + (C::kWarps * C::Slot::kCodes + warp * C::Slot::kScales) * STAGES;

  // Asks for a row of a piece of BF16 tokens.
  const auto ask_row = [&](const TokenTile& tile, int column, int columns, int row, int slot) {
    const char* from = p.a + static_cast<std::int64_t>(tile.first + row) * p.a_stride +
                       2 * (column_of_a(p, tile.group) + column);
    bulk_load(pieces + slot * piece_bytes + row * C::kPitch, from, 2u * columns, piece_full + slot,
              policy_evict_last());
  };
  const auto ask_piece = [&](const TokenTile& tile, int column, int slot) {
    const int columns = min(kDecodePieceColumns, end_column - column);
    if (lane == 0) mbarrier_expect(piece_full + slot, 2u * columns * tile.count);
    __syncwarp();
    if (lane < tile.count) ask_row(tile, column, columns, lane, slot);
    __syncwarp();
  };
  // Of the first place the first piece of tokens is asked for at once: behind the weights of all warps it would wait.
  bool asked = false;
  if (warp == C::kWarps) {
    if (elect_one()) {
#pragma unroll
      for (int s = 0; s < C::kPieces; ++s) {
        mbarrier_init(piece_full + s, C::kNvfp4 ? C::kTokenThreads : 1);
        mbarrier_init(piece_empty + s, C::kWarps);
      }
      if constexpr (C::CK > 1) mbarrier_init(sums_full, 1);
      mbarrier_init_fence();
    }
    __syncwarp();
    asked = !C::kNvfp4 && !GROUPED && !early && start < row_blocks;
    if (asked) {
      wait_for_predecessor();
      ask_piece({0, 0, min(kTokens, static_cast<int>(p.m))}, first_column, 0);
    }
  } else if (warp < C::kWarps) {
    if (elect_one()) {
#pragma unroll
      for (int s = 0; s < STAGES; ++s) mbarrier_init(my_bars + s, 1);
      mbarrier_init_fence();
    }
    __syncwarp();
  }
  if constexpr (C::CK > 1) cluster_arrive_relaxed();
  if (GROUPED || !early) wait_for_predecessor();
  int places = token_tiles * (p.batched ? p.groups : 1);
  if constexpr (GROUPED)
    places = list_grouped_tiles(p, kTokens, 0, static_cast<int>(p.m), tiles, counter);
  const auto tile_of = [&](int place) -> TokenTile {
    if constexpr (GROUPED) return tiles[place];
    if (place == 0) return {0, 0, min(kTokens, static_cast<int>(p.m))};
    const int group = p.batched ? place / token_tiles : 0;
    const int at = (place - group * token_tiles) * kTokens;
    return {group, at, min(kTokens, static_cast<int>(p.m) - at)};
  };
  // Tokens that all jobs share and that fit stay.
  const bool resident =
      !GROUPED && places == 1 && end_column - first_column <= C::kPieces * kDecodePieceColumns;

  const int g = lane >> 2, t = lane & 3;
  const int wn = warp / WK, wk = warp % WK;
  const bool upper = SWIGLU && wn >= kBlockTiles;  // of gate and up tiles
  const std::uint64_t policy = policy_evict_first();

  // What the warp asks for next: the same in all lanes, for uniform registers.
  const int per_job = (slots - wk + WK - 1) / WK;  // at least STAGES
  DecodeJob next_job(start, row_blocks);
  int left = next_job.place < places ? per_job : 0;  // of next_job
  int next_slot = 0;                                 // of the matrix
  int next_row = 0;                                  // of tiles, in the group
  int next_group = 0;
  const std::uint8_t* next = nullptr;
  const auto aim = [&] {
    const int d_tile =
        min(next_job.row_block * kBlockTiles + wn - (upper ? kBlockTiles : 0), d_tiles - 1);
    next_group = GROUPED     ? tiles[next_job.place].group
                 : p.batched ? next_job.place / token_tiles
                             : 0;
    next_slot = first_slot + wk;
    next_row = d_tile + (upper ? d_tiles : 0);
    if constexpr (!C::kLinear) {
      const int row = next_group * all_tiles + next_row;  // fits: gemm_plan.cpp counts them
      next = p.w + (static_cast<std::int64_t>(row) * all_slots + next_slot) * C::Slot::kCodes;
    }
  };
  const auto ask = [&](int slot, std::uint32_t zero) {
    if (elect_one()) {
      std::uint64_t* full = my_bars + slot;
      const std::uint32_t codes = my_codes + slot * C::Slot::kCodes;
      mbarrier_expect(full, C::kSlotBytes + zero);
      if constexpr (C::kLinear) {
        tensor_load_3d(codes, &maps.codes, 128 * next_slot, 16 * next_row, next_group, full,
                       policy);
        tensor_load_3d(my_scales + slot * C::Slot::kScales, &maps.scales, 16 * next_slot,
                       16 * next_row, next_group, full, policy);
      } else {
        bulk_load(codes, next, C::Slot::kCodes, full, policy);
      }
    }
    next_slot += WK;
    if constexpr (!C::kLinear) next += WK * C::Slot::kCodes;
    --left;
  };
  // The successor may start when the first warp has asked for the last of its weights: sooner, its own would come between.
  const auto turn = [&] {
    if (left > 0) return;
    next_job.advance(row_blocks);
    if (next_job.place < places) {
      left = per_job;
      aim();
    } else if (warp == 0 && elect_one()) {
      start_successor();
    }
  };
  if (warp < C::kWarps && left > 0) {
    aim();
#pragma unroll
    for (int s = 0; s < STAGES; ++s) ask(s, 0u);
  }
  if (!GROUPED && early) wait_for_predecessor();
  if constexpr (!GROUPED) __syncthreads();

  if (warp >= C::kWarps) {
    // ---- tokens ---------------------------------------------------------------------------------------------------
    const int thread = static_cast<int>(threadIdx.x) - 32 * C::kWarps;
    int slot = 0;
    std::uint32_t parity = 1;
    for (DecodeJob job(start, row_blocks); job.place < places; job.advance(row_blocks)) {
      const TokenTile tile = tile_of(job.place);
      for (int column = first_column; column < end_column; column += kDecodePieceColumns) {
        if constexpr (C::kNvfp4) {
          const int columns = min(kDecodePieceColumns, end_column - column);
          DecodeTokens<C::kTokenThreads> tokens;
#pragma unroll 1
          for (int from = thread; from < kTokens * tokens.kBlocks; from += tokens.kStep) {
            tokens.load(p, tile, column, columns, from);
            if (from == thread) mbarrier_wait(piece_empty + slot, parity);
            tokens.store(tile, columns, pieces + slot * piece_bytes, C::kPitch, from);
          }
          mbarrier_arrive(piece_full + slot);
        } else {
          mbarrier_wait(piece_empty + slot, parity);
          if (!asked) ask_piece(tile, column, slot);
          asked = false;
        }
        if (++slot == C::kPieces) slot = 0, parity ^= 1u;
      }
      if (resident) break;
    }
    return;
  }

  // Without the warps of the tokens, which are jobs ahead.
  const auto consumers_meet = [] { named_barrier(1, 32 * C::kWarps); };
  turn();

  // Zero, which the compiler does not know.
  const std::uint32_t zero = gridDim.y - 1u;
  int slot = 0;
  std::uint32_t parity = 0;
  int piece = 0;
  std::uint32_t piece_parity = 0;
  int place = 0;  // of sums
  constexpr bool kDirect = WK == 1 && C::CK == 1 && !SWIGLU;
  for (DecodeJob job(start, row_blocks); job.place < places; job.advance(row_blocks)) {
    const TokenTile tile = tile_of(job.place);
    // Prepared weights: ldmatrix, lane 8i + r gives row r of matrix i, columns 8i to 8i + 7 of a half unit. Linear ones: the lane's own 16 columns.
    std::uint32_t rows[NT];
#pragma unroll
    for (int j = 0; j < NT; ++j) {
      rows[j] = smem_address(pieces) +
                min(8 * j + (C::kLinear ? g : lane & 7), tile.count - 1) * C::kPitch +
                (C::kLinear ? t * 32 : (lane >> 3) * 16);
    }
    // The scales of the thread's first result (or of all its results), asked for now: they come from far.
    float a_scale = 1.0f, w_scale[SWIGLU ? 2 : 1];
    float a_scales[NT][2];
    const int own_row = (job.row_block * C::WN + wn) * 16 + 2 * g;
    if constexpr (kDirect) {
      w_scale[0] = w_scale_of(p, tile.group, min(own_row, p.n - 2));
#pragma unroll
      for (int j = 0; j < NT; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e)
          a_scales[j][e] = a_scale_of(p, tile.first + min(8 * j + 2 * t + e, tile.count - 1));
      }
    } else {
      const int i = static_cast<int>(threadIdx.x);
      const int token = min(i / 16 % kTokens, tile.count - 1);
      const int n =
          min((job.row_block * kBlockTiles + i / (16 * kTokens)) * 16 + (i & 15), 16 * d_tiles - 1);
      if (p.a_global_scales != nullptr)
        a_scale = load(p.a_global_scales + (p.a_global_scale_per_row ? tile.first + token : 0));
#pragma unroll
      for (int h = 0; h < (SWIGLU ? 2 : 1); ++h)
        w_scale[h] = w_scale_of(p, tile.group, n + h * d_tiles * 16);
    }
    // Where there is one sum, in two parts: steps need not wait for each other.
    constexpr int kParts = NT == 1 ? 2 : 1;
    float acc[NT][kParts][4] = {};
    std::uint32_t bad = 0;
    int at = wk;
    for (int begin = 0; begin < slots; begin += kPieceSlots) {
      const int end = min(begin + kPieceSlots, slots);
      mbarrier_wait(piece_full + piece, piece_parity);
      for (; at < end; at += WK) {
        const std::uint32_t column = piece * piece_bytes + (at - begin) * (2 * kDecodeColumns);
        // Of two units, unless registers are short.
        constexpr int kUnitsAhead = C::kLinear && NT > 1 ? 0 : 1;
        std::uint32_t b[1 + kUnitsAhead][NT][8];
        const auto load_tokens = [&](int u) {
#pragma unroll
          for (int j = 0; j < NT; ++j) {
            std::uint32_t (&r)[8] = b[u & kUnitsAhead][j];
            const std::uint32_t from = rows[j] + column + 128 * u;
            if constexpr (C::kLinear) {
              const uint4 x = load_shared_16(from), y = load_shared_16(from + 16);
              r[0] = x.x, r[1] = x.y, r[2] = x.z, r[3] = x.w;
              r[4] = y.x, r[5] = y.y, r[6] = y.z, r[7] = y.w;
            } else {
              load_matrices(from, r[0], r[1], r[2], r[3]);
              load_matrices(from + 64, r[4], r[5], r[6], r[7]);
            }
          }
        };
        if constexpr (kUnitsAhead > 0) load_tokens(0);
        mbarrier_wait(my_bars + slot, parity);
        std::uint32_t arrived = 0;
#pragma unroll
        for (int part = 0; part < C::Slot::kParts; ++part) {
          typename C::Slot w;
          w.load(part, my_codes + slot * C::Slot::kCodes, my_scales + slot * C::Slot::kScales,
                 lane);
          // The slot is free when the loads have arrived; a copy asked for without waiting for them may overtake them.
          arrived |= w.arrived(zero);
          if (part == C::Slot::kParts - 1) {
            if (left > 0) {
              ask(slot, arrived);
              turn();
            }
            __syncwarp();
          }
#pragma unroll
          for (int i = 0; i < C::Slot::kUnits; ++i) {
            const int u = part * C::Slot::kUnits + i;
            if (u + kUnitsAhead < 4) load_tokens(u + kUnitsAhead);
            // Keeps the compiler from putting the loads off until they are needed, which saves registers that nobody wants.
            __syncwarp();
            std::uint32_t a[16];
            w.expand(i, t, a, bad);
#pragma unroll
            for (int j = 0; j < NT; ++j) {
#pragma unroll
              for (int s = 0; s < 4; ++s)
                mma_16x8x16(acc[j][s % kParts], a[4 * s], a[4 * s + 1], a[4 * s + 2], a[4 * s + 3],
                            b[u & kUnitsAhead][j][2 * s], b[u & kUnitsAhead][j][2 * s + 1]);
            }
          }
        }
        if (++slot == STAGES) slot = 0, parity ^= 1u;
      }
      __syncwarp();
      if (!resident && lane == 0) mbarrier_arrive(piece_empty + piece);
      if (++piece == C::kPieces) piece = 0, piece_parity ^= 1u;
    }
    if (resident) piece = 0, piece_parity = 0;
    // [tile][rank][wk][token][row], with words between that spread the banks. Of a cluster each rank adds up and writes its share of the tiles.
    if constexpr (C::CK > 1) {
      if (threadIdx.x == 0) {
        int owned = 0;
        for (int i = 0; i < C::WN; ++i) owned += i % kBlockTiles * C::CK / kBlockTiles == rank;
        mbarrier_expect(sums_full,
                        static_cast<std::uint32_t>(owned * C::CK * WK * tile.count * 64));
      }
      __syncwarp();
      cluster_wait();  // the others' barriers are ready
    }
    if constexpr (C::kLinear) {
      // A bad scale of any lane spoils the whole row.
      bad |= __shfl_xor_sync(0xffffffffu, bad, 1);
      bad |= __shfl_xor_sync(0xffffffffu, bad, 2);
    }
    // Token 8j + 2t + (e & 1) of row 2g + (e >> 1).
    const auto sum_of = [&](int j, int e) {
      float sum = acc[j][0][e];
      if constexpr (kParts == 2) sum = __fadd_rn(sum, acc[j][1][e]);
      if constexpr (C::kLinear) {
        if ((bad >> (16 * (e >> 1)) & 0x80u) != 0) sum = __uint_as_float(0x7FC00000u);
      }
      return sum;
    };
    constexpr float kTaken =
        (C::kLinear ? kTinyOperandScale : kOperandScale) * (C::kNvfp4 ? kOperandScale : 1.0f);
    if constexpr (kDirect) {
      // A warp has its tile to itself.
      std::uint32_t faults = 0;  // a bit a result of the thread
#pragma unroll
      for (int j = 0; j < NT; ++j) {
        float v[4];
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          v[e] =
              __fmul_rn(__fmul_rn(a_scales[j][e & 1], w_scale[0]), __fmul_rn(sum_of(j, e), kTaken));
        }
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int token = 8 * j + 2 * t + e;
          if (token >= tile.count || own_row >= p.n) continue;
          if (!is_finite(v[e])) faults |= 1u << (4 * j + e);
          if (!is_finite(v[2 + e])) faults |= 1u << (4 * j + 2 + e);
          store_pair(p, tile.first + token, own_row + column_of_d(p, tile.group), v[e], v[2 + e]);
        }
      }
      while (faults != 0) {
        const int bit = __ffs(static_cast<int>(faults)) - 1;
        faults &= faults - 1u;
        const int n = own_row + (bit >> 1 & 1);
        report_result(p, tile.group, tile.first + 8 * (bit >> 2) + 2 * t + (bit & 1), n,
                      n + column_of_d(p, tile.group));
      }
      continue;
    }
    float* all = sums + place * (C::kSumBytes / 4);
    if constexpr (C::kSumPlaces > 1) place ^= 1;
    float* mine = all + ((wn * C::CK + rank) * WK + wk) * kTokens * kPitch;
    const std::uint32_t owner = static_cast<std::uint32_t>(wn % kBlockTiles * C::CK / kBlockTiles);
    const std::uint32_t there = C::CK > 1 ? cluster_address(smem_address(mine), owner) : 0u;
    const std::uint32_t full = C::CK > 1 ? cluster_address(smem_address(sums_full), owner) : 0u;
#pragma unroll
    for (int j = 0; j < NT; ++j) {
      float v[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) v[e] = sum_of(j, e);
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int token = 8 * j + 2 * t + e;
        const int to = token * kPitch + 2 * g;
        if (token >= tile.count) continue;
        if constexpr (C::CK > 1) {
          store_cluster_async(there + 4 * to, v[e], v[2 + e], full);
        } else {
          *reinterpret_cast<float2*>(mine + to) = make_float2(v[e], v[2 + e]);
        }
      }
    }
    if constexpr (C::CK > 1) {
      mbarrier_wait(sums_full, 0);
    } else {
      consumers_meet();
    }
    const auto place_of = [&](int i, int& token, int& at_tile, int& n) {
      token = i / 16 % kTokens;
      at_tile = i / (16 * kTokens);
      n = (job.row_block * kBlockTiles + at_tile) * 16 + (i & 15);
      return token < tile.count && n < 16 * d_tiles &&
             (C::CK == 1 || at_tile * C::CK / kBlockTiles == rank);
    };
    constexpr int kConsumers = 32 * C::kWarps;
    static_assert((kBlockTiles * kTokens * 16 + kConsumers - 1) / kConsumers <= 16,
                  "a bit a result");
    std::uint32_t faults = 0;  // two bits a result of the thread
    int round = 0;
    for (int i = static_cast<int>(threadIdx.x); i < kBlockTiles * kTokens * 16;
         i += kConsumers, ++round) {
      int token, at_tile, n;
      if (!place_of(i, token, at_tile, n)) continue;
      const std::int64_t m = tile.first + token;
      float v[SWIGLU ? 2 : 1];
#pragma unroll
      for (int h = 0; h < (SWIGLU ? 2 : 1); ++h) {
        const float* from =
            all + ((h * kBlockTiles + at_tile) * C::CK * WK * kTokens + token) * kPitch + (i & 15);
        float sum = from[0];
#pragma unroll
        for (int k = 1; k < C::CK * WK; ++k) sum = __fadd_rn(sum, from[k * kTokens * kPitch]);
        sum = __fmul_rn(sum, kTaken);
        v[h] = __fmul_rn(i < kConsumers ? __fmul_rn(a_scale, w_scale[h])
                                        : alpha_of(p, tile.group, m, n + h * d_tiles * 16),
                         sum);
        if (!is_finite(v[h])) faults |= 1u << (2 * round + h);
      }
      if constexpr (SWIGLU) {
        const bool finite = is_finite(v[0]) && is_finite(v[1]);
        v[0] = swiglu_result(v[0], v[1], p.limit,
                             p.row_weight != nullptr ? load(p.row_weight + m) : 1.0f);
        if (!is_finite(v[0]) && finite) faults |= 1u << (2 * round);
      }
      store_result(p, m, n + column_of_d(p, tile.group), v[0]);
    }
    while (faults != 0) {
      const int bit = __ffs(static_cast<int>(faults)) - 1;
      faults &= faults - 1u;
      int token, at_tile, n;
      place_of(static_cast<int>(threadIdx.x) + (bit >> 1) * kConsumers, token, at_tile, n);
      report_result(p, tile.group, tile.first + token, n + (bit & 1) * d_tiles * 16,
                    n + column_of_d(p, tile.group));
    }
    if constexpr (C::CK > 1) break;
    if constexpr (C::kSumPlaces == 1) consumers_meet();
  }
}

}  // namespace device
}  // namespace nvfp4j
