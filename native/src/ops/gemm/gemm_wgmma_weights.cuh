// SPDX-License-Identifier: Apache-2.0
// The weights of gemm_wgmma.cuh, prepared or linear (as a checkpoint has them): what a lane of the consumers makes of a unit of 16 rows x 64 columns, and how linear ones come to shared memory.
//
// A stage of linear weights is 256 columns of the thread block's rows: codes [row][128 bytes] with the 128-byte swizzle, then scales [row][16 bytes]; as many bytes as prepared ones have.
#pragma once
#include <cuda.h>

#include "device/cluster.cuh"
#include "ops/gemm/gemm_operands.cuh"
#include "ops/gemm/prepared_layout.hpp"

namespace nvfp4j::device {

template <class C, bool LINEAR = C::kLinear>
struct WeightUnit;

template <class C>
struct WeightUnit<C, false> {
  std::uint32_t codes_at, scales_at;  // of unit 0 in a stage
  uint4 codes;
  uint2 scales;

  // `tile` is the warp's among those of the thread block.
  __device__ __forceinline__ explicit WeightUnit(int tile) {
    const int lane = static_cast<int>(threadIdx.x) & 31;
    codes_at = tile * C::kWTileBytes + lane * 16;
    scales_at = tile * C::kWTileBytes + prepared::kChunkCodes + (lane >> 2) * 8;
  }
  // Unit u (0 to 3) of a stage.
  __device__ __forceinline__ void load(std::uint32_t stage, int u) {
    const std::uint32_t chunk = stage + (u >> 1) * prepared::kChunkBytes;
    codes = load_shared_16(chunk + codes_at + (u & 1) * 512);
    scales = load_shared_8(chunk + scales_at + (u & 1) * 64);
  }
  // The A operand of four steps of 16 columns.
  __device__ __forceinline__ void expand(std::uint32_t (&a)[16]) { expand_unit(codes, scales, a); }
  __device__ __forceinline__ void end(float (&)[C::BM / 2]) {}
};

template <class C>
struct WeightUnit<C, true> {
  static constexpr int kScales = C::kTiles * 2048;
  std::uint32_t codes_at, scales_at;
  std::uint32_t selectors;
  std::uint32_t words[2][8];  // of rows 2r and 2r + 1; a lane wants byte t of each word
  std::uint32_t scales[2];
  std::uint32_t bad[2];  // whether there was any, as bad_scales() says it

  __device__ __forceinline__ explicit WeightUnit(int tile) {
    const int lane = static_cast<int>(threadIdx.x) & 31;
    const int row = 16 * tile + 2 * (lane >> 2);
    codes_at = row * 128 + ((row & 7) << 4);
    scales_at = kScales + row * 16;
    selectors = byte_selectors(lane & 3);
    bad[0] = bad[1] = 0;
  }
  __device__ __forceinline__ void load(std::uint32_t stage, int u) {
    // The swizzle exchanges neighbouring pieces of 16 bytes in odd rows.
    const std::uint32_t at = (stage + codes_at) ^ (u << 5);
    const uint4 pieces[4] = {load_shared_16(at), load_shared_16(at + 16), load_shared_16(at + 144),
                             load_shared_16(at + 128)};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      std::uint32_t* to = words[i >> 1] + 4 * (i & 1);
      to[0] = pieces[i].x, to[1] = pieces[i].y, to[2] = pieces[i].z, to[3] = pieces[i].w;
    }
    scales[0] = load_shared_4(stage + scales_at + 4 * u);
    scales[1] = load_shared_4(stage + scales_at + 4 * u + 16);
  }
  __device__ __forceinline__ void expand(std::uint32_t (&a)[16]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      std::uint32_t s[2];
      expand_scales(scales[half], s);
      bad[half] |= bad_scales(scales[half]);
#pragma unroll
      for (int step = 0; step < 4; ++step) {
        const std::uint32_t scale = scale_twice(s, step);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const std::uint32_t byte = permute_bytes(words[half][2 * step + i], 0u, selectors);
          a[4 * step + 2 * i + half] = multiply_pairs(expand_byte(byte), scale);
        }
      }
    }
  }
  // A bad scale makes NaN of all sums of its row.
  __device__ __forceinline__ void end(float (&acc)[C::BM / 2]) {
    if (((bad[0] | bad[1]) & 0x80808080u) == 0) return;
#pragma unroll
    for (int i = 0; i < C::BM / 2; ++i) {
      if ((bad[i >> 1 & 1] & 0x80808080u) != 0) acc[i] = __uint_as_float(0x7FFFFFFFu);
    }
  }
};

// Has a stage of linear weights filled: chunk `chunk` of 256 columns of the rows from `row` on; with SwiGLU half of them, and the same of the up rows, 32 of each in turn (WgmmaTile). Rows that the group has not are zero, or those of the other half; their sums are nobody's.
template <class C, bool SWIGLU>
__device__ __forceinline__ void load_linear_stage(const CUtensorMap* codes_map,
                                                  const CUtensorMap* scales_map, int chunk, int row,
                                                  int half, int group, unsigned char* stage,
                                                  std::uint64_t* full, std::uint64_t policy) {
  constexpr int kBoxes = SWIGLU ? C::kTiles / 2 : 1;
  constexpr int kRows = 16 * C::kTiles / kBoxes;
  unsigned char* scales = stage + WeightUnit<C>::kScales;
#pragma unroll
  for (int i = 0; i < kBoxes; ++i) {
    const int at = SWIGLU ? row + i / 2 * 32 + i % 2 * half : row;
    tensor_load_3d(smem_address(stage + i * kRows * 128), codes_map, 128 * chunk, at, group, full,
                   policy);
    tensor_load_3d(scales + i * kRows * 16, scales_map, 16 * chunk, at, group, full);
  }
}

}  // namespace nvfp4j::device
