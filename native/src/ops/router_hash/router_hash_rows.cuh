// SPDX-License-Identifier: Apache-2.0
// What router_hash's kernels have in common: from a token to its experts, and products of x with their rows of W.
#pragma once
#include "device/packet.cuh"
#include "ops/router_dense/router_choose.cuh"
#include "ops/router_dense/router_sums.cuh"
#include "ops/router_hash/router_hash_args.hpp"
#include "ops/router_hash/router_hash_plan.hpp"

namespace nvfp4j {

struct RouterHashTarget : RouterTarget {
  const void* table;
  const void* ids;
  std::int64_t vocabulary;
  bool table_is_64_bit;
  bool ids_are_64_bit;
  bool early;
};

inline RouterHashTarget router_hash_target(const CudaLaunch& launch, const RouterHashArgs& args,
                                           const RouterHashPlan& plan) {
  RouterHashTarget t{};
  t.x = args.x;
  t.gate = args.gate;
  t.choice = args.choice;
  t.status = launch.status;
  t.op = NVFP4J_OP_ROUTER_HASH;
  t.table = args.table;
  t.ids = args.ids;
  t.vocabulary = args.vocabulary;
  t.table_is_64_bit = args.table_is_64_bit;
  t.ids_are_64_bit = args.ids_are_64_bit;
  t.early = plan.early && launch.programmatic;
  return t;
}

namespace device {

// EARLY: before the wait for the kernel before, which may be writing it: past L1, so that the load behind the wait finds nothing old there.
template <bool EARLY = false>
__device__ __forceinline__ std::int64_t integer(const void* data, bool is_64_bit, std::int64_t at) {
  if (is_64_bit) {
    const auto* p = static_cast<const std::uint64_t*>(data) + at;
    if constexpr (EARLY) return static_cast<std::int64_t>(load_shared_word(p));
    const uint2 v = load(reinterpret_cast<const uint2*>(p));
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(v.y) << 32 | v.x);
  }
  const auto* p = static_cast<const std::int32_t*>(data) + at;
  if constexpr (EARLY) {
    std::int32_t v;
    asm volatile("ld.relaxed.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return v;
  }
  return load(p);
}

__device__ __forceinline__ bool within(std::int64_t i, std::int64_t end) {
  return static_cast<std::uint64_t>(i) < static_cast<std::uint64_t>(end);
}

// The expert in slot j of a token that has a good id, or -1.
template <bool EARLY = false>
__device__ __forceinline__ int expert_of(const RouterHashTarget& t, std::int64_t id, int j) {
  const std::int64_t expert = integer<EARLY>(t.table, t.table_is_64_bit, id * t.choice.topk + j);
  return within(expert, t.gate.experts) ? static_cast<int>(expert) : -1;
}

// Brings what a token needs of some columns to L2, with `threads` threads. What the kernel before still writes may be old here: nothing is used but addresses within the tensors.
__device__ __forceinline__ void prefetch_rows(const RouterHashTarget& t, std::int64_t token,
                                              std::int64_t begin, std::int64_t end, int threads) {
  constexpr int kLine = 128;
  const int x_bytes = t.x.dtype == NVFP4J_DTYPE_F32 ? 4 : 2;
  const auto* x = static_cast<const char*>(t.x.data) + (token * t.x.stride + begin) * x_bytes;
  for (std::int64_t at = std::int64_t{kLine} * threadIdx.x; at < (end - begin) * x_bytes;
       at += kLine * threads)
    prefetch_l2(x + at);
  const std::int64_t id = integer<true>(t.ids, t.ids_are_64_bit, token);
  if (!within(id, t.vocabulary)) return;
  const int gate_bits = t.gate.scales != nullptr ? 4 : t.gate.dtype == NVFP4J_DTYPE_F32 ? 32 : 16;
  const int lines = static_cast<int>(((end - begin) * gate_bits / 8 + kLine - 1) / kLine);
  for (int i = static_cast<int>(threadIdx.x); i < lines * t.choice.topk; i += threads) {
    const int expert = expert_of<true>(t, id, i / lines);
    if (expert >= 0)
      prefetch_l2(static_cast<const char*>(t.gate.data) +
                  (expert * t.gate.stride + begin) * gate_bits / 8 + i % lines * kLine);
  }
}

// The sums of 8 columns of x with those of an expert's row.
template <RouterOperands O>
struct HashPacket;

template <>
struct HashPacket<RouterOperands::kBf16> {
  static __device__ __forceinline__ uint4 gate(const RouterHashTarget& t, int expert,
                                               std::int64_t column) {
    return router_packet(t.gate.data, t.gate.stride, expert, column, expert >= 0);
  }
  static __device__ __forceinline__ uint4 bf16(const RouterHashTarget&, uint4 w, int,
                                               std::int64_t) {
    return w;
  }
};

template <>
struct HashPacket<RouterOperands::kNvfp4> {
  static __device__ __forceinline__ RouterCodes gate(const RouterHashTarget& t, int expert,
                                                     std::int64_t column) {
    return router_codes(t.gate, t.x.columns, expert, column, expert >= 0);
  }
  static __device__ __forceinline__ uint4 bf16(const RouterHashTarget& t, RouterCodes w, int expert,
                                               std::int64_t column) {
    if (bad_block_scale(w.scale))
      report_here(t.status, t.op, NVFP4J_CAUSE_BAD_BLOCK_SCALE, expert, column / 16 * 16);
    return expand(w);
  }
};

// Sums of this thread's columns of x with rows of W, of up to kRouterHashRows experts: those from `begin` on that are `thread` + a multiple of `threads`, 8 (or 1) at a time.
template <RouterOperands O>
__device__ __forceinline__ void row_sums(const RouterHashTarget& t, std::int64_t token,
                                         const int (&experts)[kRouterHashRows], std::int64_t begin,
                                         std::int64_t end, int threads,
                                         float (&sum)[kRouterHashRows]) {
#pragma unroll
  for (int j = 0; j < kRouterHashRows; ++j) sum[j] = 0.0f;
  if constexpr (O == RouterOperands::kAny) {
    for (std::int64_t column = begin + threadIdx.x; column < end; column += threads) {
      const float x = element(t.x.data, t.x.dtype, token * t.x.stride + column);
#pragma unroll
      for (int j = 0; j < kRouterHashRows; ++j) {
        if (experts[j] >= 0) sum[j] = __fmaf_rn(x, gate_element(t, experts[j], column), sum[j]);
      }
    }
  } else {
    using Packet = HashPacket<O>;
    for (std::int64_t column = begin + std::int64_t{8} * threadIdx.x; column < end;
         column += 8 * threads) {
      const uint4 packet = router_packet(t.x.data, t.x.stride, token, column, true);
      decltype(Packet::gate(t, 0, 0)) w[kRouterHashRows];
#pragma unroll
      for (int j = 0; j < kRouterHashRows; ++j) w[j] = Packet::gate(t, experts[j], column);
      float x[8];
      unpack<Bf16>(packet, x);
#pragma unroll
      for (int j = 0; j < kRouterHashRows; ++j) {
        if (experts[j] >= 0) {
          float row[8];
          unpack<Bf16>(Packet::bf16(t, w[j], experts[j], column), row);
#pragma unroll
          for (int i = 0; i < 8; ++i) sum[j] = __fmaf_rn(x[i], row[i], sum[j]);
        }
      }
    }
  }
}

// The logit of a good expert becomes a score; it is reported where it is not finite.
__device__ __forceinline__ float score_of_logit(const RouterHashTarget& t, std::int64_t token,
                                                int expert, float z) {
  if (t.gate.global_scale != nullptr) z = __fmul_rn(z, load(t.gate.global_scale));
  if (!math::is_finite(z))
    report_here(t.status, t.op, NVFP4J_CAUSE_NON_FINITE_RESULT, token, expert);
  return score_of(z);
}

// Sums over the warp of kRouterHashRows numbers a lane: that of number lane / 4, in every lane.
__device__ __forceinline__ float sum_of_lanes(float (&v)[kRouterHashRows]) {
  static_assert(kRouterHashRows == 8);
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int step = 16, count = 4; count >= 1; step /= 2, count /= 2) {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const bool upper = (lane & step) != 0;
      const float kept = upper ? v[i + count] : v[i];
      const float given = upper ? v[i] : v[i + count];
      v[i] = __fadd_rn(kept, __shfl_xor_sync(0xffffffffu, given, step));
    }
  }
#pragma unroll
  for (int step = 2; step >= 1; step /= 2)
    v[0] = __fadd_rn(v[0], __shfl_xor_sync(0xffffffffu, v[0], step));
  return v[0];
}

// A token's id and, in the lane's place j, its expert; reported by the caller.
__device__ __forceinline__ int expert_of_lane(const RouterHashTarget& t, std::int64_t id) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return (lane < t.choice.topk) & within(id, t.vocabulary) ? expert_of(t, id, lane) : -1;
}
__device__ __forceinline__ void report_bad_ids(const RouterHashTarget& t, std::int64_t token,
                                               std::int64_t id, int expert) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const bool known = within(id, t.vocabulary);
  if (!known & (lane == 0)) report_here(t.status, t.op, NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, token, -1);
  if (known & (lane < t.choice.topk) & (expert < 0))
    report_here(t.status, t.op, NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, token, lane);
}

}  // namespace device
}  // namespace nvfp4j
