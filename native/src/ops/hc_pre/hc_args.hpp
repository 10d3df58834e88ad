// SPDX-License-Identifier: Apache-2.0
// A validated call of hc_pre, hc_post, hc_head or hc_post_pre, as the CPU and CUDA implementations get it.
#pragma once
#include <cstdint>

#include "ops/quantize/quantize_args.hpp"

namespace nvfp4j {

// The shape of a residual, and how far its elements are from each other.
struct HcStreams {
  void* data;                  // [tokens, n, columns]
  std::int64_t token_stride;   // elements
  std::int64_t stream_stride;  // elements
};

// [tokens, columns] of the residual's type.
struct HcRows {
  void* data;
  std::int64_t stride;  // elements
};

// F32, a token's elements contiguous.
struct HcWeights {
  float* data;
  std::int64_t stride;  // elements from token to token
};

struct HcShape {
  std::int64_t tokens;
  int n;
  std::int64_t columns;  // D
  int dtype;             // NVFP4J_DTYPE_BF16 or _F32
};

struct HcPostArgs {
  HcShape shape;
  HcStreams x;
  HcRows sub;
  HcWeights post;
  HcWeights comb;
  HcStreams out;  // may be x
};

// The mixing weights of a module, or of the head.
struct HcModule {
  const float* fn;         // [n(n+2) or n, n*columns]
  std::int64_t fn_stride;  // elements
  const float* base;
  const float* scale;
  int iterations;  // 0: the head
  float hc_eps;
  float rms_eps;
};

struct HcPreArgs {
  int op;  // NVFP4J_OP_HC_PRE, _HC_HEAD or _HC_POST_PRE
  HcShape shape;
  HcStreams x;  // HC_POST_PRE: what post.out will hold
  HcModule module;
  HcRows collapsed;  // no data: not wanted
  HcWeights post;    // head: none
  HcWeights comb;    // head: none
  // HC_POST_PRE only.
  HcPostArgs before;
  const void* norm_weight;  // nullptr: no RMSNorm
  int norm_dtype;           // NVFP4J_DTYPE_BF16 or _F32
  bool quantize;
  QuantizeRecipe recipe;
  QuantizeOutput quantized;
};

}  // namespace nvfp4j
