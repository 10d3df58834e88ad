// SPDX-License-Identifier: Apache-2.0
// A validated router_dense call, as the CPU and CUDA implementations get it.
#pragma once
#include "ops/router_dense/router_args.hpp"

namespace nvfp4j {

struct RouterDenseArgs {
  RouterActivations x;
  RouterGate gate;
  const float* bias;  // [experts]
  RouterChoice choice;
  float* logits;  // [tokens, experts], or NULL
  std::int64_t logits_stride;
};

}  // namespace nvfp4j
