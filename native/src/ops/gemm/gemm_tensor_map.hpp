// SPDX-License-Identifier: Apache-2.0
// Tensor maps of operands, for the tensor loads (TMA) of Hopper.
#pragma once
#include <cuda.h>

#include <cstdint>

#include "ops/gemm/gemm_args.hpp"

namespace nvfp4j {

/// Finds the driver's function that makes the maps; a cudaError_t. Before the first map.
int load_tensor_maps();

/// A of BF16 rows, in boxes of 64 columns and `box_rows` rows with the 128-byte swizzle. Beyond its ends it is zero. False: it cannot be had.
bool map_tokens(const GemmArgs& args, int box_rows, CUtensorMap* map);

/// Linear W of all groups: boxes of `box_rows` rows and 256 columns, of codes with the 128-byte swizzle and of block scales.
bool map_linear_weights(const GemmArgs& args, int box_rows, CUtensorMap* codes,
                        CUtensorMap* scales);

}  // namespace nvfp4j
