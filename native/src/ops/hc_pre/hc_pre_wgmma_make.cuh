// SPDX-License-Identifier: Apache-2.0
// hc_pre_wgmma's makers, a warpgroup: sums of squares, and of hc_post_pre the new residual, in place of the one before. Two lanes have a token.
#pragma once
#include "ops/hc_post/hc_post_math.cuh"
#include "ops/hc_pre/hc_pre_math.cuh"
#include "ops/hc_pre/hc_pre_wgmma_places.cuh"

namespace nvfp4j::device {

template <HcKind KIND>
struct HcWgmmaMaker : HcWgmmaPlaces<KIND> {
  using Base = HcWgmmaPlaces<KIND>;
  using Base::a;
  using Base::empty;
  using Base::first;
  using Base::first_token;
  using Base::full;
  using Base::kBlock;
  using Base::kPost;
  using Base::lane;
  using Base::lane_of;
  using Base::made;
  using Base::part;
  using Base::slot;
  using Base::square_words;
  using Base::tag;
  using Base::tokens_of;
  using Base::waves;
  using Base::width;
  using typename Base::Lane;
  using typename Base::Slot;

  __device__ __forceinline__ void send_squares(int wave, const Lane& at, double sum) const {
    sum += __shfl_xor_sync(0xffffffffu, sum, 16);
    if (at.half == 0 && at.token < tokens_of(wave))
      send_one(square_words(wave, at.token, part), static_cast<float>(sum), tag(wave));
  }

  __device__ __forceinline__ void run(int quarter) const {
    const Lane at = lane_of(quarter);
    Slot s;
    if constexpr (kPost) {
      make_residuals(at);
    } else {
      for (int wave = 0; wave < waves; ++wave) {
        double sum = 0.0;
#pragma unroll 1
        for (int j = 0; j < kHcStreams; ++j) {
          mbarrier_wait(full(s.index), s.parity);
          const std::uint32_t from = slot(s.index) + at.offset;
#pragma unroll
          for (int i = 0; i < kHcWgmmaMaxSlice / 16; ++i) {
            if (i * 16 >= width) continue;
            float x[8];
            unpack<Bf16>(load_shared_16(from + i * kBlock), x);
            sum += static_cast<double>(squares_of(x));
          }
          s.advance(a.layout.slots);
        }
        send_squares(wave, at, sum);
      }
    }
  }

  // A token's comb and post, of the module before.
  struct Weights {
    float4 v[5];
    __device__ __forceinline__ float comb(int j, int k) const { return element(v[j], k); }
    __device__ __forceinline__ float post(int k) const { return element(v[4], k); }
    static __device__ __forceinline__ float element(const float4& f, int k) {
      return k == 0 ? f.x : k == 1 ? f.y : k == 2 ? f.z : f.w;
    }
  };
  __device__ __forceinline__ Weights load_weights(int wave, int t) const {
    Weights w = {};
    if (wave < waves && t < tokens_of(wave)) {
      const std::int64_t token = first_token(wave) + t;
      const float* comb = a.comb_before + token * a.comb_before_token;
#pragma unroll
      for (int i = 0; i < 4; ++i) w.v[i] = load_float4(comb + 4 * i);
      w.v[4] = load_float4(a.post_before + token * a.post_before_token);
    }
    return w;
  }
  static __device__ __forceinline__ float4 load_float4(const float* p) {
    const uint4 v = load(reinterpret_cast<const uint4*>(p));
    return make_float4(__uint_as_float(v.x), __uint_as_float(v.y), __uint_as_float(v.z),
                       __uint_as_float(v.w));
  }

  __device__ __forceinline__ void make_residuals(const Lane& at) const {
    Slot s;
    Weights weights = load_weights(0, at.token);
    for (int wave = 0; wave < waves; ++wave) {
      const Weights next = load_weights(wave + 1, at.token);
      const bool mine = at.token < tokens_of(wave);
      int slots[5];
      std::uint32_t from[5];
#pragma unroll
      for (int i = 0; i < 5; ++i) {
        mbarrier_wait(full(s.index), s.parity);
        slots[i] = s.index;
        from[i] = slot(s.index) + at.offset;
        s.advance(a.layout.slots);
      }
      double squares = 0.0;
      std::uint32_t largest = 0u;
      char* const out =
          a.out + (first_token(wave) + at.token) * a.out_token + first * 2 + at.half * 16;
      if (mine) {
#pragma unroll 1
        for (int block = 0; block * 16 < width; ++block) {
          const auto far = static_cast<std::uint32_t>(block * kBlock);
          std::uint32_t x[kHcStreams][4];
          std::uint32_t f[4];
          words(load_shared_16(from[0] + far), f);
#pragma unroll
          for (int j = 0; j < kHcStreams; ++j) words(load_shared_16(from[1 + j] + far), x[j]);
#pragma unroll
          for (int k = 0; k < kHcStreams; ++k) {
            float y[8];
            post_values<Bf16, kHcStreams, 4>(x, f, k, kHcStreams, weights, y);
            const uint4 packet = pack_any<Bf16>(y, largest);
            *reinterpret_cast<uint4*>(out + k * a.out_stream + block * 32) = packet;
            store_shared_16(from[1 + k] + far, packet);
            unpack<Bf16>(packet, y);
            squares += static_cast<double>(squares_of(y));
          }
        }
        if (has_nan<Bf16>(largest)) make_canonical(from, out);
      }
      fence_for_wgmma();
      mbarrier_arrive(made(wave));
      __syncwarp();
      if (lane == 0) mbarrier_arrive(empty(slots[0]));
      send_squares(wave, at, squares);
      weights = next;
    }
  }
  // A token's new residual, in both places.
  __device__ __forceinline__ void make_canonical(const std::uint32_t (&from)[5], char* out) const {
#pragma unroll 1
    for (int block = 0; block * 16 < width; ++block) {
#pragma unroll
      for (int k = 0; k < kHcStreams; ++k) {
        const std::uint32_t at = from[1 + k] + static_cast<std::uint32_t>(block * kBlock);
        const uint4 packet = canonical<Bf16>(load_shared_16(at));
        *reinterpret_cast<uint4*>(out + k * a.out_stream + block * 32) = packet;
        store_shared_16(at, packet);
      }
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
