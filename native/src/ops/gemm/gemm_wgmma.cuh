// SPDX-License-Identifier: Apache-2.0
// The matrix products with the warpgroup tensor cores of Hopper, with prepared or linear weights: from 16 tokens to as many as there are.
//
// Few tokens are bound by memory, many by the tensor cores; in between by what an SM can do in the time in which its weights arrive. W is the 64-row operand and comes from registers: each warp decodes its 16 rows of a unit
// of 64 columns while the tensor cores work on the other warpgroup's unit, so that decoded weights never pass through shared memory. Tokens are the other operand, in shared memory with the 128-byte swizzle.
//
//   a thread block     64 WGN rows of W, BM tokens; WGK warpgroups share each row in turn (units of K round robin), and their sums are added in their order
//   a cluster          CN thread blocks with different rows and the same tokens, which each loads a part of and multicasts; or CK thread blocks with the same rows and tokens that cut K into CK contiguous parts, whose sums are
//                      added in order through distributed shared memory
//   two more warps     one fills the ring of weights (256 columns), one the ring of tokens (64 columns); NVFP4 tokens are decoded into the latter by three warps (gemm_wgmma_producers.cuh)
//
// Measured on an H100 80GB HBM3 (run-bench, commit e4f24d5c9edf), w13 6144x7168: M = 64 20.5 us, M = 1024 147 us (0.92 of the speed of cuBLASLt's BF16 product), M = 8192 1077 us (0.98); o_b 7168x16384, M = 1024: 370 us.
//
// The order of a sum depends on WGK and CK alone, never on the number of tokens.
#pragma once
#include <cuda.h>
#include <cute/arch/mma_sm90_gmma.hpp>

#include <utility>

#include "device/cluster.cuh"
#include "ops/gemm/gemm_operands.cuh"
#include "ops/gemm/gemm_tiles.cuh"
#include "ops/gemm/gemm_wgmma_producers.cuh"
#include "ops/gemm/gemm_wgmma_weights.cuh"

