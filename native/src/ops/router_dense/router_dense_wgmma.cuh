// SPDX-License-Identifier: Apache-2.0
// router_dense of many tokens with the warpgroup tensor cores of Hopper: x BF16, W BF16 or NVFP4, up to 512 experts. Bound by the tensor cores.
//
//   a cluster          four thread blocks (of very many tokens two) with the same tokens and a share of the experts each; of a tile of x each loads a share, for all of them
//   a thread block     one or two warpgroups of 64 tokens each, whose sums stay in registers, and a thread that has a ring filled with columns of x and W; where W is NVFP4, one more warpgroup decodes W into the ring (router_dense_wgmma_gate.cuh)
//
// The tensor core adds up 128 columns (and truncates), these sums are added in F32 rounded to nearest. At the end logits go to the thread block that chooses for their tokens, a share each.
// NVIDIA H200, commit 508c04d40ccf, 384 x 7168: 1024 tokens 25 us, 8192 tokens 79 us, 1.15 times the products alone in torch; W NVFP4 115 us. Of many tokens the choice comes behind the products, with nothing to overlap. Clusters of eight with 64 experts each were little faster for up to 960 tokens, and slower for 1024: the card held 15 of them.
#pragma once
#include <cuda.h>

#include "device/cluster.cuh"
#include "device/wgmma.cuh"
#include "ops/router_dense/router_choose.cuh"
#include "ops/router_dense/router_dense_plan.hpp"
#include "ops/router_dense/router_dense_wgmma_gate.cuh"
#include "ops/router_dense/router_sums.cuh"

namespace nvfp4j {

template <int CLUSTER_, int WARPGROUPS_, int EXPERTS_, int STAGES_, bool NVFP4_>
struct RouterWgmma {
  static constexpr bool kNvfp4 = NVFP4_;           // W
  static constexpr int kWarpgroups = WARPGROUPS_;  // that multiply
  static constexpr int kCluster = CLUSTER_;
  static constexpr int kTokens = 64 * kWarpgroups;   // of a tile
  static constexpr int kShare = kTokens / kCluster;  // that a thread block loads and chooses for
  static constexpr int kExperts = EXPERTS_;          // of a thread block
  static constexpr int kStages = STAGES_;
  // Of 64 columns, in a stage: as many as registers hold sums of.
  static constexpr int kGranules = EXPERTS_ > 128 ? 1 : 2;
  static constexpr int kWarps = 4 * kWarpgroups;
  // Two warpgroups take registers from the third, which fills the ring.
  static constexpr bool kUnequal = kWarpgroups == 2;
  static constexpr int kFillers = kUnequal || kNvfp4 ? 128 : 32;  // threads
  static constexpr int kThreads = 32 * kWarps + kFillers;
  static constexpr int kFillerRegisters = kNvfp4 ? 88 : 40;
  static constexpr int kRegisters = kNvfp4 ? 208 : 232;  // of threads that multiply
  static constexpr int kXBytes = kTokens * 128;          // of a granule
  static constexpr int kWBytes = kExperts * 128;
  static constexpr int kGranuleBytes = kXBytes + kWBytes;
  static constexpr int kStageBytes = kGranules * kGranuleBytes;
  static_assert(!kUnequal || 256 * kRegisters + kFillers * kFillerRegisters <= kThreads * 168);
  // Of a stage, what tensor loads bring. The rest is decoded, and so many warps arrive.
  static constexpr int kLoadedBytes = kNvfp4 ? kGranules * kXBytes : kStageBytes;
  static constexpr int kDecoders = kNvfp4 ? kFillers / 32 : 0;
  // Of a token's logits. 8 words more than a multiple of 32: eight bytes of each of 16 lanes, 4 tokens, meet in no bank.
  static constexpr int kRow = kCluster * kExperts + 8;
  // Tokens that a warp chooses for side by side, as registers allow.
  static constexpr int kGroup = kCluster * EXPERTS_ > 384 ? 2 : 4;
  static constexpr int kBytes = 1024 + kStages * kStageBytes + 16 * kStages;
  static constexpr int kRowsBytes =
      kShare * kRow * 4;  // where the ring was, and behind them the room of warps that choose
  static_assert(kRowsBytes + kWarps * static_cast<int>(sizeof(device::RouterRoom<kGroup>)) <=
                kStages * kStageBytes);
  static_assert(kShare % kGroup == 0);
  static_assert(kRowsBytes % 16 == 0);
  static_assert(kWBytes % 1024 == 0 && kShare * 128 % 1024 == 0, "swizzled blocks of memory");
};

namespace device {

struct RouterMaps {
  CUtensorMap x, w;
};

template <class C>
struct RouterWgmmaPlaces {
  std::uint32_t ring;
  std::uint32_t full;  // of each stage, where its bytes are counted, and the warps that decode
  std::uint32_t
      empty;  // where the warpgroups of all thread blocks of the cluster say that they have done with it

