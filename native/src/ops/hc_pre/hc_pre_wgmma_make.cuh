// SPDX-License-Identifier: Apache-2.0
// hc_post_pre's mixers in hc_pre_wgmma, before they take a tile: they make the new residual in place of the one before, and add up its squares.
#pragma once
#include "ops/hc_post/hc_post_math.cuh"
#include "ops/hc_pre/hc_pre_math.cuh"
#include "ops/hc_pre/hc_pre_wgmma_tile.cuh"

namespace nvfp4j::device {

template <HcKind KIND, int GRANULES>
struct HcWgmmaMaker : HcWgmmaTiles<KIND, GRANULES> {
  using Base = HcWgmmaTiles<KIND, GRANULES>;
  using Base::a;
  using Base::empty;
  using Base::first;
  using Base::first_token;
  using Base::full;
  using Base::kGranuleBytes;
  using Base::kGranules;
  using Base::kTokens;
  using Base::lane;
  using Base::made;
  using Base::offset;
  using Base::part;
  using Base::square_words;
  using Base::tag;
  using Base::tokens_of;
  using Base::waves;
  using Base::weights_of;
  using Base::width;
  using typename Base::Lane;
  using typename Base::Slot;

  // Comb and post of the module before, of a warp's tokens: they come to shared memory, for itself, while it is busy with the tile before. Of each stream that is made its row of comb's transpose, then all of post.
  __device__ __forceinline__ void fetch_weights(int mixer, int wave) const {
    constexpr int kWords = HcWgmmaLayout::kWeights / 4;
    const std::int64_t token = first_token(wave);
    const int count = wave < waves ? tokens_of(wave) : 0;
#pragma unroll
    for (int i = 0; i < 8 * kWords / 32; ++i) {
      const int word = lane + 32 * i;
      const int t = mixer * 8 + word / kWords;
      const int w = word % kWords;
      if (t >= count) continue;
      const float* const from =
          w < 16 ? a.comb_before + (token + t) * a.comb_before_token + w % 4 * 4 + w / 4
                 : a.post_before + (token + t) * a.post_before_token + w - 16;
      copy_async_4(weights_of(t) + static_cast<std::uint32_t>(4 * w), from);
    }
    copy_async_commit();
  }
  // Those of one stream.
  struct Weights {
    float4 of_stream;
    float of_sub;
    __device__ __forceinline__ float comb(int j, int) const { return element(of_stream, j); }
    __device__ __forceinline__ float post(int) const { return of_sub; }
    static __device__ __forceinline__ float element(const float4& f, int k) {
      return k == 0 ? f.x : k == 1 ? f.y : k == 2 ? f.z : f.w;
    }
  };
  __device__ __forceinline__ float4 load_weights(int t, int row) const {
    const uint4 v = load_shared_16(weights_of(t) + static_cast<std::uint32_t>(16 * row));
    return make_float4(__uint_as_float(v.x), __uint_as_float(v.y), __uint_as_float(v.z),
                       __uint_as_float(v.w));
  }

  // The sum over the eight lanes that have a token.
  __device__ __forceinline__ void send_squares(const Lane& l, int wave, int h, float sum) const {
    sum = sum_of_eight_lanes(sum);
    if ((lane & 7) == 0 && l.has(h, tokens_of(wave)))
      send_one(square_words(wave, l.token(h), part), sum, tag(wave));
  }