namespace nvfp4j {

template <int BM_, int WGN_, int WGK_, int CN_, int CK_, int A_STAGES_, int W_STAGES_,
          bool NVFP4_ = false>
struct WgmmaConfig {
  static constexpr bool kNvfp4 = NVFP4_;
  static constexpr bool kLinear = false;  // W; else prepared
  static_assert(!NVFP4_ || CN_ == 1, "decoded tokens are not multicast");
  static constexpr int BM = BM_, WGN = WGN_, WGK = WGK_, CN = CN_, CK = CK_;
  // (NVFP4 tokens need room as they come, too.)
  static constexpr int kAStages = NVFP4_ && BM_ == 128 ? A_STAGES_ - 2 : A_STAGES_;
  static constexpr int kWStages = W_STAGES_;
  static constexpr int kGroups = WGN * WGK;
  static constexpr int kConsumers = 128 * kGroups;
  static constexpr int kThreads = kConsumers + 128;
  // Sums of 256 tokens need more registers than an equal share: two warpgroups of consumers take them from the producers'.
  static constexpr bool kUnequal = BM == 256;
  static_assert(!kUnequal || kGroups == 2, "168 registers a thread: 56 + 2 * 224");
  static constexpr int kTiles = 4 * WGN;  // of 16 rows
  static constexpr int kCluster = CN * CK;
  static constexpr int kAStageBytes = BM * 128;
  static constexpr int kWTileBytes = 2 * prepared::kChunkBytes;  // 256 columns of a tile
  static constexpr int kWStageBytes = kTiles * kWTileBytes;
  // Sums of all but one of the WGK, or of the CK parts; gate and up in steps of 32 tokens.
  static constexpr int kStepTokens = BM / CK < 32 ? BM / CK : 32;
  static constexpr int kExchangeBytes = (WGK > 1  ? BM * (WGK - 1)
                                         : CK > 1 ? BM
                                                  : kStepTokens) *
                                        256 * WGN;
  static constexpr int kEights = BM / 8 / CK;  // of tokens that a thread block writes
  static constexpr int kPieceBytes = NVFP4_ ? TokenPieces::kRings : 0;
  static constexpr int kBars = 2 * (kAStages + kWStages) + (NVFP4_ ? TokenPieces::kBars : 0);
  static constexpr int kMoreMaps = NVFP4_ ? 1 : 0;
  static constexpr int bytes(bool grouped) {
    return 1024 + kAStages * kAStageBytes + kWStages * kWStageBytes + kPieceBytes + kExchangeBytes +
           8 * kBars + 4 * BM + (grouped ? device::kTileListBytes : 0);
  }
  static_assert(CN == 1 || CK == 1, "a cluster shares tokens or cuts K");
  static_assert(BM % 8 == 0 && BM / CN % 8 == 0 && (BM / 8) % CK == 0,
                "the parts are whole core matrices");
  static_assert(4 % WGK == 0, "units of a chunk are dealt out");
};

/// The same for linear weights.
template <class C>
struct LinearWeights : C {
  static constexpr bool kLinear = true;
  static constexpr int kMoreMaps = C::kMoreMaps + 2;
};

namespace device {

template <int BM>
struct WgmmaAtom;
#define NVFP4J_WGMMA_ATOM(BM)                                                                   \
  template <>                                                                                   \
  struct WgmmaAtom<BM> {                                                                        \
    using Type = cute::SM90::GMMA::MMA_64x##BM##x16_F32BF16BF16_RS<cute::SM90::GMMA::Major::K,  \
                                                                   cute::SM90::GMMA::Major::K>; \
  };
NVFP4J_WGMMA_ATOM(32)
NVFP4J_WGMMA_ATOM(64)
NVFP4J_WGMMA_ATOM(128)
NVFP4J_WGMMA_ATOM(256)
#undef NVFP4J_WGMMA_ATOM

template <int BM, std::size_t... I>
__device__ __forceinline__ void wgmma_step(float (&d)[BM / 2], const std::uint32_t* a,
                                           std::uint64_t b, std::index_sequence<I...>) {
  WgmmaAtom<BM>::Type::fma(a[0], a[1], a[2], a[3], b, d[I]...);
}

// Two neighbours of a row of D.
__device__ __forceinline__ void store_pair(const GemmProblem& p, std::int64_t m,
                                           std::int64_t column, float low, float high) {
  char* row = p.d + m * p.d_stride;
  if (!p.d_pairs_aligned) {
    store_result(p, m, column, low);
    store_result(p, m, column + 1, high);
  } else if (p.d_is_bf16) {
    *reinterpret_cast<std::uint32_t*>(row + 2 * column) = bf16_bits(low) | bf16_bits(high) << 16;
  } else {
    *reinterpret_cast<float2*>(row + 4 * column) =
        make_float2(math::canonical_nan(low), math::canonical_nan(high));
  }
}

// acc[4e + i] of a lane: tokens 8 (first_eight + e) + 2t + (i & 1), row 2g + (i >> 1) of the warp's tile. All consumers call it; those that are not `active` have nothing to write.
template <class C, bool SWIGLU>
__device__ __forceinline__ void write_results(const GemmProblem& p, const TokenTile& tile,
                                              float (&acc)[C::BM / 2], const float* a_scale,
                                              float* exchange, int first_tile, int d_tiles, int own,
                                              bool active, int first_eight) {
  constexpr int kBlockTiles = SWIGLU ? C::kTiles / 2 : C::kTiles;
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const int g = lane >> 2, t = lane & 3;
  const bool upper = SWIGLU && own >= kBlockTiles;
  const int d_tile = first_tile + (upper ? own - kBlockTiles : own);
  const int n = d_tile * 16 + 2 * g + (upper ? p.n / 2 : 0);
  const std::int64_t column =
      d_tile * 16 + 2 * g + (p.batched ? static_cast<std::int64_t>(tile.group) * p.n : 0);
  active = active && d_tile < d_tiles;
  const auto token_of = [&](int i) { return 8 * (first_eight + i / 4) + 2 * t + (i & 1); };
  int fault = -1;
  if (active) {
    const float w_scale = w_scale_of(p, tile.group, n);
#pragma unroll
    for (int i = 0; i < 4 * C::kEights; ++i) {
      const float sum =
          __fmul_rn(acc[i], C::kNvfp4 ? kOperandScale * kOperandScale : kOperandScale);
      acc[i] = __fmul_rn(__fmul_rn(a_scale[token_of(i)], w_scale), sum);
      if (!is_finite(acc[i]) && token_of(i) < tile.count) fault = i;
    }
  }
  if constexpr (SWIGLU) {
    constexpr int kStep = C::kStepTokens / 2;  // results of a lane
    static_assert(4 * C::kEights % kStep == 0, "whole steps");
    float* mine = exchange + own * kStep * 32 + lane;
    const float* other = mine + kBlockTiles * kStep * 32;
#pragma unroll
    for (int from = 0; from < 4 * C::kEights; from += kStep) {
      if (from > 0) named_barrier(1, C::kConsumers);  // the step before has been read
      if (active) {
#pragma unroll
        for (int i = 0; i < kStep; ++i) mine[32 * i] = acc[from + i];
      }
      named_barrier(1, C::kConsumers);
      if (active && !upper) {
        // Not unrolled: the code is long, and its registers are wanted elsewhere.
#pragma unroll 1
        for (int j = 0; j < kStep / 2; ++j) {
          const int i = 4 * (j >> 1) + (j & 1);
          const int token = token_of(from + i);
          if (token >= tile.count) continue;
          const float weight =
              p.row_weight != nullptr ? load(p.row_weight + tile.first + token) : 1.0f;
          const float low = swiglu_result(mine[32 * i], other[32 * i], p.limit, weight);
          const float high =
              swiglu_result(mine[32 * (i + 2)], other[32 * (i + 2)], p.limit, weight);
          if (!is_finite(low) && fault < 0) fault = from + i;
          if (!is_finite(high) && fault < 0) fault = from + i + 2;
          store_pair(p, tile.first + token, column, low, high);
        }
      }
    }
  } else if (active) {
#pragma unroll
    for (int e = 0; e < C::kEights; ++e) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int token = 8 * (first_eight + e) + 2 * t + i;
        if (token < tile.count)
          store_pair(p, tile.first + token, column, acc[4 * e + i], acc[4 * e + 2 + i]);
      }
    }
  }
  if (fault >= 0)
    report_result(p, tile.group, tile.first + token_of(fault), n + (fault >> 1 & 1),
                  column + (fault >> 1 & 1));
}

