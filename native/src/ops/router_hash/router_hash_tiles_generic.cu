// SPDX-License-Identifier: Apache-2.0
// router_hash of many tokens. Row by row, k rows of W would come from L2 for each token. Instead the multiprocessors hold W among them, several times: a thread block has 256 columns of all rows in shared memory, and takes these columns of its share of the tokens, each from memory once (of more than 8 experts a token, x comes from L2 again). Bound
// by shared memory, from which a warp reads k rows of 512 bytes for each token.
//
// The warp multiplies with tensor cores, though a token's experts are its own. A load of 16 bytes a lane reads 128 bytes of the rows of four slots, eight lanes each, from all banks. As a product's second operand these are eight columns, two for each slot; x of four tokens, laid out alike, is the first operand. What is not of the
// slot's own token and of the same bytes means nothing. So the tensor core adds up a slot's 256 columns in four numbers, of two lanes.
// Slices follow each other, with all their tokens, and each multiprocessor has an equal part of that, so that some go from a slice to the next. Sums of slices are in the workspace, and behind a barrier of the grid each thread block finishes some of the tokens.
// NVIDIA H200, commit 508c04d40ccf, 6 of 384 x 7168: 8192 tokens 53.7 us, 52 % of the speed of reading as much.
#include "common/workspace_layout.hpp"
#include "device/grid_barrier.cuh"
#include "device/launch.cuh"
#include "device/mma.cuh"
#include "ops/router_hash/router_hash_impl.hpp"
#include "ops/router_hash/router_hash_slots.cuh"

namespace nvfp4j {

struct RouterHashTilesTarget : RouterHashTarget {
  GridExchange* barrier;
  float* sums;  // [round % 2][slice][token][kSums]
  std::int64_t round_tokens;
  int fill;  // RouterHashPlan's
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

// Of x, which L1 need not keep; zeros where there is none. (One statement: the compiler would copy what is on its way, and wait for it.)
__device__ __forceinline__ uint4 load_once(const void* p, bool there) {
  uint4 v;
  asm volatile(
      "{\n\t.reg .pred there;\n\tsetp.ne.u32 there, %5, 0;\n\t"
      "mov.b32 %0, 0;\n\tmov.b32 %1, 0;\n\tmov.b32 %2, 0;\n\tmov.b32 %3, 0;\n\t"
      "@there ld.global.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];\n\t}"
      : "=&r"(v.x), "=&r"(v.y), "=&r"(v.z), "=&r"(v.w)
      : "l"(p), "r"(there ? 1u : 0u));
  return v;
}

// This slice of all rows of W, as BF16, on its way to shared memory; zeros where there is no column.
template <RouterOperands O>
__device__ __forceinline__ void fetch_gate(const RouterHashTilesTarget& t, std::uint32_t to,
                                           std::int64_t column0) {
  constexpr int kPackets = kRouterHashSlice / 8;
  static_assert(kRouterHashTileThreads % kPackets == 0);
  const std::int64_t column = column0 + 8 * (threadIdx.x % kPackets);
  const bool there = column < t.x.columns;
  to += 16u * (threadIdx.x % kPackets);
#pragma unroll 8
  for (int row = static_cast<int>(threadIdx.x) / kPackets; row < t.gate.experts;
       row += kRouterHashTileThreads / kPackets) {
    const std::uint32_t at = to + static_cast<std::uint32_t>(row * kRowBytes);
    if (O == RouterOperands::kNvfp4 || !there) {
      store_shared_16(at, expand(router_codes(t.gate, t.x.columns, row, column, there)));
    } else {
      copy_async_16(at, static_cast<const char*>(t.gate.data) + (row * t.gate.stride + column) * 2);
    }
  }
  copy_async_commit();
}

// Sums of four slots: what is added up of the first 8 bytes of each 16, and of the others.
struct HashSums {
  float low[4];
  float high[4];
};

// x as the first operand: words 0 and 1 of the lane's 16 bytes in row lane / 4, words 2 and 3 in row 8 + lane / 4.
__device__ __forceinline__ uint4 operand_of(const uint4& x) {
  return make_uint4(x.x, x.z, x.y, x.w);
}
// Of W the lane's words are in column lane / 4: 0 and 1 for the one product, 2 and 3 for the other. So of the one the rows below 8 are sums, and of the other those from 8 on.
__device__ __forceinline__ void multiply(HashSums& d, const uint4& x, const uint4& w) {
  mma_16x8x16(d.low, x.x, x.y, x.z, x.w, w.x, w.y);
  mma_16x8x16(d.high, x.x, x.y, x.z, x.w, w.z, w.w);
}

// What a warp looks up for a batch of tokens: of the slots of all of them, one after the other, those of the lane. Tokens count from the round's first.
template <int PAIRS>
struct HashLookup {
  static constexpr int kSlots = RouterHashPairs<PAIRS>::kSlots;
  static constexpr int kOfLane = (kRouterHashBatch * kSlots + 31) / 32;
  const RouterHashTilesTarget& t;
  std::int64_t first;
  int end;

