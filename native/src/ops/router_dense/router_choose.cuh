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

__device__ __forceinline__ std::uint32_t upper(std::uint64_t key) {
  return static_cast<std::uint32_t>(key >> 32);
}

// A warp's room in shared memory while it chooses.
struct alignas(16) RouterChooser {
  std::uint64_t candidates[32];
  float of_candidates[32];  // their scores
  int candidate_experts[32];
  float scores[NVFP4J_MAX_TOPK];
  int experts[NVFP4J_MAX_TOPK];
};
static_assert(sizeof(RouterChooser) % 16 == 0 && NVFP4J_MAX_TOPK == 16);

// One warp writes the choice of a token: each lane that has one of the k, an expert and its score, in its place; the others' places are k or more. An expert of -1 is none: its score is 0, and its weight too.
__device__ __forceinline__ void write_choice(const RouterChoice& c, std::int64_t token, int place,
                                             int expert, float score, RouterChooser& room) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (lane < NVFP4J_MAX_TOPK) room.scores[lane] = 0.0f;
  __syncwarp();
  if (place < c.topk) room.scores[place] = score;
  __syncwarp();
  // In their order; zeros behind them change nothing.
  float4 s[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) s[i] = reinterpret_cast<const float4*>(room.scores)[i];
  float sum = s[0].x;
  sum = __fadd_rn(__fadd_rn(__fadd_rn(sum, s[0].y), s[0].z), s[0].w);
#pragma unroll
  for (int i = 1; i < 4; ++i)
    sum = __fadd_rn(__fadd_rn(__fadd_rn(__fadd_rn(sum, s[i].x), s[i].y), s[i].z), s[i].w);
  if (place < c.topk) {
    c.indices[token * c.indices_stride + place] = expert;
    c.weights[token * c.weights_stride + place] =
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
    const std::uint32_t highest = __reduce_max_sync(0xffffffffu, upper(best));
    const std::uint32_t low = __reduce_max_sync(
        0xffffffffu, upper(best) == highest ? static_cast<std::uint32_t>(best) : 0u);
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

// One warp chooses for one token, from the logits of up to 32 KEYS experts: `logit(expert)`, or `values` in whatever memory; `bias(i, expert)` of the lane's i-th. Who may be among the k is found with what is nearly the score; these are then compared.
template <int KEYS, class Logit, class Bias>
__device__ __forceinline__ void choose(const RouterTarget& t, std::int64_t token,
                                       const volatile float* values, Logit logit, Bias bias,
                                       RouterChooser& room) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int experts = t.gate.experts;
  const float nothing = __uint_as_float(0xFF800000u);  // -infinity
  float near[KEYS];
  bool finite = true;
  bool ordinary = true;
  float best = nothing;
  // Without branches: behind the last expert there is the first again, which counts for nothing.
#pragma unroll
  for (int i = 0; i < KEYS; ++i) {
    const int expert = 32 * i + lane < experts ? 32 * i + lane : 0;
    const float z = logit(expert);
    finite = finite & math::is_finite(z);
    ordinary = ordinary & (z <= kNearlyMost);
    const float b = nearly(z, bias(i, expert));
    near[i] = 32 * i + lane < experts ? b : nothing;
    best = fmaxf(best, near[i]);  // a NaN is none
  }
  if (!finite) {
    for (int expert = lane; expert < experts; expert += 32) {
      if (!math::is_finite(logit(expert)))
        report_here(t.status, t.op, NVFP4J_CAUSE_NON_FINITE_RESULT, token, expert);
    }
  }
  std::uint32_t highest = ordered(best);
  std::uint32_t least = 0;
  for (int j = 0; j < t.choice.topk; ++j) {
    least = __reduce_max_sync(0xffffffffu, highest);
    const std::uint32_t who = __ballot_sync(0xffffffffu, highest == least);
    if (lane == __ffs(static_cast<int>(who)) - 1) highest = 0;
  }
  // k experts are nearly that or more, so that the k-th is no less than that less its error, and nearly no less than that less twice the error.
  const float bound = unordered(least);
  const float lowest = __fadd_rn(bound, -__fmaf_rn(fabsf(bound), 0x1p-18f, 2.0f * kNearly));
  int count = 0;
#pragma unroll
  for (int i = 0; i < KEYS; ++i) {
    const bool in = (near[i] >= lowest) & (32 * i + lane < experts);
    const std::uint32_t who = __ballot_sync(0xffffffffu, in);
    const int at = count + __popc(who & ((1u << lane) - 1u));
    if (in & (at < 32)) room.candidate_experts[at] = 32 * i + lane;
    count += __popc(who);
  }
  __syncwarp();
  int place = NVFP4J_MAX_TOPK;
  int expert = 0;
  float score = 0.0f;
  // With infinities in play, or logits that are too large for it, the bound says nothing.
  if ((count <= 32) & math::is_finite(bound) & __all_sync(0xffffffffu, ordinary)) {
    std::uint64_t mine = 0;
    if (lane < count) {
      expert = room.candidate_experts[lane];
      score = score_of(logit(expert));
      mine = router_key(__fadd_rn(score, load(t.bias + expert)), expert);
      room.candidates[lane] = mine;
    }
    __syncwarp();
    if (lane < count) place = place_of_candidate(room, count, mine);
  } else {
    choose_among_many(values, false, t.bias, experts, t.choice.topk, room.experts);
    if (lane < t.choice.topk) {
      place = lane;
      expert = room.experts[lane];
      score = score_of(logit(expert));
    }
  }
  write_choice(t.choice, token, place, expert, score, room);
  __syncwarp();
}

}  // namespace nvfp4j::device
