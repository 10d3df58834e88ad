// SPDX-License-Identifier: Apache-2.0
// router_dense of many tokens with the warpgroup tensor cores of Hopper: BF16 on both sides, up to 512 experts. Bound by the tensor cores.
//
//   a cluster          four thread blocks (of very many tokens two) with the same tokens and a share of the experts each; of a tile of x each loads a share, for all of them
//   a thread block     one or two warpgroups of 64 tokens each, whose sums stay in registers, and a thread that fills a ring of columns of x and W
//
// The tensor core adds up 64 columns (and truncates), these sums are added in F32 rounded to nearest. At the end logits go to the thread block that chooses for their tokens, a share each.
// NVIDIA H200, 6ba2b34, 384 x 7168: 1024 tokens 32 us, 8192 102 us, where the BF16 product alone takes cuBLAS 16.5 and 61.5 us. Of 8192 tokens the choice takes some 17 us, behind the products.
#pragma once
#include <cuda.h>

#include "device/cluster.cuh"
#include "device/wgmma.cuh"
#include "ops/router_dense/router_choose.cuh"
#include "ops/router_dense/router_dense_plan.hpp"

namespace nvfp4j {

template <int CLUSTER_, int WARPGROUPS_, int EXPERTS_, int STAGES_>
struct RouterWgmma {
  static constexpr int kWarpgroups = WARPGROUPS_;  // that multiply
  static constexpr int kCluster = CLUSTER_;
  static constexpr int kTokens = 64 * kWarpgroups;   // of a tile
  static constexpr int kShare = kTokens / kCluster;  // that a thread block loads and chooses for
  static constexpr int kExperts = EXPERTS_;          // of a thread block
  static constexpr int kStages = STAGES_;
  // Of 64 columns, in a stage: as many as registers hold sums of. With two, a warpgroup has two products under way.
  static constexpr int kGranules = EXPERTS_ > 128 ? 1 : 2;
  static constexpr int kWarps = 4 * kWarpgroups;
  // Two warpgroups take registers from the third, of which one thread fills the ring.
  static constexpr bool kUnequal = kWarpgroups == 2;
  static constexpr int kThreads = 32 * kWarps + (kUnequal ? 128 : 32);
  static constexpr int kXBytes = kTokens * 128;  // of a granule
  static constexpr int kWBytes = kExperts * 128;
  static constexpr int kGranuleBytes = kXBytes + kWBytes;
  static constexpr int kStageBytes = kGranules * kGranuleBytes;
  // Of a token's logits. 8 words more than a multiple of 32: eight bytes of each of 16 lanes, 4 tokens, meet in no bank.
  static constexpr int kRow = kCluster * kExperts + 8;
  static constexpr int kBytes = 1024 + kStages * kStageBytes + 16 * kStages;
  static constexpr int kRowsBytes =
      kShare * kRow * 4;  // where the ring was, and behind them the room of warps that choose
  static_assert(kRowsBytes + kWarps * static_cast<int>(sizeof(device::RouterChooser)) <=
                kStages * kStageBytes);
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
  std::uint32_t full;  // of each stage, where its bytes are counted
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

template <class C>
__device__ __forceinline__ void fill_ring(const RouterWgmmaPlaces<C>& p, const RouterMaps& maps,
                                          int token0, int expert0, int steps, std::uint32_t rank) {
  RouterRing<C::kStages> ring;
  for (int step = 0; step < steps; ++step, ring.next()) {
    if (step >= C::kStages) mbarrier_wait(p.empty_of(ring.stage), ring.parity ^ 1u);
    mbarrier_expect(p.full_of(ring.stage), C::kStageBytes);
#pragma unroll
    for (int g = 0; g < C::kGranules; ++g) {
      const int column = 64 * (C::kGranules * step + g);
      tensor_load_multicast(p.x(ring.stage, g) + rank * (C::kShare * 128), &maps.x, column,
                            token0 + static_cast<int>(rank) * C::kShare, p.full_of(ring.stage),
                            (1u << C::kCluster) - 1u);
      tensor_load(p.w(ring.stage, g), &maps.w, column, expert0, p.full_of(ring.stage));
    }
  }
}

// The warpgroup's number is a constant and stages are counted by the loop: so ptxas keeps the products' descriptors in uniform registers. Moved there one by one, products took four times as long.
template <class C, int WARPGROUP>
__device__ __forceinline__ void multiply(const RouterWgmmaPlaces<C>& p, int steps,
                                         float (&sum)[C::kExperts / 2]) {
  constexpr int kSums = C::kExperts / 2;
  const int thread = static_cast<int>(threadIdx.x) % 128;
  float d[C::kGranules][kSums];
#pragma unroll
  for (int i = 0; i < kSums; ++i) {
    sum[i] = 0.0f;
#pragma unroll
    for (int g = 0; g < C::kGranules; ++g) d[g][i] = 0.0f;
  }
  const auto start = [&](int stage, int granule) {
    const std::uint64_t x = wgmma_operand_128(p.x(stage, granule) + WARPGROUP * (64u * 128u));
    const std::uint64_t w = wgmma_operand_128(p.w(stage, granule));
    wgmma_arrived(d[granule]);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k)
      wgmma_64<C::kExperts>(d[granule], wgmma_advance(x, 32u * k), wgmma_advance(w, 32u * k),
                            k != 0);
    wgmma_commit();
  };
  const auto add = [&](int granule) {
    wgmma_arrived(d[granule]);
#pragma unroll
    for (int j = 0; j < kSums; ++j) sum[j] = __fadd_rn(sum[j], d[granule][j]);
  };
  // No product is under way at the end of a turn: ptxas 13.0 would wait for each. The other warpgroup's are.
  RouterRing<C::kStages> ring;
  for (int step = 0; step < steps; ++step, ring.next()) {
    mbarrier_wait(p.full_of(ring.stage), ring.parity);
    start(ring.stage, 0);
    if constexpr (C::kGranules == 2) {
      start(ring.stage, 1);
      wgmma_wait<1>();
      add(0);
    }
    wgmma_wait<0>();
    // A lane tells each thread block of the cluster.
    if (thread < C::kCluster)
      mbarrier_arrive_cluster(
          cluster_address(p.empty_of(ring.stage), static_cast<std::uint32_t>(thread)));
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

// A warp's tokens, one after the other.
template <class C>
__device__ __forceinline__ void choose_tokens(const RouterTarget& t, const float* rows,
                                              std::int64_t token0, RouterChooser& room) {
  constexpr int kKeys = C::kCluster * C::kExperts / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float bias[kKeys];
#pragma unroll
  for (int i = 0; i < kKeys; ++i)
    bias[i] = 32 * i + lane < t.gate.experts ? load(t.bias + 32 * i + lane) : 0.0f;
  for (int local = static_cast<int>(threadIdx.x) / 32; local < C::kShare; local += C::kWarps) {
    const std::int64_t token = token0 + local;
    if (token >= t.x.tokens) return;
    const float* logits = rows + local * C::kRow;
    if (t.logits != nullptr) {
      for (int expert = lane; expert < t.gate.experts; expert += 32)
        t.logits[token * t.logits_stride + expert] = math::canonical_nan(logits[expert]);
    }
    choose<kKeys>(
        t, token, logits, [&](int expert) { return logits[expert]; },
        [&](int i, int) { return bias[i]; }, room);
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
      mbarrier_init(p.full_of(i), 1);
      mbarrier_init(p.empty_of(i), C::kCluster * C::kWarpgroups);
    }
    mbarrier_init_fence();
    tensor_prefetch(&maps.x);
    tensor_prefetch(&maps.w);
  }
  await_predecessor();
  cluster_sync();
  if (threadIdx.x >= 32 * C::kWarps) {
    if constexpr (C::kUnequal) asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x < 32 * C::kWarps + 32 && elect_one())
      fill_ring(p, maps, static_cast<int>(token0), static_cast<int>(rank) * C::kExperts, steps,
                rank);
    __syncwarp();
    cluster_sync();
    cluster_sync();
    return;
  }
  if constexpr (C::kUnequal) asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
  float sum[C::kExperts / 2];
  if (C::kWarpgroups == 1 || threadIdx.x < 128) {
    multiply<C, 0>(p, steps, sum);
  } else {
    multiply<C, C::kWarpgroups - 1>(p, steps, sum);
  }
  // All have done with their rings: all bytes have come, all products have been made.
  cluster_sync();
  hand_over(p, rank, sum);
  cluster_sync();
  choose_tokens<C>(t, reinterpret_cast<const float*>(ring),
                   token0 + static_cast<std::int64_t>(rank) * C::kShare,
                   reinterpret_cast<RouterChooser*>(ring + C::kRowsBytes)[threadIdx.x / 32]);
}

}  // namespace device
}  // namespace nvfp4j
