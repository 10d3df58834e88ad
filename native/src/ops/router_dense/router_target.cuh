// SPDX-License-Identifier: Apache-2.0
// What the routers' kernels read and write.
#pragma once
#include "common/cuda_launch.hpp"
#include "ops/router_dense/router_args.hpp"
#include "ops/router_dense/router_layout.hpp"

namespace nvfp4j {

struct RouterTarget {
  RouterActivations x;
  RouterGate gate;
  RouterChoice choice;
  const float* bias;  // of router_dense
  float* logits;      // of router_dense, or NULL
  std::int64_t logits_stride;
  DeviceStatus* status;
  int op;        // which reports
  char* tagged;  // of router_split: TaggedWords
  // Of the launch: its first token, the tiles' shape.
  std::int64_t first_token;
  std::int64_t scratch_token;  // whose logits are the first of `logits`
  std::int64_t launch_tokens;
  std::int64_t units;  // of kRouterUnit columns
  std::int64_t units_of_slice;
  int slices;
  RouterExchange* exchange;  // of router_tiles
};

}  // namespace nvfp4j
