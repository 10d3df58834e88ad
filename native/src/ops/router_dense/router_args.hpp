// SPDX-License-Identifier: Apache-2.0
// What router_dense and router_hash have in common: activations and the gate's weight.
#pragma once
#include <cstdint>

namespace nvfp4j {

/// x [tokens, columns].
struct RouterActivations {
  const void* data;
  std::int64_t stride;  // elements from row to row
  std::int64_t tokens;
  std::int64_t columns;
  std::int32_t dtype;  // NVFP4J_DTYPE_BF16 or _F32
};

/// W [experts, columns]; NVFP4 where `scales` is not NULL.
struct RouterGate {
  const void* data;            // rows of `dtype`, or packed codes, columns / 2 bytes a row
  std::int64_t stride;         // elements from row to row
  const std::uint8_t* scales;  // E4M3 [experts, columns / 16], or NULL
  const float* global_scale;   // one, or NULL
  std::int32_t dtype;          // NVFP4J_DTYPE_BF16 or _F32; of codes _U8
  int experts;                 // 1 to NVFP4J_MAX_EXPERTS
  bool settled;                // no work under way writes W, or the table of router_hash
};

/// indices and weights [tokens, topk].
struct RouterChoice {
  std::int32_t* indices;
  std::int64_t indices_stride;
  float* weights;
  std::int64_t weights_stride;
  int topk;  // 1 to NVFP4J_MAX_TOPK
  float scale;
};

}  // namespace nvfp4j
