// SPDX-License-Identifier: Apache-2.0
// The matrix products with the warpgroup tensor cores of Hopper, with prepared or linear weights: from some tens of tokens to as many as there are.
//
// W is the 64-row operand and comes from registers: each warp decodes its 16 rows of a unit of 64 columns while the tensor cores work on another unit, the other warpgroup's or, with two sets of registers, its own one before;
// decoded weights never pass through shared memory. Tokens are the other operand, in shared memory with the 128-byte swizzle.
//
//   a thread block     64 WGN rows of W, BM tokens; WGK warpgroups share each row in turn (units of K round robin), and their sums are added in their order, each warpgroup those of its share of the tokens
//   a cluster          CK thread blocks with the same rows and tokens that cut K into CK contiguous parts, whose sums are added in order through distributed shared memory
//   two more warps     one fills the ring of weights (256 columns), one the ring of tokens (64 columns)
//
// Tokens are BF16. NVFP4 ones were decoded by the kernel before (gemm_pack_tokens_sm90.cu): every thread block of a column of tiles would do it again.
//
// What was measured on an H100 80GB HBM3 and an H200, and what follows:
//   - A unit costs much the same for 32 tokens as for 64, and more than half of what it does for 128. The tensor cores would be faster, with their operand from registers too; but decoding keeps the pipes that the warps share with them, and the two
//     overlap only in part, however many warpgroups take turns (four to a thread block were no faster than two). So tiles below 128 tokens are for fewer tokens alone, and few of them are better off with gemm_decode.cuh.
//   - 256 tokens take nearly twice as long as 128: they save what a job costs, and loads. Three warpgroups (192 rows) fill waves that 128 rows do not.
//   - The second set of registers pays for 64 tokens and 128 rows, for three warpgroups, and where K is cut. Elsewhere it was no faster: the other warpgroup fills the gap.
//   - Thread blocks with different rows that multicast the same tokens to each other gained nothing: an SM gets them from L2 as fast.
//   - Weights decoded into shared memory, for the form of the instruction that has both operands there, would take no less: the stores and their fence cost what is gained.
// gemm_plan.cpp chooses by these times. Whole products: the table in README.md, from run-bench.
//
// The order of a sum depends on WGK and CK alone, never on the number of tokens, BM, WGN or the sets of registers.
#pragma once
#include <cuda.h>
#include <cute/arch/mma_sm90_gmma.hpp>

#include <utility>

#include "device/cluster.cuh"
#include "ops/gemm/gemm_operands.cuh"
#include "ops/gemm/gemm_tiles.cuh"
#include "ops/gemm/gemm_wgmma_results.cuh"
#include "ops/gemm/gemm_wgmma_weights.cuh"

