// SPDX-License-Identifier: Apache-2.0
// The validation of gemm, grouped_gemm and batched_gemm, which are one in GemmArgs.
#pragma once
#include "common/tensor_checks.hpp"
#include "nvfp4j/gemm.h"
#include "ops/gemm/gemm_args.hpp"

namespace nvfp4j {

/// The arguments of a matrix product; NULL for those that the op does not have.
struct GemmCall {
  std::int32_t op;  // NVFP4J_OP_GEMM, _GROUPED_GEMM or _BATCHED_GEMM
  const nvfp4j_tensor* a;
  const nvfp4j_nvfp4_tensor* a_nvfp4;
  const nvfp4j_nvfp4_tensor* w;
  const nvfp4j_tensor* offsets;
  const nvfp4j_tensor* row_weight;
  const nvfp4j_gemm_options* options;
  const nvfp4j_tensor* d;
};

GemmArgs check_gemm(const Place& place, const GemmCall& call);

/// The options of the product `op`; what the CPU does not have is refused for it.
void check_gemm_options(const Place& place, std::int32_t op, const nvfp4j_gemm_options* options);

/// Rows of W of one group; `name` is how sentences call them: "w.rows" or "n".
void check_gemm_n(const char* op, const char* name, std::int64_t n, bool swiglu);

/// The implementations count rows and columns in 32 bits.
void check_gemm_extent(const char* op, const char* name, std::int64_t value);

/// K, of which a row of A has `batch` (groups of a batch; else 1); both within 32 bits.
void check_gemm_k(const char* op, const char* name, std::int64_t k, std::int64_t batch);

}  // namespace nvfp4j
