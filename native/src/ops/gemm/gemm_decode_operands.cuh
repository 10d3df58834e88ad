// SPDX-License-Identifier: Apache-2.0
// What gemm_decode.cuh reads: a slot of a ring of weights in a lane's registers, and NVFP4 tokens on their way to a piece.
#pragma once
#include <cstdint>

#include "device/ptx.cuh"
#include "ops/gemm/gemm_operands.cuh"
#include "ops/gemm/gemm_tiles.cuh"

namespace nvfp4j {

namespace device {

// A slot holds 16 rows and 256 columns of W. Of prepared weights that is two chunks; a lane has four columns of each step of 16, as the instruction wants them. Of linear ones codes [16][128 bytes] with the 128-byte swizzle and scales [16][16 bytes]; a
// lane has a block of 16 columns of each unit of 64, one scale for four steps. Tokens are read in the same order.
//
// Linear ones take more registers to decode, so for more than 8 tokens they are read in two parts.
template <bool LINEAR, int PARTS>
struct DecodeSlot {
  static constexpr int kCodes = LINEAR ? 2048 : 2 * prepared::kChunkBytes;  // bytes
  static constexpr int kScales = LINEAR ? 256 : 0;                          // bytes, elsewhere
  static constexpr int kParts = PARTS;
  static_assert(LINEAR || PARTS == 1);
  static constexpr int kUnits = 4 / kParts;  // of a part

  uint4 codes[kUnits];   // rows 2g (x, y) and 2g + 1 (z, w)
  uint2 scales[kUnits];  // prepared; linear: rows 2g and 2g + 1, a byte a block

  // `codes_at`, `scales_at`: addresses of the slot.
  __device__ __forceinline__ void load(int part, std::uint32_t codes_at, std::uint32_t scales_at,
                                       int lane) {
    const int g = lane >> 2, t = lane & 3;
    if constexpr (LINEAR) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = 2 * g + h;
        std::uint32_t s[kUnits];
        if constexpr (kParts == 1) {
          const uint4 all = load_shared_16(scales_at + row * 16);
          s[0] = all.x, s[1] = all.y, s[2] = all.z, s[3] = all.w;
        } else {
          const uint2 half = load_shared_8(scales_at + row * 16 + part * 8);
          s[0] = half.x, s[1] = half.y;
        }
#pragma unroll
        for (int u = 0; u < kUnits; ++u) (h == 0 ? scales[u].x : scales[u].y) = s[u];
#pragma unroll
        for (int u = 0; u < kUnits; ++u) {
          const std::uint32_t piece = (2 * (part * kUnits + u) + (t >> 1)) ^ (row & 7);
          const uint2 q = load_shared_8(codes_at + row * 128 + piece * 16 + (t & 1) * 8);
          (h == 0 ? codes[u].x : codes[u].z) = q.x;
          (h == 0 ? codes[u].y : codes[u].w) = q.y;
        }
      }
    } else {
#pragma unroll
      for (int u = 0; u < kUnits; ++u) {
        const std::uint32_t chunk = codes_at + (u >> 1) * prepared::kChunkBytes;
        codes[u] = load_shared_16(chunk + (u & 1) * 512 + lane * 16);
        scales[u] = load_shared_8(chunk + prepared::kChunkCodes + (u & 1) * 64 + g * 8);
      }
    }
  }

  // Zero, but only once all loads of the part have arrived: a register of each of them is looked at. `zero` is 0, which the compiler does not know.
  __device__ __forceinline__ std::uint32_t arrived(std::uint32_t zero) const {
    std::uint32_t all = 0;
#pragma unroll
    for (int u = 0; u < kUnits; ++u)
      all |= codes[u].x | (LINEAR ? codes[u].z | scales[u].y : 0u) | scales[u].x;
    return all & zero;
  }

  // The registers of four steps of unit u of the part. Bit 7 (row 2g) or 23 (row 2g + 1) of `bad` is set where a linear scale is not finite.
  __device__ __forceinline__ void expand(int u, int t, std::uint32_t (&a)[16],
                                         std::uint32_t& bad) const {
    if constexpr (LINEAR) {
      expand_linear(codes[u], scales[u].x, scales[u].y, t, a, bad);
    } else {
      expand_unit(codes[u], scales[u], a);
    }
  }
};

// Four blocks of a piece of NVFP4 rows on their way through a thread's registers.
template <int THREADS>
struct DecodeTokens {
  static constexpr int kBlocks = kDecodePieceColumns / 16;  // of a row
  static constexpr int kItems = 4;
  static constexpr int kStep = kItems * THREADS;
  uint2 codes[kItems];
  std::uint32_t scales[kItems];

  // Blocks from, from + THREADS and so on, counted along the rows of a piece; it has columns `column` to `column + columns - 1` of the group's.
  __device__ __forceinline__ void load(const GemmProblem& p, const TokenTile& tile, int column,
                                       int columns, int from) {
    const std::int64_t offset = column_of_a(p, tile.group) + column;
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const int r = (from + i * THREADS) / kBlocks, b = (from + i * THREADS) % kBlocks;
      if (r >= tile.count || 16 * b >= columns) continue;
      const std::int64_t m = tile.first + r;
      const auto* q =
          reinterpret_cast<const std::uint32_t*>(p.a + m * p.a_stride + offset / 2 + 8 * b);
      codes[i] = make_uint2(device::load(q), device::load(q + 1));
      scales[i] = device::load(p.a_scales + m * (p.a_stride / 8) + offset / 16 + b);
    }
  }
  __device__ __forceinline__ void store(const TokenTile& tile, int columns, unsigned char* piece,
                                        int pitch, int from) const {
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const int r = (from + i * THREADS) / kBlocks, b = (from + i * THREADS) % kBlocks;
      if (r >= tile.count || 16 * b >= columns) continue;
      auto* to = reinterpret_cast<uint4*>(piece + r * pitch + 32 * b);
      expand_block(codes[i], scales[i], to[0], to[1]);
    }
  }
};

}  // namespace device
}  // namespace nvfp4j