namespace nvfp4j {

template <int BM_, int WGN_, int WGK_, int CK_, int A_STAGES_, int W_STAGES_, int SETS_>
struct WgmmaConfig {
  static constexpr bool kLinear = false;  // W; else prepared
  static constexpr int BM = BM_, WGN = WGN_, WGK = WGK_, CK = CK_;
  static constexpr int kAStageBytes = BM * 128;
  static constexpr int kAStages = A_STAGES_;
  static constexpr int kWStages = W_STAGES_;
  static constexpr int kGroups = WGN * WGK;
  static constexpr int kConsumers = 128 * kGroups;
  // Sets of registers that units are decoded into: with two, the next unit is decoded while the tensor cores work on this one.
  static constexpr int kSets = SETS_;
  // Sums of 256 tokens need more registers than an equal share: two warpgroups of consumers take them from the producers', which then must be a warpgroup too. Three or four have no more than two warps of producers beside them.
  static constexpr bool kUnequal = BM == 256;
  static_assert(!kUnequal || kGroups == 2, "168 registers a thread: 56 + 2 * 224");
  static constexpr int kThreads = kConsumers + (kGroups > 2 ? 64 : 128);
  static constexpr int kTiles = 4 * WGN;                         // of 16 rows
  static constexpr int kWTileBytes = 2 * prepared::kChunkBytes;  // 256 columns of a tile
  static constexpr int kWStageBytes = kTiles * kWTileBytes;
  // Each of kShares of the WGK warpgroups adds up and writes a part of the tokens.
  static constexpr int kShares = BM / 8 % (WGK * CK) == 0 ? WGK : 1;
  static constexpr int kEights = BM / 8 / CK / kShares;  // of tokens that a warp writes
  // Sums of the other WGK - 1 and of the CK parts; gate and up in steps of 32 tokens at most.
  static constexpr int kStepTokens = kEights < 4 ? 8 * kEights : 32;
  static constexpr int kSumBytes = (WGK - 1) * BM * 256 * WGN;
  static constexpr int kStepBytes = kShares * kStepTokens * 256 * WGN;
  static constexpr int kNeeded = kSumBytes + (CK > 1 ? BM * 256 * WGN : 0);
  static constexpr int kPartBytes = (CK - 1) * kShares * WGN * kEights * 4 * 512;
  static constexpr int kExchangeBytes = kNeeded > kStepBytes ? kNeeded : kStepBytes;
  static constexpr int kBars = 2 * (kAStages + kWStages) + 2;
  static constexpr int bytes(bool grouped) {
    return 1024 + kAStages * kAStageBytes + kWStages * kWStageBytes + kExchangeBytes + 8 * kBars +
           4 * BM + (grouped ? device::kTileListBytes : 0);
  }
  static_assert(BM % 8 == 0 && (BM / 8) % CK == 0, "the parts are whole core matrices");
  static_assert(4 % WGK == 0 && 4 / WGK % SETS_ == 0, "the four units of a stage are dealt out");
  static_assert(kAStages >= WGK * SETS_, "what is in use is not waited for");
};

/// The same for linear weights.
template <class C>
struct LinearWeights : C {
  static constexpr bool kLinear = true;
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

// Of linear weights.
template <bool LINEAR>
struct WgmmaMaps {
  CUtensorMap codes, scales;
};
template <>
struct WgmmaMaps<false> {};

// Jobs: tiles of rows of W fastest, so that thread blocks at work at a time share tokens.
struct WgmmaJobs {
  int row_groups;   // tiles of 64 WGN rows of W (of half the rows with SwiGLU)
  int token_tiles;  // per group of a batch
  // The rows of A that this launch takes; the tensor map of tokens begins at the first.
  int first_row, end_row;
  // W and the offsets are read before the kernel before this one has ended: it writes tokens, and began when what came before it had ended.
  bool early;
  bool w_again;  // W is read more than once: for several tiles of tokens
};

template <class C, bool GROUPED, bool SWIGLU>
__global__ void __launch_bounds__(C::kThreads, 1)
    gemm_wgmma_kernel(const __grid_constant__ GemmProblem p,
                      const __grid_constant__ CUtensorMap a_map,
                      const __grid_constant__ WgmmaMaps<C::kLinear> w_maps, WgmmaJobs shape) {
  extern __shared__ unsigned char unaligned[];
  unsigned char* shared = unaligned + ((1024u - (smem_address(unaligned) & 1023u)) & 1023u);
  unsigned char* a_ring = shared;
  unsigned char* w_ring = a_ring + C::kAStages * C::kAStageBytes;
  float* exchange = reinterpret_cast<float*>(w_ring + C::kWStages * C::kWStageBytes);
  auto* a_full = reinterpret_cast<std::uint64_t*>(reinterpret_cast<unsigned char*>(exchange) +
                                                  C::kExchangeBytes);
  std::uint64_t* a_empty = a_full + C::kAStages;
  std::uint64_t* w_full = a_empty + C::kAStages;
  std::uint64_t* w_empty = w_full + C::kWStages;
  std::uint64_t* w_asked = w_empty + C::kWStages;  // for the first stage
  std::uint64_t* parts_full = w_asked + 1;         // what the others of the cluster send
  float* a_scale = reinterpret_cast<float*>(parts_full + 1);
  auto* tiles = reinterpret_cast<TokenTile*>(a_scale + C::BM);
  int* counter = reinterpret_cast<int*>(tiles + kListedTiles);

  const int warp = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) >> 5, 0);
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const int rank = C::CK > 1 ? static_cast<int>(cluster_rank()) : 0;
  if (threadIdx.x == 0) {
    for (int s = 0; s < C::kAStages; ++s) {
      mbarrier_init(a_full + s, 1);
      mbarrier_init(a_empty + s, 4 * C::WGN);
    }
    for (int s = 0; s < C::kWStages; ++s) {
      mbarrier_init(w_full + s, 1);
      mbarrier_init(w_empty + s, 4 * C::kGroups);
    }
    mbarrier_init(w_asked, 1);
    mbarrier_init(parts_full, 1);
    mbarrier_init_fence();
    if constexpr (C::CK > 1) mbarrier_expect(parts_full, C::kPartBytes);
    tensor_prefetch(&a_map);
    if constexpr (C::kLinear) {
      tensor_prefetch(&w_maps.codes);
      tensor_prefetch(&w_maps.scales);
    }
  }
  if constexpr (C::CK > 1) {
    cluster_sync();
  } else {
    __syncthreads();
  }
  if (!shape.early) await_predecessor();
  int listed = shape.token_tiles * (p.batched ? p.groups : 1);
  if constexpr (GROUPED)
    listed = list_grouped_tiles(p, C::BM, shape.first_row, shape.end_row, tiles, counter);
  // Early, all but the warp that reads weights wait here.
  if (shape.early && warp != 4 * C::kGroups) wait_for_predecessor();
  const int jobs = listed * shape.row_groups;

