// SPDX-License-Identifier: Apache-2.0
// A validated router_hash call, as the CPU and CUDA implementations get it.
#pragma once
#include "ops/router_dense/router_args.hpp"

namespace nvfp4j {

struct RouterHashArgs {
  RouterActivations x;
  RouterGate gate;
  const void* table;  // [vocabulary, topk] I32 or I64
  std::int64_t vocabulary;
  const void* ids;  // [tokens] I32 or I64
  bool table_is_64_bit;
  bool ids_are_64_bit;
  RouterChoice choice;
};

}  // namespace nvfp4j
