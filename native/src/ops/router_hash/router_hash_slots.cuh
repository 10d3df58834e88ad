// SPDX-License-Identifier: Apache-2.0
// What router_hash's kernels have in common: from a token to its experts, and from their logits to weights.
#pragma once
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
  bool
      settled;  // W and the table may be read before the kernel before has ended: where it is `early`
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
  t.settled = t.early && args.gate.settled;
  return t;
}

namespace device {

// An id or an entry of the table as it is in memory: what is made of it waits for it, and is left to whoever needs it.
struct HashInteger {
  std::uint32_t low;
  std::uint32_t high;

  __device__ __forceinline__ std::int64_t value(bool is_64_bit) const {
    const std::uint32_t sign = static_cast<std::uint32_t>(static_cast<std::int32_t>(low) >> 31);
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(is_64_bit ? high : sign) << 32 |
                                     low);
  }
};

// EARLY: before the wait for the kernel before, which may be writing it: past L1 (load_shared_word).
template <bool EARLY = false>
__device__ __forceinline__ HashInteger integer(const void* data, bool is_64_bit, std::int64_t at) {
  HashInteger v = {0u, 0u};
  if (is_64_bit) {
    const auto* p = static_cast<const std::uint64_t*>(data) + at;
    if constexpr (EARLY) {
      const std::uint64_t word = load_shared_word(p);
      v = {static_cast<std::uint32_t>(word), static_cast<std::uint32_t>(word >> 32)};
    } else {
      const uint2 words = load(reinterpret_cast<const uint2*>(p));
      v = {words.x, words.y};
    }
  } else {
    const auto* p = static_cast<const std::uint32_t*>(data) + at;
    if constexpr (EARLY) {
      v.low = load_shared_word(p);
    } else {
      v.low = load(p);
    }
  }
  return v;
}

__device__ __forceinline__ bool within(std::int64_t i, std::int64_t end) {
  return static_cast<std::uint64_t>(i) < static_cast<std::uint64_t>(end);
}

template <bool EARLY = false>
__device__ __forceinline__ std::int64_t id_of(const RouterHashTarget& t, std::int64_t token) {
  return integer<EARLY>(t.ids, t.ids_are_64_bit, token).value(t.ids_are_64_bit);
}

// What the table says of a slot of a good id.
template <bool EARLY = false>
__device__ __forceinline__ HashInteger entry_of(const RouterHashTarget& t, std::int64_t id,
                                                int slot) {
  return integer<EARLY>(t.table, t.table_is_64_bit, id * t.choice.topk + slot);
}
// The expert that it is, or -1.
__device__ __forceinline__ int expert_of(const RouterHashTarget& t, HashInteger entry) {
  const std::int64_t expert = entry.value(t.table_is_64_bit);
  return within(expert, t.gate.experts) ? static_cast<int>(expert) : -1;
}

// The logit of a good expert becomes a score; it is reported where it is not finite.
__device__ __forceinline__ float score_of_logit(const RouterHashTarget& t, std::int64_t token,
                                                int expert, float z) {
  if (t.gate.global_scale != nullptr) z = __fmul_rn(z, load(t.gate.global_scale));
  if (!math::is_finite(z))
    report_here(t.status, t.op, NVFP4J_CAUSE_NON_FINITE_RESULT, token, expert);
  return score_of(z);
}

// What is wrong with a token's id, or with the entry of one of its slots; `expert` is that of the slot.
__device__ __forceinline__ void report_bad_ids(const RouterHashTarget& t, std::int64_t token,
                                               std::int64_t id, int slot, int expert) {
  const bool known = within(id, t.vocabulary);
  if (!known & (slot == 0)) report_here(t.status, t.op, NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, token, -1);
  if (known & (expert < 0))
    report_here(t.status, t.op, NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, token, slot);
}

}  // namespace device
}  // namespace nvfp4j
