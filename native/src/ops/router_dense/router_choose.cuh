// SPDX-License-Identifier: Apache-2.0
// From the logits of a token to its experts and their weights.
//
// A score takes a chain of some fifty operations: without branches, so that those of several experts overlap. Of keys, which are the order of choice, few are compared with each other: the k-th largest of the maxima of 32 lanes (or 16 half warps) is no more than the k-th largest of all, so that what is
// below it is out. The rest finds its place by counting who is ahead of it.
#pragma once
#include "device/ptx.cuh"
#include "device/status.cuh"
#include "ops/router_dense/router_math.hpp"
#include "ops/router_dense/router_target.cuh"

namespace nvfp4j::device {

// sqrt of x >= 0, rounded to nearest even: what the compiler makes of __fsqrt_rn in the ordinary range, with small ones moved there instead of a branch.
__device__ __forceinline__ float sqrt_rn(float x) {
  const bool small = x < 0x1p-96f;
  const float scaled = small ? __fmul_rn(x, 0x1p64f) : x;
  float r;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(scaled));
  const float g = __fmul_rn(scaled, r);
  const float h = __fmul_rn(r, 0.5f);
  const float s = __fmaf_rn(__fmaf_rn(-g, g, scaled), h, g);
  const float root = small ? __fmul_rn(s, 0x1p-32f) : s;
  // 0 and infinity are their own.
  return (x == 0.0f) | (x == __uint_as_float(0x7F800000u)) ? x : root;
}

// router_score(), of which it has the bits.
__device__ __forceinline__ float score_of(float z) {
  const float softplus = z > 20.0f ? z : math::log1p(math::exp(z));
  return math::canonical_nan(sqrt_rn(softplus));
}

// Room in shared memory for a token that a warp chooses for.
struct alignas(16) RouterChooser {
  std::uint64_t candidates[32];
  float of_candidates[32];        // their scores
  float scores[NVFP4J_MAX_TOPK];  // of the k, in their places
  int experts[NVFP4J_MAX_TOPK];
};
static_assert(sizeof(RouterChooser) % 16 == 0 && NVFP4J_MAX_TOPK == 16);

// By whole warps, SLOTS lanes a token: each has the expert of its slot, or -1, and its score, 0 where there is none.
template <int SLOTS>
__device__ __forceinline__ void write_slots(const RouterChoice& c, std::int64_t token, bool there,
                                            int expert, float score) {
  const int slot = static_cast<int>(threadIdx.x) % SLOTS;
  // In their order; zeros change nothing.
  float sum = 0.0f;
#pragma unroll
  for (int j = 0; j < SLOTS; ++j) sum = __fadd_rn(sum, __shfl_sync(0xffffffffu, score, j, SLOTS));
  if (there & (slot < c.topk)) {
    c.indices[token * c.indices_stride + slot] = expert;
    c.weights[token * c.weights_stride + slot] =
        expert < 0 ? 0.0f : router_weight(score, sum, c.scale);
  }
}

// How many of a warp's candidates are ahead of this lane's: at most 32 of them, which lie in shared memory.
__device__ __forceinline__ int place_of_candidate(const RouterChooser& room, int count,
                                                  std::uint64_t mine) {
  int ahead = 0;
#pragma unroll 8
  for (int i = 0; i < count; ++i) ahead += room.candidates[i] > mine ? 1 : 0;
  return ahead;
}

// The choice by one warp from any number of experts, where too many are equal to be compared with each other: into room.experts. `values` are scores, or logits, in whatever memory.
__device__ __noinline__ inline void choose_among_many(const volatile float* values, bool scores,
                                                      const float* bias, int count, int topk,
                                                      int* experts) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  std::uint64_t last = ~std::uint64_t{0};
  for (int j = 0; j < topk; ++j) {
    std::uint64_t best = 0;
    for (int expert = lane; expert < count; expert += 32) {
      const float value = values[expert];
      const std::uint64_t key =
          router_key(__fadd_rn(scores ? value : score_of(value), load(bias + expert)), expert);
      if ((key < last) & (key > best)) best = key;
    }
    const std::uint32_t highest = __reduce_max_sync(0xffffffffu, upper_word(best));
    const std::uint32_t low = __reduce_max_sync(
        0xffffffffu, upper_word(best) == highest ? static_cast<std::uint32_t>(best) : 0u);
    last = static_cast<std::uint64_t>(highest) << 32 | low;
    if (lane == 0) experts[j] = router_expert(last);
  }
  __syncwarp();
}

