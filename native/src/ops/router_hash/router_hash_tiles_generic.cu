// SPDX-License-Identifier: Apache-2.0
// router_hash of many tokens. Row by row, k rows of W would come from L2 for each token. Instead the multiprocessors hold W among them, several times: a thread block has 256 columns of all rows in shared memory, and takes these columns of its share of the tokens, each from memory once. Bound
// by shared memory, from which a warp reads k rows of 512 bytes for each token.
//
// The warp multiplies with tensor cores, though a token's experts are its own: lanes 4g to 4g + 3 hold 32 columns of x, the first operand's row g, and of an expert's row, the second one's column g. So the diagonal of a product has sums of these columns, and what is beside it means nothing.
// Sums of lanes, then of thread blocks: those are in the workspace, and behind a barrier of the grid each thread block finishes some of the tokens.
// NVIDIA H200, 6 of 384 x 7168, in a chain of graph nodes: 8192 tokens 71 us, 1024 tokens 20 us.
#include "common/workspace_layout.hpp"
#include "device/grid_barrier.cuh"
#include "device/launch.cuh"
#include "device/mma.cuh"
#include "ops/router_hash/router_hash_impl.hpp"
#include "ops/router_hash/router_hash_slots.cuh"

namespace nvfp4j {

struct RouterHashTilesTarget : RouterHashTarget {
  GridExchange* barrier;
  float* sums;  // [round % 2][token][slice][kSums]
  std::int64_t round_tokens;
  int groups;
};

namespace {

using namespace device;

constexpr int kRowBytes = 2 * kRouterHashSlice;

// As many tokens as the workspace has room for the sums of, twice: a round's are written while others finish the round before.
struct HashRound {
  std::int64_t first;
  int tokens;
  float* sums;
};

// Of x, which is read once.
__device__ __forceinline__ uint4 load_once(const void* p) {
  uint4 v;
  asm volatile("ld.global.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
}

// This slice of all rows of W, as BF16; zeros where there is no column. The middle words of 16 bytes change places, so that both halves are what a product takes (multiply()).
template <RouterOperands O>
__device__ __forceinline__ void fetch_gate(const RouterHashTilesTarget& t, std::uint32_t to,
                                           std::int64_t column0) {
  constexpr int kPackets = kRouterHashSlice / 8;
  constexpr int kAhead = 8;
  static_assert(kRouterHashTileThreads % kPackets == 0);
  const std::int64_t column = column0 + 8 * (threadIdx.x % kPackets);
  const bool there = column < t.x.columns;
  constexpr int kStep = kRouterHashTileThreads / kPackets;
  for (int first = static_cast<int>(threadIdx.x) / kPackets; first < t.gate.experts;
       first += kAhead * kStep) {
    uint4 w[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int row = first + i * kStep;
      const bool mine = there & (row < t.gate.experts);
      if constexpr (O == RouterOperands::kNvfp4) {
        w[i] = expand(router_codes(t.gate, t.x.columns, row, column, mine));
      } else {
        w[i] = router_packet(t.gate.data, t.gate.stride, row, column, mine);
      }
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int row = first + i * kStep;
      if (row < t.gate.experts)
        store_shared_16(
            to + static_cast<std::uint32_t>(row * kRowBytes) + 16u * (threadIdx.x % kPackets),
            make_uint4(w[i].x, w[i].z, w[i].y, w[i].w));
    }
  }
}

// What a warp looks up for a batch of tokens: eight lanes a token, one or two slots each. Tokens count from the round's first.
template <int PAIRS>
struct HashLookup {
  static constexpr int kOfLane = RouterHashPairs<PAIRS>::kWords / 8;
  const RouterHashTilesTarget& t;
  std::int64_t first;
  int end;

  __device__ __forceinline__ static int slot(int m) {
    return static_cast<int>(threadIdx.x) % 8 * kOfLane + m;
  }
  __device__ __forceinline__ HashInteger id(int token) const {
    const int at = token + static_cast<int>(threadIdx.x) % 32 / 8;
    HashInteger v = {~0u, ~0u};
    if (at < end) v = integer(t.ids, t.ids_are_64_bit, first + at);
    return v;
  }
  __device__ __forceinline__ void entries(HashInteger id, HashInteger (&to)[kOfLane]) const {
    const std::int64_t row = id.value(t.ids_are_64_bit);
    const bool known = within(row, t.vocabulary);
#pragma unroll
    for (int m = 0; m < kOfLane; ++m) {
      to[m] = {0u, 0u};
      if (known & (slot(m) < t.choice.topk)) to[m] = entry_of(t, row, slot(m));
    }
  }
};

// Lane 4g + q's 8 columns of x with those of an expert's row. The first operand's rows g are words 0 and 2 of x, to be multiplied with those of W, and rows g + 8 words 1 and 3, whose products are nobody's; then the other way round. Of the sums, the register on the diagonal.
__device__ __forceinline__ float multiply(const uint4& x, const uint4& w, bool odd) {
  float d[4] = {};
  mma_16x8x16(d, x.x, x.y, x.z, x.w, w.x, w.y);
  mma_16x8x16(d, x.y, x.x, x.w, x.z, w.z, w.w);
  return odd ? d[1] : d[0];
}

// This slice's sums of tokens `begin` to `end`.
template <int PAIRS>
__device__ __forceinline__ void sum_tokens(const RouterHashTilesTarget& t, const HashRound& round,
                                           char* shared, std::uint32_t gate, int slice,
                                           std::int64_t column, int begin, int end) {
  using P = RouterHashPairs<PAIRS>;
  using Lookup = HashLookup<PAIRS>;
  constexpr int kStep = kRouterHashTileWarps * kRouterHashBatch;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  char* mine = shared + t.gate.experts * kRowBytes + warp * P::kWarpBytes;
  auto* words = reinterpret_cast<std::uint32_t*>(mine);
  float* parts = reinterpret_cast<float*>(words + kRouterHashBatch * P::kWords);
  const std::uint32_t lane_bytes = 16u * static_cast<std::uint32_t>(lane);
  // The diagonal: row and column g are in lane 4g + g / 2, register g % 2.
  const int g = lane / 4;
  const bool diagonal = lane % 4 == g / 2;
  const bool odd = g % 2 != 0;
  float* const my_parts = parts + g * P::kGroup;

  int token = begin + warp * kRouterHashBatch;
  const std::int64_t row_bytes = 2 * t.x.stride;
  const char* x_of_batch =
      static_cast<const char*>(t.x.data) + (round.first + token) * row_bytes + 2 * column;
  // No token is one that this lane has a column of, behind this.
  const int my_end = column < t.x.columns ? end : 0;
  const auto fetch = [&](int at, int i) {
    uint4 v = make_uint4(0u, 0u, 0u, 0u);
    if (at + i < my_end) v = load_once(x_of_batch + i * row_bytes);
    return v;
  };
  uint4 x[kRouterHashBatch];
#pragma unroll
  for (int i = 0; i < kRouterHashBatch; ++i) x[i] = fetch(token, i);
  const Lookup lookup = {t, round.first, end};
  HashInteger next[Lookup::kOfLane];
  lookup.entries(lookup.id(token), next);
  HashInteger id = lookup.id(token + kStep);
  __syncthreads();
#pragma unroll 1
  for (; token < end; token += kStep) {
    // The first row where there is no expert, whose sum nobody reads.
#pragma unroll
    for (int m = 0; m < Lookup::kOfLane; ++m)
      words[lane / 8 * P::kWords + lookup.slot(m)] =
          gate + static_cast<std::uint32_t>(max(expert_of(t, next[m]), 0)) * kRowBytes;
    __syncwarp();
    // For the next batch, and ids for the one behind it.
    lookup.entries(id, next);
    id = lookup.id(token + 2 * kStep);
    x_of_batch += kStep * row_bytes;
#pragma unroll
    for (int i = 0; i < kRouterHashBatch; ++i) {
      float* to = my_parts + i % P::kTogether * P::kToken;
      // Of up to 8 experts at once, of more one by one as registers allow.
      std::uint32_t rows[8] = {};
      if constexpr (P::kWords == 8) {
#pragma unroll
        for (int j = 0; j < 8; j += 4) {
          const uint4 v = *reinterpret_cast<const uint4*>(words + i * 8 + j);
          rows[j] = v.x;
          rows[j + 1] = v.y;
          rows[j + 2] = v.z;
          rows[j + 3] = v.w;
        }
      }
      const auto row = [&](int j) {
        const std::uint32_t first = P::kWords == 8 ? rows[j % 8] : words[i * P::kWords + j];
        return load_shared_16(first + lane_bytes);
      };
      // The next two experts' rows are on their way while two are multiplied. (W stays as it is behind the barrier: nothing else orders these loads.)
      uint4 w[2] = {row(0), row(1)};
#pragma unroll
      for (int j = 0; j < P::kSlots; j += 2) {
        const uint4 a = w[0];
        const uint4 b = w[1];
        if (j + 2 < P::kSlots) {
          w[0] = row(j + 2);
          w[1] = row(j + 3);
        }
        const float2 sums = make_float2(multiply(x[i], a, odd), multiply(x[i], b, odd));
        if (diagonal) *reinterpret_cast<float2*>(to + j) = sums;
      }
      x[i] = fetch(token + kStep, i);
      if (i % P::kTogether == P::kTogether - 1) {
        __syncwarp();
        if (lane < P::kTogether * P::kSlots) {
          const int of = lane / P::kSlots;
          const int slot = lane % P::kSlots;
          const float* from = parts + of * P::kToken + slot;
          float s = from[0];
#pragma unroll
          for (int j = 1; j < 8; ++j) s = __fadd_rn(s, from[j * P::kGroup]);
          const int at = token + i - (P::kTogether - 1) + of;
          if (at < end) round.sums[(at * t.slices + slice) * P::kSums + slot] = s;
        }
        __syncwarp();
      }
    }
  }
}

// SUMS lanes a token, which are dealt out to the warps of the grid: what a warp finishes first is looked up before the others have been waited for.
template <int SUMS, RouterOperands O>
__device__ __forceinline__ void finish_tokens(const RouterHashTilesTarget& t,
                                              const HashRound& round, std::uint32_t epoch) {
  constexpr int kTokens = 32 / SUMS;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int slot = lane % SUMS;
  const auto id_at = [&](int token) {
    return token < round.tokens ? id_of(t, round.first + token) : -1;
  };
  const auto expert_at = [&](std::int64_t id) {
    return within(id, t.vocabulary) & (slot < t.choice.topk) ? expert_of(t, entry_of(t, id, slot))
                                                             : -1;
  };
  const int blocks = static_cast<int>(gridDim.x);
  int token =
      (static_cast<int>(threadIdx.x) / 32 * blocks + static_cast<int>(blockIdx.x)) * kTokens +
      lane / SUMS;
  std::int64_t id = id_at(token);
  int expert = expert_at(id);
  grid_sync(t.barrier, epoch);
  while (__any_sync(0xffffffffu, token < round.tokens)) {
    const bool there = (token < round.tokens) & (slot < t.choice.topk);
    float score = 0.0f;
    if (there) {
      const float* from = round.sums + token * t.slices * SUMS + slot;
      float z = 0.0f;
      constexpr int kAhead = 28;  // 7168 columns
      for (int first = 0; first < t.slices; first += kAhead) {
        float part[kAhead];
#pragma unroll
        for (int s = 0; s < kAhead; ++s)
          part[s] = first + s < t.slices ? __ldcg(from + (first + s) * SUMS) : 0.0f;
#pragma unroll
        for (int s = 0; s < kAhead; ++s) z = __fadd_rn(z, part[s]);
      }
      report_bad_ids(t, round.first + token, id, slot, expert);
      if (expert >= 0) {
        score = score_of_logit(t, round.first + token, expert, z);
        if (O == RouterOperands::kNvfp4 && z != z) {
          for (std::int64_t block = 0; block < t.x.columns / 16; ++block) {
            if (bad_block_scale(load(t.gate.scales + expert * (t.x.columns / 16) + block)))
              report_here(t.status, t.op, NVFP4J_CAUSE_BAD_BLOCK_SCALE, expert, block * 16);
          }
        }
      }
    }
    write_slots<SUMS>(t.choice, round.first + token, there, expert, score);
    token += blocks * kRouterHashTileWarps * kTokens;
    id = id_at(token);
    expert = expert_at(id);
  }
}

template <int PAIRS, RouterOperands O>
__global__ void __launch_bounds__(kRouterHashTileThreads, 1)
    router_hash_tiles_kernel(const __grid_constant__ RouterHashTilesTarget t) {
  constexpr int kSums = RouterHashPairs<PAIRS>::kSums;
  extern __shared__ __align__(16) char shared[];
  const int slice = static_cast<int>(blockIdx.x) % t.slices;
  const int group = static_cast<int>(blockIdx.x) / t.slices;
  const std::int64_t column0 = static_cast<std::int64_t>(slice) * kRouterHashSlice;
  await_predecessor();
  std::uint32_t epoch = grid_epoch(t.barrier);
  if (blockIdx.x == 0 && threadIdx.x == 0) report_bad_global_scale(t);
  const std::uint32_t gate = smem_address(shared);
  fetch_gate<O>(t, gate, column0);
  HashRound round = {0, static_cast<int>(t.round_tokens), t.sums};
#pragma unroll 1
  for (; round.first < t.x.tokens; round.first += t.round_tokens) {
    round.tokens = static_cast<int>(min(t.round_tokens, t.x.tokens - round.first));
    // Whole batches of tokens to each group.
    const int batches = (round.tokens + kRouterHashBatch - 1) / kRouterHashBatch;
    const int share = (batches + t.groups - 1) / t.groups * kRouterHashBatch;
    const int begin = group * share;
    sum_tokens<PAIRS>(t, round, shared, gate, slice, column0 + 8 * (threadIdx.x % 32), begin,
                      min(begin + share, round.tokens));
    finish_tokens<kSums, O>(t, round, epoch);
    ++epoch;
    round.sums = round.sums == t.sums ? t.sums + kRouterScratchBytes / 8 : t.sums;
  }
}

template <RouterOperands O>
const void* kernel_with(int pairs) {
  return pairs == 3   ? reinterpret_cast<const void*>(&router_hash_tiles_kernel<3, O>)
         : pairs == 4 ? reinterpret_cast<const void*>(&router_hash_tiles_kernel<4, O>)
                      : reinterpret_cast<const void*>(&router_hash_tiles_kernel<8, O>);
}
const void* kernel_of(RouterOperands operands, int pairs) {
  return operands == RouterOperands::kBf16 ? kernel_with<RouterOperands::kBf16>(pairs)
                                           : kernel_with<RouterOperands::kNvfp4>(pairs);
}

}  // namespace

int router_hash_tiles(const CudaLaunch& launch, const RouterHashArgs& args,
                      const RouterHashPlan& plan) {
  char* workspace = static_cast<char*>(launch.workspace);
  RouterHashTilesTarget t{router_hash_target(launch, args, plan),
                          reinterpret_cast<GridExchange*>(workspace),
                          reinterpret_cast<float*>(workspace + kWorkspaceExchangeBytes),
                          plan.round_tokens, plan.groups};
  t.slices = plan.slices;
  void* arguments[] = {&t};
  return launch_cooperative_programmatic(kernel_of(plan.operands, plan.pairs), launch,
                                         grid_of(std::int64_t{plan.slices} * plan.groups),
                                         kRouterHashTileThreads, plan.shared_bytes, arguments);
}

int router_hash_tiles_warm_up(const CudaDeviceProperties& device) {
  for (const RouterOperands operands : {RouterOperands::kBf16, RouterOperands::kNvfp4}) {
    for (const int pairs : {3, 4, 8}) {
      const cudaError_t status = cudaFuncSetAttribute(kernel_of(operands, pairs),
                                                      cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                      device.shared_memory_per_block_optin);
      if (status != cudaSuccess) return status;
    }
  }
  return cudaSuccess;
}

}  // namespace nvfp4j
