// SPDX-License-Identifier: Apache-2.0
// A valid call of every op, of which a test spoils one thing.
#pragma once
#include <functional>

#include "fixture.hpp"

namespace fixture {

inline constexpr int32_t kInvalid = NVFP4J_ERROR_INVALID_ARGUMENT;

struct Call {
  Call()
      : x(128 * 1024 * 2),
        ids(4 * 128),
        q(128, 1024),
        y(128 * 1024 * 4),
        linear(128 * 64),
        tiles(128 * 64),
        gate_up(128 * 64 * 2),
        weight(4 * 128),
        h(128 * 32 * 2),
        hq(128, 32) {
    input = tensor(x.data(), NVFP4J_DTYPE_BF16, {128, 1024});
    rows = tensor(ids.data(), NVFP4J_DTYPE_I32, {128});
    output = tensor(y.data(), NVFP4J_DTYPE_F32, {128, 1024});
    linear_scales = tensor(linear.data(), NVFP4J_DTYPE_U8, {128, 64});
    swizzled_scales = tensor(tiles.data(), NVFP4J_DTYPE_U8, {8192});
    gate_up_tensor = tensor(gate_up.data(), NVFP4J_DTYPE_BF16, {128, 64});
    weight_tensor = tensor(weight.data(), NVFP4J_DTYPE_F32, {128});
    h_tensor = tensor(h.data(), NVFP4J_DTYPE_BF16, {128, 32});
    // An even byte pattern, so that every bit pattern is a finite number and every id is in range.
    for (Bytes* b : {&x, &gate_up, &weight})
      std::memset(b->data(), 0, static_cast<std::size_t>(b->size()));
    std::memset(ids.data(), 0, 512);
  }
  Outcome quantize(bool gather = false) {
    return outcome([&](nvfp4j_error* error) {
      return nvfp4j_quantize(context, &input, gather ? &rows : nullptr, &options, &q.descriptor,
                             error);
    });
  }
  Outcome dequantize() {
    return outcome([&](nvfp4j_error* error) {
      return nvfp4j_dequantize(context, &q.descriptor, &output, error);
    });
  }
  Outcome swizzle() {
    return outcome([&](nvfp4j_error* error) {
      return nvfp4j_swizzle(context, &linear_scales, &swizzled_scales, error);
    });
  }
  Outcome unswizzle() {
    return outcome([&](nvfp4j_error* error) {
      return nvfp4j_unswizzle(context, &swizzled_scales, &linear_scales, error);
    });
  }
  Outcome swiglu() {
    return outcome([&](nvfp4j_error* error) {
      return nvfp4j_swiglu(context, &gate_up_tensor, &weight_tensor, &swiglu_options_, &h_tensor,
                           error);
    });
  }
  Outcome swiglu_quantize() {
    return outcome([&](nvfp4j_error* error) {
      return nvfp4j_swiglu_quantize(context, &gate_up_tensor, &weight_tensor, &swiglu_options_,
                                    &options, &hq.descriptor, error);
    });
  }

  Context context;
  Bytes x;
  Bytes ids;
  Nvfp4 q;
  Bytes y;
  Bytes linear;
  Bytes tiles;
  Bytes gate_up;
  Bytes weight;
  Bytes h;
  Nvfp4 hq;
  nvfp4j_tensor input, rows, output, linear_scales, swizzled_scales, gate_up_tensor, weight_tensor,
      h_tensor;
  nvfp4j_quantize_options options = quantize_options();
  nvfp4j_swiglu_options swiglu_options_ = swiglu_options();
};

inline bool poisoned(const Bytes& bytes) {
  for (int64_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] != 0xA5) return false;
  }
  return true;
}

inline bool nothing_written(const Call& c) {
  return poisoned(c.q.codes) && poisoned(c.q.scales) && poisoned(c.q.global_scales) &&
         poisoned(c.y) && poisoned(c.linear) && poisoned(c.tiles) && poisoned(c.h) &&
         poisoned(c.hq.codes) && poisoned(c.hq.scales) && poisoned(c.hq.global_scales);
}

}  // namespace fixture
