// SPDX-License-Identifier: Apache-2.0
// hc_pre_split's gatherers: they add up the slices' sums of the tokens that this thread block finishes, and make mixing weights of them.
#pragma once
#include "common/math.hpp"
#include "ops/hc_pre/hc_pre_math.cuh"
#include "ops/hc_pre/hc_pre_split_places.cuh"

namespace nvfp4j::device {

template <HcKind KIND>
struct HcSplitGatherer : HcSplitPlaces<KIND> {
  using Base = HcSplitPlaces<KIND>;
  using Base::a;
  using Base::advance;
  using Base::first_finished;
  using Base::first_tag;
  using Base::first_token;
  using Base::is_one;
  using Base::kHead;
  using Base::kMixes;
  using Base::kSquaresCut;
  using Base::kTiles;
  using Base::kWords;
  using Base::lane;
  using Base::pre_word;
  using Base::queue;
  using Base::queue_empty;
  using Base::queue_full;
  using Base::smem;
  using Base::squares;
  using Base::sums_word;
  using typename Base::Finished;

  __device__ __forceinline__ void run(int gatherer) const {
    constexpr int kLanes = 32 / kWords;     // that take a slice each
    constexpr int kLoads = kHead ? 6 : 12;  // a lane has under way
    const std::uint32_t tag = first_tag();
    const int word = lane % kWords;
    const int turn = lane / kWords;
    const int per = (a.slices + a.gatherers - 1) / a.gatherers;
    const int begin = gatherer * per;
    const int end = min(begin + per, a.slices);
    const int kind = lane < kHcStreams ? 0 : lane < 2 * kHcStreams ? 1 : 2;
    const float scale = lane < kMixes ? load(a.scale + kind) : 0.0f;
    const float base = lane < kMixes ? load(a.base + lane) : 0.0f;
    int n = 0;
    for (Finished f = first_finished(); is_one(f); advance(f)) {
      const std::uint32_t expected = tag + static_cast<std::uint32_t>(f.wave);
      double sum[3] = {0.0, 0.0, 0.0};
      for (int i0 = begin; i0 < end; i0 += kLanes * kLoads) {
        Word16 v[kLoads];
        for (bool there = false; !there;) {
          bool mine = true;
#pragma unroll
          for (int k = 0; k < kLoads; ++k) {
            const int i = i0 + turn + k * kLanes;
            v[k] = {{0.0f, 0.0f, 0.0f}, expected};
            if (turn < kLanes && i < end) v[k] = receive(sums_word(f.wave, f.token, i, word));
          }
#pragma unroll
          for (int k = 0; k < kLoads; ++k) mine = mine && v[k].tag == expected;
          there = __all_sync(0xffffffffu, mine);
        }
#pragma unroll
        for (int k = 0; k < kLoads; ++k) {
#pragma unroll
          for (int e = 0; e < 3; ++e) sum[e] += static_cast<double>(v[k].v[e]);
        }
      }
      double* parts = reinterpret_cast<double*>(smem + a.layout.parts) +
                      (n & 1) * (a.gatherers * 3 * kHcMixWords);
#pragma unroll
      for (int e = 0; e < 3; ++e) {
        double all = sum[e];
#pragma unroll
        for (int k = 1; k < kLanes; ++k)
          all += __shfl_sync(0xffffffffu, sum[e], (lane + k * kWords) & 31);
        if (lane < kWords && e < kTiles) {
          const bool mix = lane < kWords - 1;
          if (mix || e == 0)
            parts[gatherer * (3 * kHcMixWords) + (mix ? e * 8 + lane : kMixes)] = all;
        }
      }
      __syncwarp();
      if (a.gatherers > 1) named_barrier(1, a.gatherers * 32);
      if (gatherer == 0) finish_token(f, n, parts, scale, base, expected);
      ++n;
    }
  }

  // Lane i has the sum of mix i; that of squares is behind them.
  __device__ __forceinline__ void finish_token(Finished f, int n, const double* parts, float scale,
                                               float base, std::uint32_t tag) const {
    double sum = 0.0;
    if (lane <= kMixes) {
      for (int i = 0; i < a.gatherers; ++i) sum += parts[i * (3 * kHcMixWords) + lane];
    }
    double squares = __shfl_sync(0xffffffffu, sum, kMixes);
    squares += squares * kSquaresCut;
    const double mean = squares * a.inverse_count + a.rms_eps;
    const float logit = logit_of(sum + sum * kHcCut, mean, scale, base);
    const std::int64_t token = first_token(f.wave) + f.token;
    const bool good = math::is_finite(logit) && math::is_finite(static_cast<float>(squares));
    // Sinkhorn takes longest: it begins first.
    if constexpr (!kHead) {
      mbarrier_wait(queue_empty(n), (static_cast<std::uint32_t>(n) / kHcQueue & 1u) ^ 1u);
      if (lane >= 2 * kHcStreams && lane < kMixes) queue(n)[lane - 2 * kHcStreams] = logit;
      mbarrier_arrive(queue_full(n));
    }
    const float s = sigmoid(logit);
    if (lane < kHcStreams) {
      store_shared_word(
          pre_word(f.wave, f.token, lane),
          static_cast<std::uint64_t>(tag) << 32 | __float_as_uint(__fadd_rn(s, a.hc_eps)));
    }
    if (__any_sync(0xffffffffu, lane < kMixes && !good)) {
      if (lane == 0) report(a.status, a.op, NVFP4J_CAUSE_NON_FINITE_RESULT, token, -1);
    }
    if constexpr (!kHead) {
      if (lane >= kHcStreams && lane < 2 * kHcStreams)
        a.post[token * a.post_token + lane - kHcStreams] = math::canonical_nan(__fmul_rn(2.0f, s));
    }
  }
};

}  // namespace nvfp4j::device
