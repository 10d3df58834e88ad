// SPDX-License-Identifier: Apache-2.0
// hc_pre_wgmma: the warps that finish tokens. Gatherers add up the slices' sums and make mixing weights of them; of hc_post_pre's tail one warp makes norms.
#pragma once
#include "common/math.hpp"
#include "ops/hc_pre/hc_pre_math.cuh"
#include "ops/hc_pre/hc_pre_wgmma_places.cuh"

namespace nvfp4j::device {

template <HcKind KIND, int GRANULES>
struct HcWgmmaGatherer : HcWgmmaPlaces<KIND, GRANULES> {
  using Base = HcWgmmaPlaces<KIND, GRANULES>;
  using Base::a;
  using Base::advance;
  using Base::await_own_sums;
  using Base::first_finished;
  using Base::first_token;
  using Base::is_one;
  using Base::kGatherers;
  using Base::lane;
  using Base::mix_words;
  using Base::pre_words;
  using Base::queue;
  using Base::queue_empty;
  using Base::queue_full;
  using Base::square_words;
  using Base::tag;
  using typename Base::Finished;

  // Gatherers take turns.
  __device__ __forceinline__ void run(int gatherer) const {
    const int kind = lane < kHcStreams ? 0 : lane < 2 * kHcStreams ? 1 : 2;
    const float scale = lane < kHcMixes ? load(a.scale + kind) : 0.0f;
    const float base = lane < kHcMixes ? load(a.base + lane) : 0.0f;
    Finished f = first_finished();
    for (int n = 0; n < gatherer && is_one(f); ++n) advance(f);
    for (int n = gatherer; is_one(f); n += kGatherers) {
      await_own_sums(f.wave);
      const std::uint32_t expected = tag(f.wave);
      double squares = 0.0;
      double sum[3] = {};
      for (int i = 0; i < a.slices; i += kSlicesAtOnce)
        add_slices(f.wave, f.token, i, expected, squares, sum);
#pragma unroll
      for (int h = 16; h > 0; h /= 2) squares += __shfl_xor_sync(0xffffffffu, squares, h);
      const double mix = mix_of_lane(sum);
      finish_token(f.wave, f.token, n, mix, squares, scale, base, expected);
#pragma unroll
      for (int g = 0; g < kGatherers; ++g) {
        if (is_one(f)) advance(f);
      }
    }
  }

  // Words that a lane has under way: registers.
  static constexpr int kLoads = 7;
  static constexpr int kLanes = 32 / kHcWgmmaMixWords;  // that have a slice each
  static constexpr int kSlicesAtOnce = kLanes * kLoads;
  static constexpr int kSquares = (kSlicesAtOnce + 31) / 32;

  __device__ __forceinline__ void add_slices(int wave, int token, int first_slice,
                                             std::uint32_t expected, double& squares,
                                             double (&sum)[3]) const {
    const int slice = first_slice + lane / kHcWgmmaMixWords;
    const char* const mixes = mix_words(wave, token, slice) + lane % kHcWgmmaMixWords * 16;
    const std::uint64_t* const of_squares = square_words(wave, token, first_slice + lane);
    const int end = min(first_slice + kSlicesAtOnce, a.slices);
    // Asked for again are those that were not there.
    Word16 v[kLoads];
    std::uint64_t s[kSquares];
#pragma unroll
    for (int k = 0; k < kSquares; ++k)
      s[k] =
          static_cast<std::uint64_t>(first_slice + lane + 32 * k < end ? expected - 1u : expected)
          << 32;
#pragma unroll
    for (int k = 0; k < kLoads; ++k)
      v[k] = {{0.0f, 0.0f, 0.0f}, slice + k * kLanes < end ? expected - 1u : expected};
    bool all;
    do {
#pragma unroll
      for (int k = 0; k < kSquares; ++k) {
        if (static_cast<std::uint32_t>(s[k] >> 32) != expected)
          s[k] = load_shared_word(of_squares + 32 * k);
      }
#pragma unroll
      for (int k = 0; k < kLoads; ++k) {
        if (v[k].tag != expected) v[k] = receive(mixes + k * kLanes * kHcWgmmaMixWords * 16);
      }
      all = true;
#pragma unroll
      for (int k = 0; k < kSquares; ++k)
        all = all && static_cast<std::uint32_t>(s[k] >> 32) == expected;
#pragma unroll
      for (int k = 0; k < kLoads; ++k) all = all && v[k].tag == expected;
    } while (!__all_sync(0xffffffffu, all));
#pragma unroll
    for (int k = 0; k < kSquares; ++k)
      squares += static_cast<double>(__uint_as_float(static_cast<std::uint32_t>(s[k])));
    // In pairs, so that fewer additions follow each other.
#pragma unroll
    for (int k = 0; k < kLoads; k += 2) {
#pragma unroll
      for (int e = 0; e < 3; ++e) {
        double pair = static_cast<double>(v[k].v[e]);
        if (k + 1 < kLoads) pair += static_cast<double>(v[k + 1].v[e]);
        sum[e] += pair;
      }
    }
  }

