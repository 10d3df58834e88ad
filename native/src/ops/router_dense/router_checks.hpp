// SPDX-License-Identifier: Apache-2.0
// Validation of router_dense and router_hash.
#pragma once
#include "common/tensor_checks.hpp"
#include "nvfp4j/router.h"
#include "ops/router_dense/router_dense_args.hpp"
#include "ops/router_hash/router_hash_args.hpp"

namespace nvfp4j {

/// The gate's weight as it is handed in: exactly one of the two is there.
struct RouterWeight {
  const nvfp4j_tensor* dense;
  const nvfp4j_nvfp4_tensor* nvfp4;
};

/// Where the choice goes.
struct RouterOutputs {
  const nvfp4j_tensor* indices;
  const nvfp4j_tensor* weights;
};

RouterDenseArgs check_router_dense(const Place& place, const nvfp4j_tensor* x,
                                   const RouterWeight& weight, const nvfp4j_tensor* bias,
                                   const nvfp4j_router_options* options,
                                   const RouterOutputs& outputs, const nvfp4j_tensor* logits);

RouterHashArgs check_router_hash(const Place& place, const nvfp4j_tensor* x,
                                 const RouterWeight& weight, const nvfp4j_tensor* table,
                                 const nvfp4j_tensor* ids, const nvfp4j_router_options* options,
                                 const RouterOutputs& outputs);

}  // namespace nvfp4j