  const int chunks = p.k / prepared::kTiledColumns;
  const int first_chunk = C::CK > 1 ? chunks * rank / C::CK : 0;
  const int end_chunk = C::CK > 1 ? chunks * (rank + 1) / C::CK : chunks;
  const int d_tiles = SWIGLU ? p.n / 32 : p.n / 16;  // of 16 columns of D
  constexpr int kBlockTiles = SWIGLU ? C::kTiles / 2 : C::kTiles;
  const int step = static_cast<int>(gridDim.x) / C::CK;
  const int start = static_cast<int>(blockIdx.x) / C::CK;
  const auto tile_of = [&](int place) -> TokenTile {
    if constexpr (GROUPED) return tiles[place];
    const int at = shape.first_row + place % shape.token_tiles * C::BM;
    return {place / shape.token_tiles, at, min(C::BM, shape.end_row - at)};
  };
  const auto first_tile_of = [&](int job) { return (job % shape.row_groups) * kBlockTiles; };

  if (warp >= 4 * C::kGroups) {
    if constexpr (C::kUnequal) asm volatile("setmaxnreg.dec.sync.aligned.u32 56;");
    if (warp == 4 * C::kGroups) {
      // ---- weights --------------------------------------------------------------------------------------------------
      if (lane == 0) {
        const std::uint64_t policy = shape.w_again ? policy_evict_normal() : policy_evict_first();
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
              load_linear_stage<C, SWIGLU>(&w_maps.codes, &w_maps.scales, chunk, d_tile * 16,
                                           p.n / 2, group, w_ring + slot * C::kWStageBytes,
                                           w_full + slot, policy);
            } else {
#pragma unroll
              for (int i = 0; i < C::kTiles; ++i) {
                const int tile = min(d_tile + WgmmaTile<SWIGLU>::of_d(i), d_tiles - 1) +
                                 (WgmmaTile<SWIGLU>::upper(i) ? d_tiles : 0);
                bulk_load(w_ring + slot * C::kWStageBytes + i * C::kWTileBytes,
                          w + (static_cast<std::int64_t>(tile) * chunks + chunk) * C::kWTileBytes,
                          C::kWTileBytes, w_full + slot, policy);
              }
            }
            if (job == start && chunk == first_chunk) mbarrier_arrive(w_asked);
            if (++slot == C::kWStages) slot = 0, parity ^= 1u;
          }
        }
      }
    } else if (warp == 4 * C::kGroups + 1) {
      // ---- tokens ---------------------------------------------------------------------------------------------------
      if (lane == 0) {
        if (shape.early) start_successor();
        // Loads are done in turn: the first weights, which come from farther, not behind a ring of tokens.
        if (start < jobs) mbarrier_wait(w_asked, 0);
        int slot = 0;
        std::uint32_t parity = 1;
        for (int job = start; job < jobs; job += step) {
          const TokenTile tile = tile_of(job / shape.row_groups);
          const int x0 = p.batched ? tile.group * p.k : 0;
          for (int unit = 4 * first_chunk; unit < 4 * end_chunk; ++unit) {
            mbarrier_wait(a_empty + slot, parity);
            mbarrier_expect(a_full + slot, C::kAStageBytes);
            tensor_load(a_ring + slot * C::kAStageBytes, &a_map, x0 + 64 * unit,
                        tile.first - shape.first_row, a_full + slot);
            if (++slot == C::kAStages) slot = 0, parity ^= 1u;
          }
        }
      }
    }
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
      std::uint32_t a[C::kSets][16];
      const auto release = [&](int slot) {
        if (lane == 0) mbarrier_arrive(a_empty + slot);
      };
      WeightUnit<C> weights(own);
      const auto load_unit = [&](int u) {
        weights.load(smem_address(w_ring + w_slot * C::kWStageBytes), u);
      };
      mbarrier_wait(w_full + w_slot, w_parity);
      load_unit(wgk);
      constexpr int kLast = kUnits - 1;
      int used_slot = -1;  // of the unit before
      // Unit i of the warpgroup's in a chunk, in one set of registers.
      const auto add_unit = [&](int i, int chunk, std::uint32_t (&set)[16]) {
        weights.expand(set);
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
          wgmma_step<C::BM>(acc, set + 4 * s, desc + 2 * s, std::make_index_sequence<C::BM / 2>());
        cute::warpgroup_commit_batch();
        // The next unit's codes arrive while the tensor cores work.
        if (i < kLast) {
          load_unit((i + 1) * C::WGK + wgk);
        } else if (chunk + 1 < end_chunk) {
          mbarrier_wait(w_full + w_slot, w_parity);
          load_unit(wgk);
        }
        // Then the registers of this unit are free, or with two sets those of the one before, and so are its tokens.
        cute::warpgroup_wait<C::kSets - 1>();
        if constexpr (C::kSets == 1) {
          release(a_slot);
        } else {
          if (used_slot >= 0) release(used_slot);
          used_slot = a_slot;
        }
        a_slot += C::WGK;
        if (a_slot >= C::kAStages) a_slot -= C::kAStages, a_parity ^= 1u;
      };