  // Behind fetch_weights().
  __device__ __forceinline__ void make(const Lane& l, int mixer, int wave, Slot& s) const {
    const int count = tokens_of(wave);
    std::uint32_t from[5];
    const int sub = s.index;
#pragma unroll
    for (int i = 0; i < 5; ++i) {
      mbarrier_wait(full(s.index), s.parity);
      from[i] = offset(s);
      s.advance(a.layout.slots);
    }
    copy_async_wait<0>();
    __syncwarp();
    char* const out = a.out + (first_token(wave) + l.first) * a.out_token + (first + l.column) * 2;
    float squares[kTokens] = {};
    // One at a time: registers, and the instructions' cache.
#pragma unroll 1
    for (int i = 0; i < kTokens * kGranules; ++i) {
      const int h = i % kTokens;
      const int g = i / kTokens;
      const int t = l.token(h);
      const std::uint32_t at =
          (h == 0 ? l.at[0] : l.at[1]) + static_cast<std::uint32_t>(g * kGranuleBytes);
      const float4 post = load_weights(t, kHcStreams);
      std::uint32_t x[kHcStreams][4];
      std::uint32_t f[4];
      words(load_shared_16(from[0] + at), f);
#pragma unroll
      for (int j = 0; j < kHcStreams; ++j) words(load_shared_16(from[1 + j] + at), x[j]);
      std::uint32_t y[kHcStreams][4];
      mix_half<0>(x, f, t, post, y);
      mix_half<1>(x, f, t, post, y);
      const bool here = l.has(h, count) && g * kHcGranule + l.column < width;
      char* const to = out + 4 * h * a.out_token + g * kHcGranule * 2;
      float of_two[2];
#pragma unroll
      for (int k = 0; k < kHcStreams; ++k) {
        const uint4 packet = make_uint4(y[k][0], y[k][1], y[k][2], y[k][3]);
        if (here) *reinterpret_cast<uint4*>(to + k * a.out_stream) = packet;
        store_shared_16(from[1 + k] + at, packet);
        const float of_stream = squares_of_packets({packet});
        of_two[k / 2] = k % 2 == 0 ? of_stream : __fadd_rn(of_two[k / 2], of_stream);
      }
      const float of_columns = __fadd_rn(of_two[0], of_two[1]);
      // A NaN's square is one as well. Seldom.
      if (of_columns != of_columns) {
#pragma unroll
        for (int k = 0; k < kHcStreams; ++k) {
          const uint4 packet = canonical<Bf16>(load_shared_16(from[1 + k] + at));
          if (here) *reinterpret_cast<uint4*>(to + k * a.out_stream) = packet;
          store_shared_16(from[1 + k] + at, packet);
        }
      }
      squares[0] = __fadd_rn(squares[0], h == 0 ? of_columns : 0.0f);
      squares[1] = __fadd_rn(squares[1], h == 0 ? 0.0f : of_columns);
      if (h == kTokens - 1) {
        fence_async_proxy();
        __syncwarp();
        if (lane == 0) mbarrier_arrive(made(wave, g));
      }
    }
    if (lane == 1) mbarrier_arrive(empty(sub));
#pragma unroll
    for (int h = 0; h < kTokens; ++h) send_squares(l, wave, h, squares[h]);
    fetch_weights(mixer, wave + 1);
  }
  // Half of eight columns, of all streams: what they were is unpacked once.
  template <int HALF>
  __device__ __forceinline__ void mix_half(const std::uint32_t (&x)[kHcStreams][4],
                                           const std::uint32_t (&f)[4], int t, const float4& post,
                                           std::uint32_t (&y)[kHcStreams][4]) const {
    std::uint32_t half[kHcStreams][2];
#pragma unroll
    for (int j = 0; j < kHcStreams; ++j) {
      half[j][0] = x[j][2 * HALF];
      half[j][1] = x[j][2 * HALF + 1];
    }
#pragma unroll
    for (int k = 0; k < kHcStreams; ++k) {
      const Weights weights = {load_weights(t, k), Weights::element(post, k)};
      float v[4];
      post_values<Bf16, kHcStreams, 2>(half, {f[2 * HALF], f[2 * HALF + 1]}, k, kHcStreams, weights,
                                       v);
#pragma unroll
      for (int i = 0; i < 2; ++i) y[k][2 * HALF + i] = Bf16::pack(v[2 * i], v[2 * i + 1]);
    }
  }
  static __device__ __forceinline__ void words(uint4 v, std::uint32_t (&w)[4]) {
    w[0] = v.x;
    w[1] = v.y;
    w[2] = v.z;
    w[3] = v.w;
  }
};

}  // namespace nvfp4j::device