  // Lane i gets the sum of mix i: mix 8e + j is number e of word j / 2, or four further on where j is odd.
  __device__ __forceinline__ double mix_of_lane(double (&sum)[3]) const {
    const int j = lane & 7;
    const int source = (j & 1) * (kHcWgmmaMixWords / 2) + j / 2;
    double mine = 0.0;
#pragma unroll
    for (int e = 0; e < 3; ++e) {
#pragma unroll
      for (int h = kHcWgmmaMixWords; h < 32; h *= 2)
        sum[e] += __shfl_xor_sync(0xffffffffu, sum[e], h);
      const double of_mix = __shfl_sync(0xffffffffu, sum[e], source);
      if (lane >> 3 == e) mine = of_mix;
    }
    return mine;
  }

  // Lane i has the sum of mix i.
  __device__ __forceinline__ void finish_token(int wave, int t, int n, double sum, double squares,
                                               float scale, float base, std::uint32_t tag) const {
    const double mean = squares * a.inverse_count + a.rms_eps;
    const float logit = logit_of(sum + sum * kHcCut, mean, scale, base);
    const std::int64_t token = first_token(wave) + t;
    const bool good = math::is_finite(logit) && math::is_finite(static_cast<float>(squares));
    const float s = sigmoid(logit);
    const float pre = __fadd_rn(s, a.hc_eps);
    // The first lane sends two, the next the others.
    const float v = __shfl_sync(0xffffffffu, pre, 2 * (lane & 1));
    const float w = __shfl_sync(0xffffffffu, pre, 2 * (lane & 1) + 1);
    if (lane < 2) send_pair(pre_words(wave, t) + lane * 16, v, w, tag);
    mbarrier_wait(queue_empty(n), (static_cast<std::uint32_t>(n) / kHcQueue & 1u) ^ 1u);
    if (lane >= 2 * kHcStreams && lane < kHcMixes) queue(n)[lane - 2 * kHcStreams] = logit;
    mbarrier_arrive(queue_full(n));
    if (__any_sync(0xffffffffu, lane < kHcMixes && !good)) {
      if (lane == 0) report(a.status, a.op, NVFP4J_CAUSE_NON_FINITE_RESULT, token, -1);
    }
    if (lane >= kHcStreams && lane < 2 * kHcStreams)
      a.post[token * a.post_token + lane - kHcStreams] = math::canonical_nan(__fmul_rn(2.0f, s));
  }
};

// Sums of squares and largest magnitudes of collapsed rows, over the slices: what the rows are multiplied by, and their largest magnitude then.
template <HcKind KIND, int GRANULES>
struct HcWgmmaNormer : HcWgmmaPlaces<KIND, GRANULES> {
  using Base = HcWgmmaPlaces<KIND, GRANULES>;
  using Base::a;
  using Base::advance;
  using Base::await_own_sums;
  using Base::first_finished;
  using Base::is_one;
  using Base::lane;
  using Base::norm_words;
  using Base::row_norm_word;
  using Base::tag;
  using typename Base::Finished;

  __device__ __forceinline__ void run() const {
    for (Finished f = first_finished(); is_one(f); advance(f)) {
      await_own_sums(f.wave);
      const std::uint32_t expected = tag(f.wave);
      double sum = 0.0;
      std::uint32_t largest = 0u;
      for (int i = lane; i - lane < a.slices; i += 64) {
        Word16 v[2];
        bool all;
        do {
          all = true;
#pragma unroll
          for (int k = 0; k < 2; ++k) {
            v[k] = {{0.0f, 0.0f, __uint_as_float(expected)}, expected};
            if (i + 32 * k < a.slices) v[k] = receive(norm_words(f.wave, f.token, i + 32 * k));
            all = all && is_pair(v[k], expected);
          }
        } while (!__all_sync(0xffffffffu, all));
        sum += static_cast<double>(v[0].v[0]) + static_cast<double>(v[1].v[0]);
        largest = max(largest, max(__float_as_uint(v[0].v[1]), __float_as_uint(v[1].v[1])));
      }
#pragma unroll
      for (int h = 16; h > 0; h /= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, h);
        largest = max(largest, __shfl_xor_sync(0xffffffffu, largest, h));
      }
      const float norm = static_cast<float>(reciprocal_sqrt(sum * a.inverse_columns + a.rms_eps));
      float magnitude = __uint_as_float(largest);
      if (a.norm_weight != nullptr) magnitude = normalised_maximum(magnitude, norm);
      if (lane == 0) send_pair(row_norm_word(f.wave, f.token), norm, magnitude, expected);
    }
  }
};

}  // namespace nvfp4j::device
