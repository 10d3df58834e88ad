// SPDX-License-Identifier: Apache-2.0
// An NVFP4 gate in router_dense_wgmma.cuh: how its codes become BF16 in a stage of the ring, as a tensor load with the 128-byte swizzle would have brought them.
//
// A thread has the codes and scales of its next stages in registers, or under way from L2, while it decodes one.
// A unit is 32 columns of an expert. Two lanes are next to each other in a row, so that they read a whole sector; the pieces of 16 bytes that eight lanes write at a time, of four rows, the swizzle spreads over all banks.
#pragma once
#include <cstdint>

#include "device/ptx.cuh"
#include "device/status.cuh"
#include "device/wgmma.cuh"
#include "ops/gemm/gemm_operands.cuh"
#include "ops/router_dense/router_sums.cuh"
#include "ops/router_dense/router_target.cuh"

namespace nvfp4j::device {

// Eight codes to pairs of BF16, without a factor, which the tensor cores' sums would have to bear: the two bytes of a magnitude are looked up, four at a time.
__device__ __forceinline__ void expand_exactly(std::uint32_t w, std::uint32_t (&r)[4]) {
  // 0 .5 1 1.5, 2 3 4 6 are 0000 3F00 3F80 3FC0, 4000 4040 4080 40C0.
  const std::uint32_t magnitudes = w & 0x77777777u;
  const std::uint32_t l0 = permute_bytes(0xC0800000u, 0xC0804000u, magnitudes);
  const std::uint32_t l1 = permute_bytes(0xC0800000u, 0xC0804000u, magnitudes >> 16);
  const std::uint32_t m0 = permute_bytes(0x3F3F3F00u, 0x40404040u, magnitudes);
  const std::uint32_t m1 = permute_bytes(0x3F3F3F00u, 0x40404040u, magnitudes >> 16);
  // Signs of even codes are now the high bits of bytes, as those of odd ones are.
  const std::uint32_t even = w << 4;
  const std::uint32_t h0 = and_or(permute_bytes(even, w, 0x5140u), 0x80808080u, m0);
  const std::uint32_t h1 = and_or(permute_bytes(even, w, 0x7362u), 0x80808080u, m1);
  r[0] = permute_bytes(l0, h0, 0x5140u);
  r[1] = permute_bytes(l0, h0, 0x7362u);
  r[2] = permute_bytes(l1, h1, 0x5140u);
  r[3] = permute_bytes(l1, h1, 0x7362u);
}

// Two E4M3 bytes to BF16, a half each, and NaN of bad ones, of which bit 7 or 23 is set in `bad`.
__device__ __forceinline__ std::uint32_t expand_two_scales(std::uint32_t bytes,
                                                           std::uint32_t& bad) {
  const std::uint32_t pair = permute_bytes(bytes, 0u, 0x4140u);
  bad = (pair + 0x00010001u | pair) & 0x00800080u;
  return multiply_pairs(pair << 4 | (bad >> 7) * 0x7FFFu, 0x7B807B80u);  // 2^120
}

// Two blocks of an expert. WHOLE: rows of codes begin at multiples of 16 bytes, and those of scales at multiples of two.
template <bool WHOLE>
struct RouterGateUnit {
  uint4 codes;
  std::uint32_t scales;
  __device__ __forceinline__ void load(const char* from, const std::uint8_t* scales_from, bool) {
    codes = device::load(reinterpret_cast<const uint4*>(from));
    scales = device::load(reinterpret_cast<const std::uint16_t*>(scales_from));
  }
  // Two bytes. Of blocks that are not there they are zeros, which make zeros of all codes.
  __device__ __forceinline__ std::uint32_t both_scales(bool first, bool) const {
    return first ? scales : 0u;
  }
};

template <>
struct RouterGateUnit<false> {
  uint4 codes;
  // Put together when they have come, so that none is waited for where it is asked for.
  std::uint32_t scales[2];
  __device__ __forceinline__ void load(const char* from, const std::uint8_t* scales_from,
                                       bool second) {
    const uint2 a = device::load(reinterpret_cast<const uint2*>(from));
    const uint2 b = device::load(reinterpret_cast<const uint2*>(from + (second ? 8 : 0)));
    codes = make_uint4(a.x, a.y, b.x, b.y);
    scales[0] = device::load(scales_from);
    scales[1] = device::load(scales_from + (second ? 1 : 0));
  }
  __device__ __forceinline__ std::uint32_t both_scales(bool first, bool second) const {
    return (first ? scales[0] : 0u) | (second ? scales[1] << 8 : 0u);
  }
};

// What a thread decodes of each stage: the same columns of every kRows-th expert.
template <class C, bool WHOLE>
struct RouterGateUnits {
  using Unit = RouterGateUnit<WHOLE>;
  static constexpr int kColumns = 64 * C::kGranules;  // of a stage
  static constexpr int kRows = C::kFillers / (2 * C::kGranules);
  static constexpr int kUnits = C::kExperts / kRows;
  static_assert(kUnits * kRows == C::kExperts);
  // Stages whose units a thread has, or has asked for, before it decodes them; the number of steps is a multiple of it. Where a stage is 128 columns of 128 experts, and scales take a register each, registers hold no more than one.
  static constexpr int kAhead = kUnits <= 3 || WHOLE ? 2 : 1;
  // So the swizzle moves all of a thread's units in the same way.
  static_assert(kRows * 128 % 1024 == 0);

