// SPDX-License-Identifier: Apache-2.0
// The loops of the matrix products on the CPU.
//
// Every element of D is summed in one order, whatever M is and whatever instruction set runs, so
// that a row of D does not depend on the others: K is cut into chunks of 1024, a chunk into steps of
// 128, and a step into 16 lanes of half a block each. Lane l of a step sums a(k) * code(k), k = 8 l
// to 8 l + 7; times the scale of its block of W that is added to lane l of the chunk. At the chunk's
// end the lanes 8, 4, 2 and 1 apart are added, and the chunks one after the other. Only the addition
// of a lane to its chunk's, and that of two lanes or chunks, rounds for NVFP4 A. (The products are
// exact, so that it does not matter whether an addition is fused with one.)
//
// The lanes are those of the codes: 64 bytes are 16 words, and nibble i of word l is k = 8 l + i.
// W is decoded in registers; A is decoded into memory, in that order: a step is 8 vectors of 16 lanes.
// (The baseline has no fma: with BF16 rows its sums may differ from the others' in the last place.)
#pragma once
#include <cstdint>

#include "common/cpu_isa.hpp"

namespace nvfp4j {

inline constexpr std::int64_t kGemmStep = 128;
inline constexpr std::int64_t kGemmChunk = 1024;
inline constexpr int kGemmRowsAtOnce = 4;  // of W in a call of `stream`, and of A at most

struct GemmKernels {
  /// code * block scale of `blocks` blocks of a row of A, in whole steps padded with zeros. Scales
  /// are 0x00 to 0x7E; what a row with another gives has no meaning, see bad_scale.
  void (*decode_a)(const std::uint8_t* codes, const std::uint8_t* scales, std::int64_t blocks,
                   float* out);
  /// `n` BF16 elements of a row of A, a multiple of 16, in whole steps padded with zeros.
  void (*unpack_a)(const std::uint16_t* x, std::int64_t n, float* out);
  /// Adds the products of `rows` (1 to 4) decoded rows of A with four coded rows of W, over a chunk
  /// of `blocks` blocks: sums[m * sums_stride + n].
  void (*stream)(int rows, const float* a, std::int64_t a_stride, const std::uint8_t* const* codes,
                 const std::uint8_t* const* scales, std::int64_t blocks, float* sums,
                 std::int64_t sums_stride);
  /// Four rows of prepared weights, from row `row` (0, 4, 8 or 12) of a tile on, back in the order of
  /// a checkpoint, for `stream`: `chunks` (1 to 8) chunks of 128 columns, whose row of codes is
  /// kGemmChunk / 2 bytes long and whose row of scales kGemmChunk / 16.
  void (*unprepare)(const std::uint8_t* prepared, int row, std::int64_t chunks, std::uint8_t* codes,
                    std::uint8_t* scales);
  /// The products of one decoded row of A with the 16 rows of a tile of prepared weights, over `chunks` (1 to 8) chunks of 128 columns from `prepared` on, without a detour through the order of a checkpoint, but summed
  /// in the same order: sums[0] to sums[15]. `a` is as order_a() leaves it. Returns a bit for each row with a bad scale. NULL where there is none: then unprepare() and stream().
  std::uint32_t (*stream_prepared)(const float* a, const std::uint8_t* prepared,
                                   std::int64_t chunks, float* sums);
  /// `n` elements, a multiple of 256, of a decoded row of A in the order of stream_prepared(), in place.
  void (*order_a)(float* a, std::int64_t n);
  /// Whether one of `n` block scales is NaN or has its sign bit set.
  bool (*bad_scale)(const std::uint8_t* scales, std::int64_t n);
};

/// Indexed by CpuIsa; calling a version that the machine does not have ends the process.
extern const GemmKernels gemm_kernels[kCpuIsaCount];

}  // namespace nvfp4j
