// SPDX-License-Identifier: Apache-2.0
// hc_pre_wgmma: fn comes to shared memory once, then the loader fetches tile after tile.
#pragma once
#include "device/packet.cuh"
#include "ops/hc_pre/hc_pre_math.cuh"
#include "ops/hc_pre/hc_pre_wgmma_places.cuh"

namespace nvfp4j::device {

// Before the roles part, by all threads.
template <HcKind KIND>
struct HcWgmmaSetUp : HcWgmmaPlaces<KIND> {
  using Base = HcWgmmaPlaces<KIND>;
  using Base::a;
  using Base::first;
  using Base::fn;
  using Base::kFnPiece;
  using Base::norm_weights;
  using Base::width;

  // Each number is the sum of three in BF16, h + m + l, to 2^-27 of it: rows of h, then of m, then of l. Zeros where the slice has no columns.
  __device__ __forceinline__ void load_fn() const {
    const int pieces = a.slice / 8;
    for (int i = static_cast<int>(threadIdx.x); i < kHcStreams * pieces * kHcMixes;
         i += static_cast<int>(blockDim.x)) {
      const int row = i % kHcMixes;
      const int piece = i / kHcMixes;
      const int stream = piece / pieces;
      const int column = (piece - stream * pieces) * 8;
      float f[8] = {};
      if (column < width) {
        const auto* from = reinterpret_cast<const uint4*>(
            a.fn + row * a.fn_row + static_cast<std::int64_t>(stream) * a.columns + first + column);
        const uint4 u = load(from);
        const uint4 v = load(from + 1);
        unpack<F32, 8>({u.x, u.y, u.z, u.w, v.x, v.y, v.z, v.w}, f);
      }
#pragma unroll
      for (int p = 0; p < 3; ++p) {
        std::uint32_t w[4];
#pragma unroll
        for (int h = 0; h < 4; ++h) {
          w[h] = Bf16::pack(f[2 * h], f[2 * h + 1]);
          f[2 * h] = __fadd_rn(f[2 * h], -__uint_as_float(w[h] << 16));
          f[2 * h + 1] = __fadd_rn(f[2 * h + 1], -__uint_as_float(w[h] & 0xFFFF0000u));
        }
        store_shared_16(
            fn() + static_cast<std::uint32_t>(piece * kFnPiece + (p * kHcMixes + row) * 16),
            make_uint4(w[0], w[1], w[2], w[3]));
      }
    }
  }

  __device__ __forceinline__ void load_norm() const {
    for (int i = static_cast<int>(threadIdx.x); i < width / 8; i += static_cast<int>(blockDim.x)) {
      float g[8];
      load_norm_weights(a, first + i * 8, g);
#pragma unroll
      for (int j = 0; j < 8; ++j) norm_weights()[i * 8 + j] = g[j];
    }
  }
};

// Fetches the slots of a tile: of hc_post_pre the module's results, then the streams. What is beyond the tensor's columns or tokens comes as zeros.
template <HcKind KIND>
struct HcWgmmaLoader : HcWgmmaPlaces<KIND> {
  using Base = HcWgmmaPlaces<KIND>;
  using Base::a;
  using Base::empty;
  using Base::first;
  using Base::first_token;
  using Base::full;
  using Base::kPost;
  using Base::maps;
  using Base::slot;
  using Base::waves;
  using typename Base::Slot;

  // One thread.
  __device__ __forceinline__ void run() const {
    // What is read once leaves L2 first: the words that thread blocks send each other stay.
    const std::uint64_t policy = policy_evict_first();
    Slot s;
    const auto fetch = [&](const CUtensorMap& map, int token, int stream) {
      mbarrier_wait(empty(s.index), s.parity ^ 1u);
      mbarrier_expect(full(s.index), static_cast<std::uint32_t>(a.layout.slot));
      tensor_load_4d(slot(s.index), &map, 0, token, first / 16, stream, full(s.index), policy);
      s.advance(a.layout.slots);
    };
    for (int wave = 0; wave < waves; ++wave) {
      const int token = static_cast<int>(first_token(wave));
      if constexpr (kPost) fetch(maps.sub, token, 0);
#pragma unroll 1
      for (int j = 0; j < kHcStreams; ++j) fetch(maps.x, token, j);
    }
  }
};

}  // namespace nvfp4j::device
