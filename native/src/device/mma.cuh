// SPDX-License-Identifier: Apache-2.0
// The warp's matrix product, BF16 with sums in F32.
#pragma once
#include <cstdint>

namespace nvfp4j::device {

// D += A B, A 16 x 16 and B 16 x 8. Of lane 4g + t: D is rows g (0, 1) and g + 8 (2, 3), columns 2t and 2t + 1; a0 and a2 are of row g, a1 and a3 of row g + 8, b0 and b1 of column g. Along K, registers 0 and 1 are 2t and 2t + 1, registers 2 and 3 (of B: 1) 2t + 8 and 2t + 9.
__device__ __forceinline__ void mma_16x8x16(float (&d)[4], std::uint32_t a0, std::uint32_t a1,
                                            std::uint32_t a2, std::uint32_t a3, std::uint32_t b0,
                                            std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

}  // namespace nvfp4j::device