  // A granule: x, then W.
  __device__ __forceinline__ std::uint32_t x(int stage, int granule) const {
    return ring + static_cast<std::uint32_t>(stage * C::kStageBytes + granule * C::kGranuleBytes);
  }
  __device__ __forceinline__ std::uint32_t w(int stage, int granule) const {
    return x(stage, granule) + C::kXBytes;
  }
  __device__ __forceinline__ std::uint32_t full_of(int stage) const { return full + 8u * stage; }
  __device__ __forceinline__ std::uint32_t empty_of(int stage) const { return empty + 8u * stage; }
};

// Where a ring is: the stage, and the parity of its round.
template <int STAGES>
struct RouterRing {
  int stage = 0;
  std::uint32_t parity = 0;
  __device__ __forceinline__ void next() {
    if (++stage == STAGES) {
      stage = 0;
      parity ^= 1u;
    }
  }
};

// This thread block's share of a granule of x, to all thread blocks of the cluster.
template <class C>
__device__ __forceinline__ void load_x(const RouterWgmmaPlaces<C>& p, const RouterMaps& maps,
                                       int stage, int granule, int column, int token0,
                                       std::uint32_t rank) {
  tensor_load_multicast(p.x(stage, granule) + rank * (C::kShare * 128), &maps.x, column,
                        token0 + static_cast<int>(rank) * C::kShare, p.full_of(stage),
                        (1u << C::kCluster) - 1u);
}

template <class C>
__device__ __forceinline__ void fill_ring(const RouterWgmmaPlaces<C>& p, const RouterMaps& maps,
                                          int token0, int expert0, int steps, std::uint32_t rank) {
  RouterRing<C::kStages> ring;
  for (int step = 0; step < steps; ++step, ring.next()) {
    if (step >= C::kStages) mbarrier_wait(p.empty_of(ring.stage), ring.parity ^ 1u);
    mbarrier_expect(p.full_of(ring.stage), C::kLoadedBytes);
#pragma unroll
    for (int g = 0; g < C::kGranules; ++g) {
      const int column = 64 * (C::kGranules * step + g);
      load_x(p, maps, ring.stage, g, column, token0, rank);
      tensor_load(p.w(ring.stage, g), &maps.w, column, expert0, p.full_of(ring.stage));
    }
  }
}

// The same by four warps, of an NVFP4 gate: one thread has x loaded, all decode W. WHOLE: RouterGateUnit.
template <class C, bool WHOLE>
__device__ __forceinline__ void decode_ring(const RouterWgmmaPlaces<C>& p, const RouterMaps& maps,
                                            const RouterTarget& t, int token0, int steps,
                                            std::uint32_t rank) {
  using Units = RouterGateUnits<C, WHOLE>;
  const bool loads = threadIdx.x < 32 * C::kWarps + 32;
  Units units(t, static_cast<int>(rank) * C::kExperts);
  // Of the next stages: what has been decoded makes room for what is then asked for.
  typename Units::Unit w[Units::kAhead][Units::kUnits];
#pragma unroll
  for (int part = 0; part < Units::kAhead; ++part) units.load(part, w[part]);
  std::uint32_t bad = 0;
  RouterRing<C::kStages> ring;
  for (int step = 0; step < steps; step += Units::kAhead) {
#pragma unroll
    for (int part = 0; part < Units::kAhead; ++part, ring.next()) {
      // Then no product of any thread block of the cluster reads the stage any more.
      if (step + part >= C::kStages) mbarrier_wait(p.empty_of(ring.stage), ring.parity ^ 1u);
      if (loads && elect_one()) {
        mbarrier_expect(p.full_of(ring.stage), C::kLoadedBytes);
#pragma unroll
        for (int g = 0; g < C::kGranules; ++g)
          load_x(p, maps, ring.stage, g, 64 * (C::kGranules * (step + part) + g), token0, rank);
      }
      __syncwarp();
      bad |= units.decode(step + part, w[part], p.w(ring.stage, 0));
      // Each lane's writes are visible to the products that wait for the warp's arrival.
      fence_async_proxy();
      __syncwarp();
      if (threadIdx.x % 32 == 0) mbarrier_arrive(p.full_of(ring.stage));
      // Behind the fence, which may wait for loads too.
      units.load(step + part + Units::kAhead, w[part]);
    }
  }
  if (bad != 0) units.report_bad_scales(t, steps);
}

// The warpgroup's number is a constant and stages are counted by the loop: so ptxas keeps the products' descriptors in uniform registers. Moved there one by one, products took four times as long.
template <class C, int WARPGROUP>
__device__ __forceinline__ void multiply(const RouterWgmmaPlaces<C>& p, int steps,
                                         float (&sum)[C::kExperts / 2]) {
  constexpr int kSums = C::kExperts / 2;
  const int thread = static_cast<int>(threadIdx.x) % 128;
  // Of a turn of two stages: one sum for both, or one for each where registers hold them. Either way of 128 columns.
  float d[C::kGranules][kSums];
#pragma unroll
  for (int i = 0; i < kSums; ++i) {
    sum[i] = 0.0f;
#pragma unroll
    for (int g = 0; g < C::kGranules; ++g) d[g][i] = 0.0f;
  }
  const auto start = [&](int stage, int part) {
    float (&to)[kSums] = d[part % C::kGranules];
    wgmma_arrived(to);
    wgmma_fence();
#pragma unroll
    for (int g = 0; g < C::kGranules; ++g) {
      const std::uint64_t x = wgmma_operand_128(p.x(stage, g) + WARPGROUP * (64u * 128u));
      const std::uint64_t w = wgmma_operand_128(p.w(stage, g));
#pragma unroll
      for (int k = 0; k < 4; ++k)
        wgmma_64<C::kExperts>(to, wgmma_advance(x, 32u * k), wgmma_advance(w, 32u * k),
                              k != 0 || g != 0 || part % C::kGranules != part);
    }
    wgmma_commit();
  };
  const auto add = [&](int part) {
    wgmma_arrived(d[part]);
#pragma unroll
    for (int j = 0; j < kSums; ++j) sum[j] = __fadd_rn(sum[j], d[part][j]);
  };
  // A lane tells each thread block of the cluster.
  const auto release = [&](int stage) {
    if (thread < C::kCluster)
      mbarrier_arrive_cluster(
          cluster_address(p.empty_of(stage), static_cast<std::uint32_t>(thread)));
  };
  // No product is under way at the end of a turn: ptxas 13.0 would wait for each. The other warpgroup's are.
  RouterRing<C::kStages> ring;
  for (int step = 0; step < steps; step += 2) {
    const int first = ring.stage;
    mbarrier_wait(p.full_of(first), ring.parity);
    start(first, 0);
    ring.next();
    const int second = ring.stage;
    mbarrier_wait(p.full_of(second), ring.parity);
    start(second, 1);
    ring.next();
    wgmma_wait<1>();
    release(first);
    if constexpr (C::kGranules == 2) add(0);
    wgmma_wait<0>();
    release(second);
    add(C::kGranules - 1);
  }
}

// To the thread block that chooses for a token: its row of logits, where the ring was.
template <class C>
__device__ __forceinline__ void hand_over(const RouterWgmmaPlaces<C>& p, std::uint32_t rank,
                                          const float (&sum)[C::kExperts / 2]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int first = warp * 16 + lane / 4;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = first + 8 * h;
    const std::uint32_t at = cluster_address(
        p.ring + 4u * static_cast<std::uint32_t>(row % C::kShare * C::kRow + lane % 4 * 2) +
            4u * C::kExperts * rank,
        static_cast<std::uint32_t>(row / C::kShare));
#pragma unroll
    for (int n = 0; n < C::kExperts / 8; ++n)
      store_cluster(at + 32u * n, sum[4 * n + 2 * h], sum[4 * n + 2 * h + 1]);
  }
}

// Of a warp, tokens side by side, whose logits are in shared memory.
template <class C>
struct RouterWgmmaTokens {
  static constexpr int kKeys = C::kCluster * C::kExperts / 32;
  const RouterTarget& t;
  const float* rows;  // of the first
  std::int64_t first;
  float biases[kKeys];

