// SPDX-License-Identifier: Apache-2.0
// hc_pre_wgmma: fn comes to shared memory once, then the loader fetches tile after tile.
#pragma once
#include "device/packet.cuh"
#include "ops/hc_pre/hc_pre_math.cuh"
#include "ops/hc_pre/hc_pre_wgmma_places.cuh"

namespace nvfp4j::device {

// Before the roles part, by all threads.
template <HcKind KIND, int GRANULES>
struct HcWgmmaSetUp : HcWgmmaPlaces<KIND, GRANULES> {
  using Base = HcWgmmaPlaces<KIND, GRANULES>;
  using Base::a;
  using Base::first;
  using Base::fn;
  using Base::kFnPiece;
  using Base::kSlice;
  using Base::norm_weights;
  using Base::width;

  // Each number is the sum of three in BF16, h + m + l, to 2^-27 of it: rows of h, then of m, then of l. Zeros where the slice has no columns.
  // Eight lanes next to each other write a piece's rows, 128 bytes; four such read 128 bytes of a row.
  __device__ __forceinline__ void load_fn() const {
    const int pieces = kHcStreams * kSlice / 8;
    for (int i = static_cast<int>(threadIdx.x); i < pieces * kHcMixes; i += kHcWgmmaThreads<KIND>) {
      const int row = i / (8 * pieces) * 8 + (i & 7);
      const int piece = i / 8 % pieces;
      const int stream = piece / (kSlice / 8);
      const int column = piece * 8 - stream * kSlice;
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
    for (int i = static_cast<int>(threadIdx.x); i < width / 8; i += kHcWgmmaThreads<KIND>) {
      float g[8];
      load_norm_weights(a, first + i * 8, g);
#pragma unroll
      for (int j = 0; j < 8; ++j) norm_weights()[i * 8 + j] = g[j];
    }
  }
};

// Fetches the slots of a tile: of hc_post_pre the module's results, then the streams. What is beyond the tensor's columns or tokens comes as zeros.
template <HcKind KIND, int GRANULES>
struct HcWgmmaLoader : HcWgmmaPlaces<KIND, GRANULES> {
  using Base = HcWgmmaPlaces<KIND, GRANULES>;
  using Base::a;
  using Base::empty;
  using Base::first;
  using Base::first_token;
  using Base::full;
  using Base::kGranuleBytes;
  using Base::kPost;
  using Base::kSlot;
  using Base::maps;
  using Base::slot;
  using Base::waves;
  using typename Base::Slot;

  // One thread, behind await_predecessor(). First what there are slots for; then, when all else is under way too, the rest.
  __device__ __forceinline__ void begin() const {
    for (int n = 0; n < min(a.layout.slots, kSlots * waves); ++n) fetch(n, n);
  }
  __device__ __forceinline__ void run() const {
    Slot s;
    for (int n = a.layout.slots; n < kSlots * waves; ++n) {
      mbarrier_wait(empty(s.index), s.parity);
      fetch(n, s.index);
      s.advance(a.layout.slots);
    }
  }

  static constexpr int kSlots = hc_wgmma_slots_of_tile(KIND);
  // The n-th slot's content.
  __device__ __forceinline__ void fetch(int n, int to) const {
    // What is read once leaves L2 first: the words that thread blocks send each other stay. hc_pre reads its streams again.
    const std::uint64_t policy = kPost ? policy_evict_first() : policy_evict_normal();
    const int wave = n / kSlots;
    const int i = n - wave * kSlots - (kPost ? 1 : 0);
    const int token = static_cast<int>(first_token(wave));
    const CUtensorMap& map = kPost && i < 0 ? maps.sub : maps.x;
    mbarrier_expect(full(to), static_cast<std::uint32_t>(kSlot));
    for (int at = 0; at < kSlot; at += kGranuleBytes)
      tensor_load_3d(slot(to) + static_cast<std::uint32_t>(at), &map,
                     first + at / kGranuleBytes * kHcGranule, token, max(i, 0), full(to), policy);
  }
};

}  // namespace nvfp4j::device