// b = score + bias of a logit of up to kNearlyMost, nearly: within kNearly + 2^-19 |b| of the exact one, where that is finite. Of small scores the sum 1 + e^z keeps no more than 2^-22 and the root makes 2^-11 of that; elsewhere it is closer by far. (Of larger logits the root's own error, 2^-22 of the score, would not be small beside a bias that takes the score back.)
inline constexpr float kNearly = 0x1p-10f;
inline constexpr float kNearlyMost = 0x1p20f;
__device__ __forceinline__ float nearly(float z, float bias) {
  float e, l, root;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(__fmul_rn(z, 0x1.715476p+0f)));
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(l) : "f"(__fadd_rn(e, 1.0f)));
  l = l < 0.0f ? 0.0f : l;  // next to 1 it is not exact; a NaN stays
  asm("sqrt.approx.ftz.f32 %0, %1;"
      : "=f"(root)
      : "f"(z > 20.0f ? z : __fmul_rn(l, 0x1.62e430p-1f)));
  return __fadd_rn(root, bias);
}

// Larger numbers become larger integers; NaN as it falls.
__device__ __forceinline__ std::uint32_t ordered(float x) {
  const std::uint32_t b = __float_as_uint(x);
  return b ^ (b >= 0x80000000u ? 0xffffffffu : 0x80000000u);
}
__device__ __forceinline__ float unordered(std::uint32_t b) {
  return __uint_as_float(b ^ (b >= 0x80000000u ? 0x80000000u : 0xffffffffu));
}

// Room of a warp that chooses for GROUP tokens side by side.
template <int GROUP>
struct alignas(16) RouterRoom {
  RouterChooser of[GROUP];
  int list[32 * GROUP];  // experts who may be among the k, up to 32 of each token
};

// One warp chooses for GROUP tokens, from the logits of up to 32 KEYS experts. Of `of`: the call's `token(g)` and whether it is `there`, the lane's i-th `logit(g, i)` and `bias(i)`, 0 (or NaN) and -infinity where it has none; `values(g)`, all logits in whatever memory.
// Each step is a chain of latencies: so tokens go side by side. Who may be among the k is found with what is nearly the score; the few of all tokens share the lanes, get their scores, and are compared.
template <int KEYS, int GROUP, class Of>
__device__ __forceinline__ void choose(const RouterTarget& t, const Of& of,
                                       RouterRoom<GROUP>& room) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int experts = t.gate.experts;
  const int topk = t.choice.topk;
  float near[GROUP][KEYS];
  float zero = 0.0f;  // NaN where a logit is not finite
  float largest = 0.0f;
  std::uint32_t highest[GROUP];
#pragma unroll
  for (int g = 0; g < GROUP; ++g) {
    float best = __uint_as_float(0xFF800000u);  // -infinity
#pragma unroll
    for (int i = 0; i < KEYS; ++i) {
      const float z = of.logit(g, i);
      zero = __fmaf_rn(z, 0.0f, zero);
      largest = fmaxf(largest, z);
      near[g][i] = nearly(z, of.bias(i));
      best = fmaxf(best, near[g][i]);  // a NaN is none
    }
    highest[g] = ordered(best);
    room.of[g].candidates[lane] = 0;  // behind all
  }
  if (zero != zero) {
#pragma unroll 1
    for (int g = 0; g < GROUP; ++g) {
      if (!of.there(g)) continue;
      for (int expert = lane; expert < experts; expert += 32) {
        if (!math::is_finite(of.values(g)[expert]))
          report_here(t.status, t.op, NVFP4J_CAUSE_NON_FINITE_RESULT, of.token(g), expert);
      }
    }
  }
  std::uint32_t least[GROUP] = {};