  // Of the first unit: where it is, and how many rows and columns there are from there on.
  const char* codes;
  const std::uint8_t* scales;
  int rows_left, columns_left;
  std::uint32_t to[4];      // its pieces, bytes in a stage's W
  std::uint32_t row_bytes;  // of codes, kRows of them

  __device__ __forceinline__ RouterGateUnits(const RouterTarget& t, int expert0) {
    const int thread = static_cast<int>(threadIdx.x) % C::kFillers;  // those before are a multiple
    const int half = thread % 2;
    const int granule = thread / 2 / kRows;
    const int row = thread / 2 % kRows;
    const int column = 64 * granule + 32 * half;
    rows_left = t.gate.experts - expert0 - row;
    columns_left = static_cast<int>(t.x.columns) - column;
    // What is not there is read where something is.
    const int expert = rows_left > 0 ? expert0 + row : 0;
    const std::int64_t at = expert * t.x.columns + (columns_left > 0 ? column : 0);
    codes = static_cast<const char*>(t.gate.data) + at / 2;
    scales = t.gate.scales + at / 16;
    // Not to be calculated anew from the parameters at each use.
    asm("" : "+l"(codes), "+l"(scales));
    row_bytes = static_cast<std::uint32_t>(kRows / 2 * t.x.columns);
#pragma unroll
    for (int j = 0; j < 4; ++j)
      to[j] = static_cast<std::uint32_t>(granule * C::kGranuleBytes) +
              wgmma_swizzle_128(static_cast<std::uint32_t>(128 * row + 64 * half + 16 * j));
  }

  // The units of a step, for one step after the other.
  __device__ __forceinline__ void load(int step, Unit (&u)[kUnits]) {
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
      const std::uint32_t rows = kRows * i < rows_left ? i * row_bytes : 0u;
      u[i].load(codes + rows, scales + rows / 8, kColumns * step + 16 < columns_left);
    }
    if (kColumns * (step + 1) < columns_left) {
      codes += kColumns / 2;
      scales += kColumns / 16;
    }
  }

  // To the stage whose W is at `stage`: zeros behind the last expert, and behind the last column. Not 0 if a scale was bad.
  __device__ __forceinline__ std::uint32_t decode(int step, const Unit (&u)[kUnits],
                                                  std::uint32_t stage) const {
    std::uint32_t any_bad = 0;
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
      const bool there = kRows * i < rows_left;
      std::uint32_t bad;
      const std::uint32_t s =
          expand_two_scales(u[i].both_scales(there & (kColumns * step < columns_left),
                                             there & (kColumns * step + 16 < columns_left)),
                            bad);
      any_bad |= bad;
      const std::uint32_t words[4] = {u[i].codes.x, u[i].codes.y, u[i].codes.z, u[i].codes.w};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        std::uint32_t r[4];
        expand_exactly(words[j], r);
        const std::uint32_t scale = j < 2 ? low_twice(s) : high_twice(s);
        store_shared_16(stage + to[j] + i * (kRows * 128u),
                        make_uint4(multiply_pairs(r[0], scale), multiply_pairs(r[1], scale),
                                   multiply_pairs(r[2], scale), multiply_pairs(r[3], scale)));
      }
    }
    return any_bad;
  }

  // Those among all that this thread decoded, which are read once more.
  __device__ __forceinline__ void report_bad_scales(const RouterTarget& t, int steps) const {
    const std::int64_t column = t.x.columns - columns_left;
#pragma unroll 1
    for (int i = 0; i < kUnits; ++i) {
      const std::int64_t expert = t.gate.experts - rows_left + kRows * i;
      if (expert >= t.gate.experts) break;
#pragma unroll 1
      for (int block = 0; block < 2 * steps; ++block) {
        const std::int64_t at =
            64 * C::kGranules * std::int64_t{block / 2} + column + block % 2 * 16;
        if (at < t.x.columns &&
            bad_block_scale(device::load(t.gate.scales + (expert * t.x.columns + at) / 16)))
          report_here(t.status, t.op, NVFP4J_CAUSE_BAD_BLOCK_SCALE, expert, at);
      }
    }
  }
};

}  // namespace nvfp4j::device