  __device__ __forceinline__ static int column(int m) {
    return 32 * m + static_cast<int>(threadIdx.x) % 32;
  }
  __device__ __forceinline__ void ids(int token, HashInteger (&to)[kOfLane]) const {
#pragma unroll
    for (int m = 0; m < kOfLane; ++m) {
      const int at = column(m) / kSlots;
      to[m] = {~0u, ~0u};
      if ((at < kRouterHashBatch) & (token + at < end))
        to[m] = integer(t.ids, t.ids_are_64_bit, first + token + at);
    }
  }
  __device__ __forceinline__ void entries(const HashInteger (&ids)[kOfLane],
                                          HashInteger (&to)[kOfLane]) const {
#pragma unroll
    for (int m = 0; m < kOfLane; ++m) {
      const std::int64_t row = ids[m].value(t.ids_are_64_bit);
      const int slot = column(m) % kSlots;
      to[m] = {0u, 0u};
      if (within(row, t.vocabulary) & (slot < t.choice.topk)) to[m] = entry_of(t, row, slot);
    }
  }
};

// A slice's sums of tokens `begin` to `end`. `fill`: it is not in shared memory yet.
template <int PAIRS, RouterOperands O>
__device__ __forceinline__ void sum_tokens(const RouterHashTilesTarget& t, const HashRound& round,
                                           std::uint32_t gate, int slice, bool fill, int begin,
                                           int end) {
  using P = RouterHashPairs<PAIRS>;
  using Lookup = HashLookup<PAIRS>;
  constexpr int kStep = kRouterHashTileWarps * kRouterHashBatch;
  constexpr int kParts = kRouterHashSlice / 64;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int columns = static_cast<int>(t.x.columns) - kRouterHashSlice * slice;
  if (fill) {
    // Nobody reads the slice before any more.
    __syncthreads();
    fetch_gate<O>(t, gate, std::int64_t{kRouterHashSlice} * slice);
  }
  const std::uint32_t of_lane = 16u * static_cast<std::uint32_t>(lane % 8);
  // Of 64 columns each, those that this lane has some of.
  const int parts = (columns - 8 * (lane % 8) + 63) / 64;
  int token = begin + warp * kRouterHashBatch;
  const char* x_of_lane =
      static_cast<const char*>(t.x.data) +
      ((round.first + token + lane / 8) * t.x.stride + kRouterHashSlice * slice) * 2 + of_lane;
  const auto fetch = [&](int batch, int part) {
    return load_once(x_of_lane + 128 * part, (batch + lane / 8 < end) & (part < parts));
  };
  uint4 x[2] = {fetch(token, 0), fetch(token, 1)};
  const Lookup lookup = {t, round.first, end};
  HashInteger id[Lookup::kOfLane];
  HashInteger next[Lookup::kOfLane];
  lookup.ids(token, id);
  lookup.entries(id, next);
  lookup.ids(token + kStep, id);
  copy_async_wait<0>();
  __syncthreads();
  x[0] = operand_of(x[0]);
  x[1] = operand_of(x[1]);
#pragma unroll 1
  for (; token < end; token += kStep) {
    // The first row where there is no expert, whose sum nobody reads.
    std::uint32_t rows[Lookup::kOfLane];
#pragma unroll
    for (int m = 0; m < Lookup::kOfLane; ++m)
      rows[m] = static_cast<std::uint32_t>(max(expert_of(t, next[m]), 0)) * kRowBytes;
    // For the next batch, and ids for the one behind it.
    lookup.entries(id, next);
    lookup.ids(token + 2 * kStep, id);
    if (lane % 8 == 0 && token + kStep + lane / 8 < end)
      prefetch_l2_bulk(x_of_lane + 2 * kStep * t.x.stride, 2 * min(kRouterHashSlice, columns));
#pragma unroll
    for (int pass = 0; pass < P::kPasses; ++pass) {
      std::uint32_t row[P::kQuads];
#pragma unroll
      for (int j = 0; j < P::kQuads; ++j) {
        const int quad = pass * P::kQuads + j;
        row[j] = gate + of_lane + __shfl_sync(0xffffffffu, rows[quad / 8], quad % 8 * 4 + lane / 8);
      }
      HashSums d[P::kQuads] = {};
      // Rolled up: of four parts in a row ptxas has more loads under way than it has registers.
#pragma unroll 1
      for (int part = 0; part < kParts; part += 2) {
        // x of the next two parts, or of the next batch, is on its way while these are multiplied.
        const bool last = part + 2 == kParts;
        const bool over = last && pass == P::kPasses - 1;
        if (over) x_of_lane += 2 * kStep * t.x.stride;
        const int batch = over ? token + kStep : token;
        const uint4 ahead[2] = {fetch(batch, last ? 0 : part + 2),
                                fetch(batch, last ? 1 : part + 3)};
#pragma unroll
        for (int side = 0; side < 2; ++side) {
#pragma unroll
          for (int j = 0; j < P::kQuads; j += 2) {
            const uint4 w[2] = {load_shared_16(row[j] + 128u * side),
                                load_shared_16(row[j + 1] + 128u * side)};
            multiply(d[j], x[side], w[0]);
            multiply(d[j + 1], x[side], w[1]);
            __syncwarp();
          }
        }
        x[0] = operand_of(ahead[0]);
        x[1] = operand_of(ahead[1]);
#pragma unroll
        for (int j = 0; j < P::kQuads; ++j) row[j] += 256u;
      }
      // Of two slots in the same place of two quads, lanes 4 apart have two of the four numbers each: they exchange those of one.
      const int odd = lane / 4 % 2;
#pragma unroll
      for (int j = 0; j < P::kQuads; j += 2) {
        const float even_of_first = __fadd_rn(d[j].low[0], d[j].high[2]);
        const float odd_of_first = __fadd_rn(d[j].low[1], d[j].high[3]);
        const float even_of_second = __fadd_rn(d[j + 1].low[0], d[j + 1].high[2]);
        const float odd_of_second = __fadd_rn(d[j + 1].low[1], d[j + 1].high[3]);
        const float mine = odd ? odd_of_second : even_of_first;
        const float given = odd ? odd_of_first : even_of_second;
        const float sum = __fadd_rn(mine, __shfl_xor_sync(0xffffffffu, given, 4));
        const int slot = (pass * P::kQuads + j + odd) * 4 + lane % 4;
        if ((slot / P::kSlots == lane / 8) & (token + lane / 8 < end))
          round.sums[(slice * round.tokens + token + lane / 8) * P::kSums + slot % P::kSlots] = sum;
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
      const float* from = round.sums + token * SUMS + slot;
      float z = 0.0f;
      constexpr int kAhead = 28;  // 7168 columns
      for (int first = 0; first < t.slices; first += kAhead) {
        float part[kAhead];
#pragma unroll
        for (int s = 0; s < kAhead; ++s)
          part[s] = first + s < t.slices ? __ldcg(from + (first + s) * round.tokens * SUMS) : 0.0f;
#pragma unroll
        for (int s = 0; s < kAhead; ++s) z = __fadd_rn(z, part[s]);
      }
      report_bad_ids(t, round.first + token, id, slot, expert);
      if (expert >= 0) {
        score = score_of_logit(t, round.first + token, expert, z);
        if (O == RouterOperands::kNvfp4 && z != z) {
          for (std::int64_t block = 0; block < t.x.columns / 16; ++block)
            check_block_scale(t, expert, block * 16);
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
  extern __shared__ __align__(128) char shared[];
  await_predecessor();
  std::uint32_t epoch = grid_epoch(t.barrier);
  if (blockIdx.x == 0 && threadIdx.x == 0) report_bad_global_scale(t);
  HashRound round = {0, 0, t.sums};
  int there = -1;  // the slice that is in shared memory
#pragma unroll 1
  for (; round.first < t.x.tokens; round.first += t.round_tokens) {
    round.tokens = static_cast<int>(min(t.round_tokens, t.x.tokens - round.first));
    // Slice by slice, what filling takes and then batches of tokens: of all this a part to each thread block.
    const int batches = (round.tokens + kRouterHashBatch - 1) / kRouterHashBatch;
    const int length = t.fill + batches;
    const std::int64_t all = std::int64_t{length} * t.slices;
    auto at = static_cast<int>(blockIdx.x * all / gridDim.x);
    const auto stop = static_cast<int>((blockIdx.x + 1) * all / gridDim.x);
#pragma unroll 1
    while (at < stop) {
      const int slice = at / length;
      const int begin = max(at - slice * length - t.fill, 0);
      at = min(stop, (slice + 1) * length);
      const int end = at - slice * length - t.fill;
      if (begin >= end) continue;
      sum_tokens<PAIRS, O>(t, round, smem_address(shared), slice, slice != there,
                           begin * kRouterHashBatch, min(end * kRouterHashBatch, round.tokens));
      there = slice;
    }
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
  RouterHashTilesTarget t{
      router_hash_target(launch, args, plan), reinterpret_cast<GridExchange*>(workspace),
      reinterpret_cast<float*>(workspace + kWorkspaceExchangeBytes), plan.round_tokens, plan.fill};
  t.slices = plan.slices;
  void* arguments[] = {&t};
  return launch_cooperative_programmatic(kernel_of(plan.operands, plan.pairs), launch,
                                         grid_of(plan.grid), kRouterHashTileThreads,
                                         plan.shared_bytes, arguments);
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