  __device__ __forceinline__ std::int64_t token(int g) const { return first + g; }
  __device__ __forceinline__ bool there(int g) const { return first + g < t.x.tokens; }
  __device__ __forceinline__ const float* values(int g) const { return rows + g * C::kRow; }
  // Behind the last expert W had zeros.
  __device__ __forceinline__ float logit(int g, int i) const {
    return values(g)[32 * i + threadIdx.x % 32];
  }
  __device__ __forceinline__ float bias(int i) const { return biases[i]; }
};

template <class C>
__device__ __forceinline__ void choose_tokens(const RouterTarget& t, const float* rows,
                                              std::int64_t token0, RouterRoom<C::kGroup>& room) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  RouterWgmmaTokens<C> of = {t, rows, token0, {}};
#pragma unroll
  for (int i = 0; i < of.kKeys; ++i)
    of.biases[i] = 32 * i + lane < t.gate.experts ? load(t.bias + 32 * i + lane)
                                                  : __uint_as_float(0xFF800000u);
  for (int local = C::kGroup * (static_cast<int>(threadIdx.x) / 32); local < C::kShare;
       local += C::kGroup * C::kWarps) {
    of.first = token0 + local;
    of.rows = rows + local * C::kRow;
    if (of.first >= t.x.tokens) return;
    if (t.logits != nullptr) {
      for (int g = 0; g < C::kGroup && of.there(g); ++g) {
        for (int expert = lane; expert < t.gate.experts; expert += 32)
          t.logits[of.token(g) * t.logits_stride + expert] =
              math::canonical_nan(of.values(g)[expert]);
      }
    }
    choose<of.kKeys, C::kGroup>(t, of, room);
  }
}

