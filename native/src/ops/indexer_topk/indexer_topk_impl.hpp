// SPDX-License-Identifier: Apache-2.0
// Between the files of indexer_topk's CUDA implementation.
#pragma once

namespace nvfp4j {

// Kernels with products of a warpgroup, of so many steps (4 or 8): for a device of compute capability 9.0.
const void* indexer_topk_few_wgmma(int steps);
const void* indexer_topk_many_wgmma(int steps);

}  // namespace nvfp4j
