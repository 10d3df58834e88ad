// SPDX-License-Identifier: Apache-2.0
// All that the choice of an implementation of a matrix product depends on.
#pragma once
#include <cstdint>

namespace nvfp4j {

struct GemmShape {
  int op;  // NVFP4J_OP_GEMM, _GROUPED_GEMM or _BATCHED_GEMM
  std::int64_t groups;
  std::int64_t m;  // rows of A
  std::int64_t n;  // rows of W of one group
  std::int64_t k;
  int a_kind;    // NVFP4J_GEMM_A_*
  int w_layout;  // NVFP4J_SCALE_LAYOUT_LINEAR or _PREPARED
  bool swiglu;
  bool batch_invariant;
  int path;  // NVFP4J_GEMM_PATH_*
};

}  // namespace nvfp4j