#pragma unroll 1
      for (int chunk = first_chunk; chunk < end_chunk; ++chunk) {
#pragma unroll
        for (int i = 0; i < kUnits; ++i) add_unit(i, chunk, a[i % C::kSets]);
      }
      if constexpr (C::kSets > 1) {
        cute::warpgroup_wait<0>();
        release(used_slot);
      }
#pragma unroll
      for (int i = 0; i < C::BM / 2; ++i) cute::warpgroup_fence_operand(acc[i]);
      weights.end(acc);

      // ---- what becomes of them -----------------------------------------------------------------------------------
      const TokenTile tile = tile_of(job / shape.row_groups);
      const int in_group = static_cast<int>(threadIdx.x) & 127;
      // Without sums to exchange and scales to share each warpgroup is on its own, and may begin the next job while the others end this one.
      const bool scales_of_rows = p.a_global_scales != nullptr && p.a_global_scale_per_row;
      const bool meet = C::WGK > 1 || scales_of_rows;
      if (meet) named_barrier(1, C::kConsumers);  // the job before has been read
      if (scales_of_rows) {
        for (int i = static_cast<int>(threadIdx.x); i < C::BM; i += C::kConsumers)
          a_scale[i] = i < tile.count ? load(p.a_global_scales + tile.first + i) : 1.0f;
      }
      constexpr int kShare = C::BM / 2 / C::kShares;
      // Where the sum of warpgroup `from` for the part of `to` is.
      const auto place = [&](int to, int from) {
        return exchange +
               ((to * (C::WGK - 1) + (from < to ? from : from - 1)) * C::WGN + wgn) * kShare * 128 +
               in_group;
      };
      if constexpr (C::WGK > 1) {
#pragma unroll
        for (int to = 0; to < C::kShares; ++to) {
          if (to != wgk) {
            float* theirs = place(to, wgk);
#pragma unroll
            for (int i = 0; i < kShare; ++i) theirs[i * 128] = acc[to * kShare + i];
          }
        }
      }
      if (meet) named_barrier(1, C::kConsumers);
      if constexpr (C::WGK > 1) {
#pragma unroll
        for (int to = 0; to < C::kShares; ++to) {
          if (to == wgk) {
#pragma unroll
            for (int i = 0; i < kShare; ++i) {
              float sum = to == 0 ? acc[i] : place(to, 0)[i * 128];
#pragma unroll
              for (int from = 1; from < C::WGK; ++from)
                sum = __fadd_rn(sum, from == to ? acc[to * kShare + i] : place(to, from)[i * 128]);
              acc[i] = sum;
            }
          }
        }
      }
      const bool active = wgk < C::kShares;
      if constexpr (C::CK > 1) {
        // Part r of a share of the tokens is added up by rank r. There is one job: nothing is in the way of what the others send.
        constexpr int kPart = C::kEights * 4;
        float* parts = exchange + C::kSumBytes / 4;
        // Where four neighbours of a thread are: fours of the warpgroup's threads lie together.
        const auto part = [&](int from, int i) {
          return (((from * C::kShares + wgk) * C::WGN + wgn) * (kPart / 4) + i) * 512 +
                 4 * in_group;
        };
        if (active) {
#pragma unroll
          for (int r = 0; r < C::CK; ++r) {
            const std::uint32_t mine = smem_address(parts + part(rank, 0));
            const std::uint32_t to = cluster_address(mine, r);
            const std::uint32_t full = cluster_address(smem_address(parts_full), r);
#pragma unroll
            for (int i = 0; i < kPart / 4; ++i) {
              const float* v = acc + r * kPart + 4 * i;
              if (r == rank) {
                *reinterpret_cast<float4*>(parts + part(rank, i)) =
                    make_float4(v[0], v[1], v[2], v[3]);
              } else {
                store_cluster_async(to + 2048u * i, v, full);
              }
            }
          }
          mbarrier_wait(parts_full, 0);
#pragma unroll
          for (int i = 0; i < kPart / 4; ++i) {
            float sum[4];
#pragma unroll
            for (int r = 0; r < C::CK; ++r) {
              const float4 part_of_r = *reinterpret_cast<const float4*>(parts + part(r, i));
              const float v[4] = {part_of_r.x, part_of_r.y, part_of_r.z, part_of_r.w};
#pragma unroll
              for (int e = 0; e < 4; ++e) sum[e] = r == 0 ? v[e] : __fadd_rn(sum[e], v[e]);
            }
#pragma unroll
            for (int e = 0; e < 4; ++e) acc[4 * i + e] = sum[e];
          }
        }
      }
      // The step that gate and up meet in is where sums were.
      if constexpr (SWIGLU && (C::WGK > 1 || C::CK > 1)) named_barrier(1, C::kConsumers);
      const int first_eight = (C::kShares > 1 ? wgk * (C::BM / 8 / C::kShares) : 0) +
                              (C::CK > 1 ? rank * C::kEights : 0);
      write_results<C, SWIGLU>(
          p, tile, acc, a_scale,
          exchange + (C::kShares > 1 ? wgk * (C::kStepBytes / C::kShares / 4) : 0),
          first_tile_of(job), d_tiles, own, active, first_eight);
    }
  }
}

}  // namespace device
}  // namespace nvfp4j
