// SPDX-License-Identifier: Apache-2.0
// A call of hc_pre, hc_head or hc_post_pre as its kernels get it.
#pragma once
#include "device/launch.cuh"
#include "nvfp4j/hyper_connections.h"
#include "ops/hc_pre/hc_args.hpp"
#include "ops/quantize/quantize_kernels.cuh"

namespace nvfp4j {

// Strides of `char` pointers are in bytes, of others in elements.
struct HcPreTarget {
  const char* x;  // what is read: of hc_post_pre the residual before
  std::int64_t x_token, x_stream;
  // hc_post_pre
  const char* sub;
  std::int64_t sub_token;
  const float* post_before;
  const float* comb_before;
  std::int64_t post_before_token, comb_before_token;
  char* out;  // the new residual; nullptr elsewhere
  std::int64_t out_token, out_stream;

  const float* fn;
  std::int64_t fn_row;
  const float* base;
  const float* scale;
  double inverse_count;    // 1 / (n D)
  double inverse_columns;  // 1 / D
  double rms_eps;          // what is added to F64 means: as a constant operand it needs no register
  float hc_eps;
  int iterations;   // 0: the head
  char* collapsed;  // nullptr: not wanted
  std::int64_t collapsed_token;
  float* post;
  float* comb;
  std::int64_t post_token, comb_token;
  const char* norm_weight;  // nullptr: no RMSNorm
  bool norm_f32;
  bool quantize;
  int recipe;
  QuantizeTarget quantized;
  std::int64_t tokens;
  int columns;
  DeviceStatus* status;
  int op;

  static HcPreTarget of(const CudaLaunch& launch, const HcPreArgs& args) {
    const HcShape& shape = args.shape;
    const int bytes = shape.dtype == NVFP4J_DTYPE_F32 ? 4 : 2;
    const bool behind = args.op == NVFP4J_OP_HC_POST_PRE;
    const HcStreams& x = behind ? args.before.x : args.x;
    HcPreTarget t{};
    t.x = static_cast<const char*>(x.data);
    t.x_token = x.token_stride * bytes;
    t.x_stream = x.stream_stride * bytes;
    if (behind) {
      t.sub = static_cast<const char*>(args.before.sub.data);
      t.sub_token = args.before.sub.stride * bytes;
      t.post_before = args.before.post.data;
      t.comb_before = args.before.comb.data;
      t.post_before_token = args.before.post.stride;
      t.comb_before_token = args.before.comb.stride;
      t.out = static_cast<char*>(args.x.data);
      t.out_token = args.x.token_stride * bytes;
      t.out_stream = args.x.stream_stride * bytes;
    }
    t.fn = args.module.fn;
    t.fn_row = args.module.fn_stride;
    t.base = args.module.base;
    t.scale = args.module.scale;
    t.inverse_count = 1.0 / (static_cast<double>(shape.n) * static_cast<double>(shape.columns));
    t.inverse_columns = 1.0 / static_cast<double>(shape.columns);
    t.hc_eps = args.module.hc_eps;
    t.rms_eps = args.module.rms_eps;
    t.iterations = args.module.iterations;
    t.collapsed = static_cast<char*>(args.collapsed.data);
    t.collapsed_token = args.collapsed.stride * bytes;
    t.post = args.post.data;
    t.comb = args.comb.data;
    t.post_token = args.post.stride;
    t.comb_token = args.comb.stride;
    t.norm_weight = static_cast<const char*>(args.norm_weight);
    t.norm_f32 = args.norm_dtype == NVFP4J_DTYPE_F32;
    t.quantize = args.quantize;
    if (args.quantize) {
      t.recipe = args.recipe.recipe;
      t.quantized = QuantizeTarget::of(args.quantized, args.recipe, args.op, shape.tokens,
                                       shape.columns, launch.status);
    }
    t.tokens = shape.tokens;
    t.columns = static_cast<int>(shape.columns);
    t.status = launch.status;
    t.op = args.op;
    return t;
  }
};

}  // namespace nvfp4j
