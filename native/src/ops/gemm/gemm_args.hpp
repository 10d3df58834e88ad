// SPDX-License-Identifier: Apache-2.0
// A validated matrix product, as the CPU and CUDA implementations get it: gemm, grouped_gemm and batched_gemm alike.
#pragma once
#include <cstdint>

#include "common/math.hpp"
#include "nvfp4j/tensor.h"

namespace nvfp4j {

/// A [m, k] of activations; batched: [m, groups * k], group g has columns g*k to g*k + k-1.
struct GemmActivations {
  int kind;                    // NVFP4J_GEMM_A_*
  const void* data;            // BF16 (BF16, PACKED), or codes (NVFP4)
  const std::uint8_t* scales;  // NVFP4: linear
  std::int64_t stride;         // elements from row to row; NVFP4: of the whole row of codes
  const float* global_scales;  // NULL: 1
  bool global_scale_per_row;
};

/// W [groups, n, k].
struct GemmWeights {
  int layout;  // NVFP4J_SCALE_LAYOUT_LINEAR or _PREPARED
  const std::uint8_t* codes;
  const std::uint8_t* scales;  // LINEAR
  const float* global_scales;
  int global_scale_kind;  // NVFP4J_GLOBAL_SCALE_TENSOR, _GROUP or _HALVES
};

/// D [m, n], or [m, n/2] with swiglu; batched: [m, groups * n].
struct GemmOutput {
  void* data;
  int dtype;  // NVFP4J_DTYPE_F32 or _BF16
  std::int64_t stride;
};

struct GemmArgs {
  int op;  // NVFP4J_OP_GEMM, _GROUPED_GEMM or _BATCHED_GEMM
  std::int64_t groups;
  std::int64_t m;  // rows of A
  std::int64_t n;  // rows of W of one group
  std::int64_t k;
  GemmActivations a;
  GemmWeights w;
  GemmOutput d;
  const std::int32_t* offsets;  // grouped: groups + 1 of them
  const float* row_weight;      // NULL: 1
  bool swiglu;
  float limit;  // 0: none
  bool batch_invariant;
  bool weights_settled;
  int path;  // NVFP4J_GEMM_PATH_*
};

/// Columns of a row of A: of all groups of a batch.
inline std::int64_t a_columns(int op, std::int64_t groups, std::int64_t k) {
  return op == NVFP4J_OP_BATCHED_GEMM ? groups * k : k;
}
inline std::int64_t a_columns(const GemmArgs& args) {
  return a_columns(args.op, args.groups, args.k);
}

/// Index of the global scale of row n of W's group; `rows` is N.
NVFP4J_HD inline std::int64_t global_scale_index(int kind, std::int64_t group, std::int64_t n,
                                                 std::int64_t rows) {
  if (kind == NVFP4J_GLOBAL_SCALE_GROUP) return group;
  if (kind == NVFP4J_GLOBAL_SCALE_HALVES) return 2 * group + (n >= rows / 2 ? 1 : 0);
  return 0;
}

}  // namespace nvfp4j