// Besides that of A: those of the block scales of NVFP4 tokens, and of codes and block scales of linear weights.
template <int COUNT>
struct MoreMaps {
  CUtensorMap map[COUNT];
};
template <>
struct MoreMaps<0> {};

// Jobs: tiles of rows of W fastest, so that thread blocks at work at a time share tokens.
struct WgmmaJobs {
  int row_groups;   // CN tiles of 64 WGN rows of W each (of half the rows with SwiGLU)
  int token_tiles;  // per group of a batch
};

template <class C, bool GROUPED, bool SWIGLU>
__global__ void __launch_bounds__(C::kThreads, 1)
    gemm_wgmma_kernel(const __grid_constant__ GemmProblem p,
                      const __grid_constant__ CUtensorMap a_map,
                      const __grid_constant__ MoreMaps<C::kMoreMaps> more_maps, WgmmaJobs shape) {
  extern __shared__ unsigned char unaligned[];
  unsigned char* shared = unaligned + ((1024u - (smem_address(unaligned) & 1023u)) & 1023u);
  unsigned char* a_ring = shared;
  unsigned char* w_ring = a_ring + C::kAStages * C::kAStageBytes;
  unsigned char* pieces = w_ring + C::kWStages * C::kWStageBytes;
  float* exchange = reinterpret_cast<float*>(pieces + C::kPieceBytes);
  auto* a_full = reinterpret_cast<std::uint64_t*>(reinterpret_cast<unsigned char*>(exchange) +
                                                  C::kExchangeBytes);
  std::uint64_t* a_empty = a_full + C::kAStages;
  std::uint64_t* w_full = a_empty + C::kAStages;
  std::uint64_t* w_empty = w_full + C::kWStages;
  std::uint64_t* piece_full = w_empty + C::kWStages;
  float* a_scale = reinterpret_cast<float*>(piece_full + (C::kNvfp4 ? TokenPieces::kBars : 0));
  auto* tiles = reinterpret_cast<TokenTile*>(a_scale + C::BM);
  int* counter = reinterpret_cast<int*>(tiles + kListedTiles);

  const int warp = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) >> 5, 0);
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const int rank = C::kCluster > 1 ? static_cast<int>(cluster_rank()) : 0;
  if (threadIdx.x == 0) {
    for (int s = 0; s < C::kAStages; ++s) {
      mbarrier_init(a_full + s, 1);
      mbarrier_init(a_empty + s, 4 * C::WGN * C::CN);
    }
    for (int s = 0; s < C::kWStages; ++s) {
      mbarrier_init(w_full + s, 1);
      mbarrier_init(w_empty + s, 4 * C::kGroups);
    }
    if constexpr (C::kNvfp4) {
      for (int i = 0; i < TokenPieces::kBars; ++i) mbarrier_init(piece_full + i, 1);
    }
    mbarrier_init_fence();
    tensor_prefetch(&a_map);
    if constexpr (C::kMoreMaps > 0) {
      for (int i = 0; i < C::kMoreMaps; ++i) tensor_prefetch(more_maps.map + i);
    }
  }
  if constexpr (C::kCluster > 1) {
    cluster_sync();
  } else {
    __syncthreads();
  }
  await_predecessor();
  int listed = shape.token_tiles * (p.batched ? p.groups : 1);
  if constexpr (GROUPED) listed = list_grouped_tiles(p, C::BM, tiles, counter);
  const int jobs = listed * shape.row_groups;

  const int chunks = p.k / prepared::kTiledColumns;
  const int first_chunk = C::CK > 1 ? chunks * rank / C::CK : 0;
  const int end_chunk = C::CK > 1 ? chunks * (rank + 1) / C::CK : chunks;
  const int d_tiles = SWIGLU ? p.n / 32 : p.n / 16;  // of 16 columns of D
  constexpr int kBlockTiles = SWIGLU ? C::kTiles / 2 : C::kTiles;
  const int step = static_cast<int>(gridDim.x) / C::kCluster;
  const int start = static_cast<int>(blockIdx.x) / C::kCluster;
  const auto tile_of = [&](int place) -> TokenTile {
    if constexpr (GROUPED) return tiles[place];
    const int at = place % shape.token_tiles * C::BM;
    return {place / shape.token_tiles, at, min(C::BM, static_cast<int>(p.m) - at)};
  };
  const auto first_tile_of = [&](int job) {
    return ((job % shape.row_groups) * C::CN + (C::CN > 1 ? rank : 0)) * kBlockTiles;
  };

  if (warp >= 4 * C::kGroups) {
    if constexpr (C::kUnequal) asm volatile("setmaxnreg.dec.sync.aligned.u32 56;");
    if (warp == 4 * C::kGroups) {
      // ---- weights --------------------------------------------------------------------------------------------------
      if (lane == 0) {
        const std::uint64_t policy = policy_evict_first();
        int slot = 0;
        std::uint32_t parity = 1;
        for (int job = start; job < jobs; job += step) {
          const int group = GROUPED ? tiles[job / shape.row_groups].group
                                    : job / shape.row_groups / shape.token_tiles;
          const std::uint8_t* w = p.w + group * prepared::group_bytes(p.n, p.k);
          const int d_tile = first_tile_of(job);
          for (int chunk = first_chunk; chunk < end_chunk; ++chunk) {
            mbarrier_wait(w_empty + slot, parity);
            mbarrier_expect(w_full + slot, C::kWStageBytes);
            if constexpr (C::kLinear) {
              const CUtensorMap* maps = more_maps.map + (C::kNvfp4 ? 1 : 0);
              load_linear_stage<C, SWIGLU>(maps, maps + 1, chunk, d_tile * 16, p.n / 2, group,
                                           w_ring + slot * C::kWStageBytes, w_full + slot, policy);
            } else {
#pragma unroll
              for (int i = 0; i < C::kTiles; ++i) {
                const int tile =
                    min(d_tile + i % kBlockTiles, d_tiles - 1) + (i >= kBlockTiles ? d_tiles : 0);
                bulk_load(w_ring + slot * C::kWStageBytes + i * C::kWTileBytes,
                          w + (static_cast<std::int64_t>(tile) * chunks + chunk) * C::kWTileBytes,
                          C::kWTileBytes, w_full + slot, policy);
              }
            }
            if (++slot == C::kWStages) slot = 0, parity ^= 1u;
          }
        }
      }
    } else if (C::kNvfp4 || warp == 4 * C::kGroups + 1) {
      // ---- tokens ---------------------------------------------------------------------------------------------------
      if constexpr (C::kNvfp4) {
        const auto tile_of_job = [&](int job) { return tile_of(job / shape.row_groups); };
        decode_tokens<C>(p, a_map, more_maps.map[0], tile_of_job, start, jobs, step,
                         4 * first_chunk, 4 * end_chunk, pieces, piece_full, a_ring, a_full,
                         a_empty);
      } else if (lane == 0) {
        int slot = 0;
        std::uint32_t parity = 1;
        constexpr int kRows = C::BM / C::CN;
        for (int job = start; job < jobs; job += step) {
          const TokenTile tile = tile_of(job / shape.row_groups);
          const int x0 = p.batched ? tile.group * p.k : 0;
          for (int unit = 4 * first_chunk; unit < 4 * end_chunk; ++unit) {
            mbarrier_wait(a_empty + slot, parity);
            mbarrier_expect(a_full + slot, C::kAStageBytes);
            if constexpr (C::CN > 1) {
              tensor_load_multicast(a_ring + slot * C::kAStageBytes + rank * kRows * 128, &a_map,
                                    x0 + 64 * unit, tile.first + rank * kRows, a_full + slot,
                                    static_cast<std::uint16_t>((1 << C::CN) - 1));
            } else {
              tensor_load(a_ring + slot * C::kAStageBytes, &a_map, x0 + 64 * unit, tile.first,
                          a_full + slot);
            }
            if (++slot == C::kAStages) slot = 0, parity ^= 1u;
          }
        }
      }
    }
    __syncwarp();
    if constexpr (C::CK > 1) {
      cluster_sync();
      cluster_sync();
    }
    // A thread block must not end while others still signal its barriers.
    if constexpr (C::kCluster > 1) cluster_sync();
  } else {
    // ---- sums -----------------------------------------------------------------------------------------------------
    if constexpr (C::kUnequal) asm volatile("setmaxnreg.inc.sync.aligned.u32 224;");
    const int warpgroup = warp >> 2;
    const int wgn = warpgroup % C::WGN, wgk = warpgroup / C::WGN;
    const int own = 4 * wgn + (warp & 3);  // the warp's tile among those of the thread block
    constexpr int kUnits = 4 / C::WGK;
    int w_slot = 0, a_slot = wgk;
    std::uint32_t w_parity = 0, a_parity = 0;

    for (int job = start; job < jobs; job += step) {
      float acc[C::BM / 2];
#pragma unroll
      for (int i = 0; i < C::BM / 2; ++i) acc[i] = 0.0f;
      std::uint32_t a[16];
      const auto release = [&](int slot) {
        if constexpr (C::CN > 1) {
          if (lane < C::CN)
            mbarrier_arrive_cluster(cluster_address(smem_address(a_empty + slot), lane));
        } else {
          if (lane == 0) mbarrier_arrive(a_empty + slot);
        }
      };
      WeightUnit<C> weights(own);
      const auto load_unit = [&](int u) {
        weights.load(smem_address(w_ring + w_slot * C::kWStageBytes), u);
      };
      mbarrier_wait(w_full + w_slot, w_parity);
      load_unit(wgk);
      for (int chunk = first_chunk; chunk < end_chunk; ++chunk) {
#pragma unroll
        for (int i = 0; i < kUnits; ++i) {
          constexpr int kLast = kUnits - 1;
          weights.expand(a);
          if (i == kLast) {
            __syncwarp();
            if (lane == 0) mbarrier_arrive(w_empty + w_slot);
            if (++w_slot == C::kWStages) w_slot = 0, w_parity ^= 1u;
          }
          mbarrier_wait(a_full + a_slot, a_parity);
          const std::uint64_t desc =
              (static_cast<std::uint64_t>(1) << 62) | (static_cast<std::uint64_t>(64) << 32) |
              (1u << 16) | ((smem_address(a_ring + a_slot * C::kAStageBytes) & 0x3FFFFu) >> 4);
          cute::warpgroup_arrive();
#pragma unroll
          for (int s = 0; s < 4; ++s)
            wgmma_step<C::BM>(acc, a + 4 * s, desc + 2 * s, std::make_index_sequence<C::BM / 2>());
          cute::warpgroup_commit_batch();
          // The next unit's codes arrive while the tensor cores work.
          if (i < kLast) {
            load_unit((i + 1) * C::WGK + wgk);
          } else if (chunk + 1 < end_chunk) {
            mbarrier_wait(w_full + w_slot, w_parity);
            load_unit(wgk);
          }
          // Then these registers are free, and so are the tokens. Meanwhile the tensor cores have the other warpgroups' units: with a second set of registers to decode into, they were no faster.
          cute::warpgroup_wait<0>();
          release(a_slot);
          a_slot += C::WGK;
          if (a_slot >= C::kAStages) a_slot -= C::kAStages, a_parity ^= 1u;
        }
      }
#pragma unroll
      for (int i = 0; i < C::BM / 2; ++i) cute::warpgroup_fence_operand(acc[i]);
      weights.end(acc);

      // ---- what becomes of them -----------------------------------------------------------------------------------
      const TokenTile tile = tile_of(job / shape.row_groups);
      const int in_group = static_cast<int>(threadIdx.x) & 127;
      named_barrier(1,
                    C::kConsumers);  // the exchange and the scales of the job before have been read
      for (int i = static_cast<int>(threadIdx.x); i < C::BM; i += C::kConsumers) {
        a_scale[i] =
            p.a_global_scales == nullptr || i >= tile.count
                ? 1.0f
                : load(p.a_global_scales + (p.a_global_scale_per_row ? tile.first + i : 0));
      }
      if constexpr (C::WGK > 1) {
        if (wgk > 0) {
#pragma unroll
          for (int i = 0; i < C::BM / 2; ++i)
            exchange[(((wgk - 1) * C::WGN + wgn) * (C::BM / 2) + i) * 128 + in_group] = acc[i];
        }
      }
      named_barrier(1, C::kConsumers);
      if constexpr (C::WGK > 1) {
        if (wgk == 0) {
#pragma unroll
          for (int k = 0; k < C::WGK - 1; ++k) {
#pragma unroll
            for (int i = 0; i < C::BM / 2; ++i)
              acc[i] = __fadd_rn(acc[i],
                                 exchange[((k * C::WGN + wgn) * (C::BM / 2) + i) * 128 + in_group]);
          }
        }
      }
      if constexpr (C::CK > 1) {
        // Part r of the tokens is added up by rank r.
        constexpr int kPart = C::kEights * 4;
        cluster_sync();  // the exchange of every rank is free
        if (wgk == 0) {
#pragma unroll
          for (int r = 0; r < C::CK; ++r) {
            const std::uint32_t to = cluster_address(smem_address(exchange), r);
#pragma unroll
            for (int i = 0; i < kPart; ++i)
              store_cluster(to + 4u * (((rank * C::WGN + wgn) * kPart + i) * 128 + in_group),
                            acc[r * kPart + i]);
          }
        }
        cluster_sync();
        if (wgk == 0) {
#pragma unroll
          for (int i = 0; i < kPart; ++i) {
            float sum = exchange[(wgn * kPart + i) * 128 + in_group];
#pragma unroll
            for (int r = 1; r < C::CK; ++r)
              sum = __fadd_rn(sum, exchange[((r * C::WGN + wgn) * kPart + i) * 128 + in_group]);
            acc[i] = sum;
          }
        }
        if constexpr (SWIGLU) named_barrier(1, C::kConsumers);
      }
      write_results<C, SWIGLU>(p, tile, acc, a_scale, exchange, first_tile_of(job), d_tiles, own,
                               wgk == 0, C::CK > 1 ? rank * C::kEights : 0);
    }
    if constexpr (C::kCluster > 1) cluster_sync();
  }
}

}  // namespace device
}  // namespace nvfp4j
