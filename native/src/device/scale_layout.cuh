// SPDX-License-Identifier: Apache-2.0
// Where a block scale lies, and division by the number of blocks in a row.
#pragma once
#include <cstdint>

#include "nvfp4j/tensor.h"

namespace nvfp4j {

// n / divisor for n < 2^31 by one multiplication (Granlund and Montgomery): with 2^(s-1) < divisor <= 2^s and m = ceil(2^(31+s) / divisor), n*m >> (31+s) is exact.
struct FastDivision {
  std::uint32_t divisor;
  std::uint32_t multiplier;  // 0: the divisor is 1
  std::uint32_t shift;

  static FastDivision of(std::uint32_t divisor) {
    if (divisor <= 1) return {divisor, 0, 0};
    std::uint32_t s = 1;
    while ((1ull << s) < divisor) ++s;
    const std::uint64_t numerator = 1ull << (31 + s);
    return {divisor, static_cast<std::uint32_t>((numerator + divisor - 1) / divisor), s - 1};
  }

#if defined(__CUDACC__)
  __device__ __forceinline__ std::uint32_t divide(std::uint32_t n) const {
    return multiplier == 0 ? n : __umulhi(n, multiplier) >> shift;
  }
#endif
};

// Offset of the scale of block `s` of row `m` in the 128x4 layout with `tiles` = ceil(blocks / 4) tiles of columns.
#if defined(__CUDACC__)
__host__ __device__ __forceinline__
#else
inline
#endif
    std::int64_t
    swizzled_offset(std::int64_t m, std::uint32_t s, std::int64_t tiles) {
  const std::uint32_t in_tile = static_cast<std::uint32_t>(m) & 127u;
  return ((m >> 7) * tiles + (s >> 2)) * 512 +
         ((in_tile & 31u) * 16u + (in_tile >> 5) * 4u + (s & 3u));
}

#if defined(__CUDACC__)
namespace device {

// A block of 16 elements by its row and its number there.
struct BlockPlace {
  std::int64_t row;
  std::uint32_t block;
};

static __device__ __noinline__ BlockPlace place_of_wide(std::uint64_t b, std::uint32_t row_blocks) {
  const std::uint64_t row = b / row_blocks;
  return {static_cast<std::int64_t>(row), static_cast<std::uint32_t>(b - row * row_blocks)};
}

}  // namespace device
#endif

}  // namespace nvfp4j