#pragma unroll 1
  for (int j = 0; j < topk; ++j) {
#pragma unroll
    for (int g = 0; g < GROUP; ++g) {
      least[g] = __reduce_max_sync(0xffffffffu, highest[g]);
      const std::uint32_t who = __ballot_sync(0xffffffffu, highest[g] == least[g]);
      if (lane == __ffs(static_cast<int>(who)) - 1) highest[g] = 0;
    }
  }
  // With infinities in play, or logits that are too large for it, what is nearly the score says nothing.
  bool ordinary = largest <= kNearlyMost;
  std::uint32_t mine[GROUP];  // a bit for each that may be among the k
#pragma unroll
  for (int g = 0; g < GROUP; ++g) {
    // k experts are nearly `bound` or more, so that the k-th is no less than that less its error, and nearly no less than that less twice the error.
    const float bound = unordered(least[g]);
    const float lowest = __fadd_rn(bound, -__fmaf_rn(fabsf(bound), 0x1p-18f, 2.0f * kNearly));
    ordinary = ordinary & math::is_finite(lowest);  // and so is `bound` then
    mine[g] = 0;
#pragma unroll
    for (int i = 0; i < KEYS; ++i) mine[g] |= near[g][i] >= lowest ? 1u << i : 0u;
  }
  // A lane has one of them, seldom more.
  int count[GROUP] = {};
  bool more;
  do {
    more = false;
#pragma unroll
    for (int g = 0; g < GROUP; ++g) {
      const std::uint32_t who = __ballot_sync(0xffffffffu, mine[g] != 0u);
      const int place = count[g] + __popc(who & ((1u << lane) - 1u));
      if ((mine[g] != 0u) & (place < 32))
        room.list[32 * g + place] = 32 * (__ffs(static_cast<int>(mine[g])) - 1) + lane;
      mine[g] &= mine[g] - 1u;
      count[g] += __popc(who);
      more = more | (mine[g] != 0u);
    }
  } while (__any_sync(0xffffffffu, more));
  int most = 0;
  int total = 0;
#pragma unroll
  for (int g = 0; g < GROUP; ++g) {
    most = max(most, count[g]);
    total += count[g];
  }
  // The candidates of all tokens, one after the other.
  const auto entry_of = [&](int i, int& g, int& place) {
    g = 0;
    place = i;
#pragma unroll
    for (int next = 1, before = 0; next < GROUP; ++next) {
      before += count[next - 1];
      g = i >= before ? next : g;
      place = i >= before ? i - before : place;
    }
    return room.list[32 * g + place];
  };
  __syncwarp();
  if ((most <= 32) & __all_sync(0xffffffffu, ordinary)) {
    for (int first = 0; first < total; first += 32) {
      if (first + lane < total) {
        int g, place;
        const int expert = entry_of(first + lane, g, place);
        const float bias = load(t.bias + expert);
        const float score = score_of(of.values(g)[expert]);
        room.of[g].candidates[place] = router_key(__fadd_rn(score, bias), expert);
        room.of[g].of_candidates[place] = score;
      }
    }
    __syncwarp();
    for (int first = 0; first < total; first += 32) {
      if (first + lane < total) {
        int g, at;
        const int expert = entry_of(first + lane, g, at);
        RouterChooser& r = room.of[g];
        const int place = place_of_candidate(r, most, r.candidates[at]);
        if (place < topk) {
          r.experts[place] = expert;
          r.scores[place] = r.of_candidates[at];
        }
      }
    }
  } else {
#pragma unroll 1
    for (int g = 0; g < GROUP; ++g) {
      choose_among_many(of.values(g), false, t.bias, experts, topk, room.of[g].experts);
      if (lane < topk) room.of[g].scores[lane] = score_of(of.values(g)[room.of[g].experts[lane]]);
    }
  }
  __syncwarp();
  // Half a warp to each.
  constexpr int kSlots = NVFP4J_MAX_TOPK;
#pragma unroll
  for (int first = 0; first < GROUP; first += 2) {
    const int g = min(first + lane / kSlots, GROUP - 1);
    const bool here = (first + lane / kSlots < GROUP) & (lane % kSlots < topk);
    const int expert = here ? room.of[g].experts[lane % kSlots] : 0;
    const float score = here ? room.of[g].scores[lane % kSlots] : 0.0f;
    write_slots<kSlots>(t.choice, of.token(g), here & of.there(g), expert, score);
  }
  __syncwarp();
}

}  // namespace nvfp4j::device
