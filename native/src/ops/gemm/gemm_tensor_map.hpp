// SPDX-License-Identifier: Apache-2.0
// Tensor maps of operands, for the tensor loads (TMA) of Hopper. False: it cannot be had.
#pragma once
#include "common/tensor_map.hpp"
#include "ops/gemm/gemm_args.hpp"

namespace nvfp4j {

/// A of BF16 rows: boxes of 64 columns with the 128-byte swizzle. Beyond its ends it is zero.
bool map_tokens(const GemmArgs& args, int box_rows, CUtensorMap* map);

/// Linear W, [group][row][column]: boxes of 256 columns of one group, of codes with the 128-byte swizzle, and of block scales. Beyond a group's ends it is zero.
bool map_linear_weights(const GemmArgs& args, int box_rows, CUtensorMap* codes,
                        CUtensorMap* scales);

}  // namespace nvfp4j