template <class C>
__global__ void __launch_bounds__(C::kThreads, 1)
    router_wgmma_kernel(const __grid_constant__ RouterTarget t,
                        const __grid_constant__ RouterMaps maps, int steps) {
  extern __shared__ unsigned char unaligned[];
  unsigned char* ring = unaligned + ((1024u - (smem_address(unaligned) & 1023u)) & 1023u);
  RouterWgmmaPlaces<C> p;
  p.ring = smem_address(ring);
  p.full = p.ring + C::kStages * C::kStageBytes;
  p.empty = p.full + 8u * C::kStages;
  const std::uint32_t rank = cluster_rank();
  const std::int64_t token0 = static_cast<std::int64_t>(blockIdx.x / C::kCluster) * C::kTokens;
  if (threadIdx.x == 0) {
    for (int i = 0; i < C::kStages; ++i) {
      mbarrier_init(p.full_of(i), 1 + C::kDecoders);
      mbarrier_init(p.empty_of(i), C::kCluster * C::kWarpgroups);
    }
    mbarrier_init_fence();
    tensor_prefetch(&maps.x);
    if constexpr (!C::kNvfp4) tensor_prefetch(&maps.w);
  }
  await_predecessor();
  cluster_sync();
  if (threadIdx.x >= 32 * C::kWarps) {
    if constexpr (C::kUnequal)
      asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(C::kFillerRegisters));
    if constexpr (C::kNvfp4) {
      if (t.x.columns % 32 == 0) {
        decode_ring<C, true>(p, maps, t, static_cast<int>(token0), steps, rank);
      } else {
        decode_ring<C, false>(p, maps, t, static_cast<int>(token0), steps, rank);
      }
      if (blockIdx.x == 0 && threadIdx.x == 32 * C::kWarps) report_bad_global_scale(t);
    } else {
      if (threadIdx.x < 32 * C::kWarps + 32 && elect_one())
        fill_ring(p, maps, static_cast<int>(token0), static_cast<int>(rank) * C::kExperts, steps,
                  rank);
    }
    __syncwarp();
    cluster_sync();
    cluster_sync();
    return;
  }
  if constexpr (C::kUnequal)
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(C::kRegisters));
  float sum[C::kExperts / 2];
  if (C::kWarpgroups == 1 || threadIdx.x < 128) {
    multiply<C, 0>(p, steps, sum);
  } else {
    multiply<C, C::kWarpgroups - 1>(p, steps, sum);
  }
  if constexpr (C::kNvfp4) {
    const float factor = scale_of_gate(t);
#pragma unroll
    for (int i = 0; i < C::kExperts / 2; ++i) sum[i] = __fmul_rn(sum[i], factor);
  }
  // All have done with their rings: all bytes have come, all products have been made.
  cluster_sync();
  hand_over(p, rank, sum);
  cluster_sync();
  choose_tokens<C>(
      t, reinterpret_cast<const float*>(ring), token0 + static_cast<std::int64_t>(rank) * C::kShare,
      reinterpret_cast<RouterRoom<C::kGroup>*>(ring + C::kRowsBytes)[threadIdx.x / 32]);
}

}  // namespace device
}  // namespace nvfp4j
