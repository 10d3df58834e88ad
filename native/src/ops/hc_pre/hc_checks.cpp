// SPDX-License-Identifier: Apache-2.0
#include "ops/hc_pre/hc_checks.hpp"

#include <cstdint>

#include "common/overlap_checks.hpp"
#include "ops/quantize/quantize_checks.hpp"
#include "ops/sinkhorn/sinkhorn_checks.hpp"

namespace nvfp4j {
namespace {

constexpr std::int32_t kInvalid = NVFP4J_ERROR_INVALID_ARGUMENT;
constexpr DtypeSet kF32 = dtype_set({NVFP4J_DTYPE_F32});
constexpr std::int64_t kMaxColumns = std::int64_t{1} << 24;

// Checked tensors are made in the structure that keeps them, and arguments of them when all is checked: what has just been written is slow to copy (tensor_checks.cpp).

/// The residual that a call reads, which gives every other tensor its shape.
struct Residual {
  Tokens tokens;
  HcShape shape;
};

Residual check_residual(const Place& place, const nvfp4j_tensor* x) {
  Residual r{check_tokens(place, "x", x, dtype_set({NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32})), {}};
  const Tokens& t = r.tokens;
  const int n = check_streams(place.op, "x", t.streams);
  if (t.columns < 8 || t.columns % 8 != 0 || t.columns > kMaxColumns) [[unlikely]] {
    fail(kInvalid, "%s: x has D = %lld columns, expected a multiple of 8 from 8 to 2^24", place.op,
         static_cast<long long>(t.columns));
  }
  r.shape = {t.tokens, n, t.columns, t.dtype};
  return r;
}

HcStreams streams_of(const Tokens& t) { return {t.data, t.token_stride, t.stream_stride}; }

Matrix check_rows(const Place& place, const char* name, const nvfp4j_tensor* tensor,
                  const HcShape& shape) {
  const Matrix m = check_matrix(place, name, tensor, dtype_set({shape.dtype}));
  check_shape(place.op, name, m, shape.tokens, shape.columns, "T and D of x");
  return m;
}

HcRows rows_of(const Matrix& m) { return {m.data, m.stride}; }

/// post [T, n].
Matrix check_post(const Place& place, const char* name, const nvfp4j_tensor* tensor,
                  const HcShape& shape) {
  const Matrix m = check_matrix(place, name, tensor, kF32);
  check_shape(place.op, name, m, shape.tokens, shape.n, "T and n of x");
  return m;
}

HcWeights weights_of(const Matrix& m) { return {static_cast<float*>(m.data), m.stride}; }

/// comb [T, n, n].
Tokens check_comb(const Place& place, const char* name, const nvfp4j_tensor* tensor,
                  const HcShape& shape) {
  const Tokens t = check_tokens(place, name, tensor, kF32);
  check_shape(place.op, name, t, shape.tokens, shape.n, shape.n, "T, n and n of x");
  check_contiguous_tokens(place.op, name, t);
  return t;
}

HcWeights weights_of(const Tokens& t) { return {static_cast<float*>(t.data), t.token_stride}; }

Matrix check_fn(const Place& place, const nvfp4j_tensor* tensor, const HcShape& shape,
                std::int64_t rows, bool head) {
  const Matrix fn = check_matrix(place, "fn", tensor, kF32);
  check_shape(place.op, "fn", fn, rows, shape.n * shape.columns,
              head ? "n and n*D of x" : "n*(n+2) and n*D of x");
  return fn;
}

Vector check_f32_vector(const Place& place, const char* name, const nvfp4j_tensor* tensor,
                        std::int64_t count, const char* why) {
  const Vector v = check_vector(place, name, tensor, kF32);
  check_count(place.op, name, v, count, why);
  return v;
}

struct CheckedModule {
  Matrix fn;
  Vector base;
  Vector scale;
  const nvfp4j_hc_options* options;

  HcModule args() const {
    return {static_cast<const float*>(fn.data),
            fn.stride,
            static_cast<const float*>(base.data),
            static_cast<const float*>(scale.data),
            options->iterations,
            options->hc_eps,
            options->rms_eps};
  }
};

CheckedModule check_module(const Place& place, const HcModuleTensors& tensors, const HcShape& shape,
                           bool head) {
  const char* op = place.op;
  const std::int64_t rows = head ? shape.n : std::int64_t{shape.n} * (shape.n + 2);
  CheckedModule m{check_fn(place, tensors.fn, shape, rows, head),
                  check_f32_vector(place, "base", tensors.base, rows, "one per row of fn"),
                  check_f32_vector(place, "scale", tensors.scale, head ? 1 : 3,
                                   head ? "of pre" : "pre, post, comb"),
                  tensors.options};
  const nvfp4j_hc_options* options = tensors.options;
  check_struct(op, "options", options);
  if (!head) {
    check_iterations(op, "options", options->iterations);
  } else if (options->iterations != 0) [[unlikely]] {
    fail(kInvalid, "%s: options.iterations is %d, expected 0: the head has no comb", op,
         options->iterations);
  }
  check_eps(op, "options", "hc_eps", options->hc_eps);
  check_eps(op, "options", "rms_eps", options->rms_eps);
  return m;
}

/// hc_post's tensors.
struct CheckedPost {
  Residual x;
  Matrix sub;
  Matrix post;
  Tokens comb;
  Tokens out;

  HcPostArgs args() const {
    return {x.shape,          streams_of(x.tokens), rows_of(sub),
            weights_of(post), weights_of(comb),     streams_of(out)};
  }
};

Tokens check_out(const Place& place, const nvfp4j_tensor* tensor, const Residual& x) {
  const Tokens out = check_tokens(place, "out", tensor, dtype_set({x.shape.dtype}));
  check_shape(place.op, "out", out, x.shape.tokens, x.shape.n, x.shape.columns, "the shape of x");
  check_disjoint_or_in_place(place.op, out, x.tokens);
  return out;
}

/// `out` may be x; that it is apart from all else is left to the caller, who has more to compare.
CheckedPost check_post_step(const Place& place, const HcPostTensors& tensors) {
  // Members are initialised in order: later ones may read step.x.
  CheckedPost step{
      check_residual(place, tensors.x), check_rows(place, "sub", tensors.sub, step.x.shape),
      check_post(place, "post", tensors.post, step.x.shape),
      check_comb(place, "comb", tensors.comb, step.x.shape), check_out(place, tensors.out, step.x)};
  return step;
}

}  // namespace

HcPostArgs check_hc_post(const Place& place, const HcPostTensors& tensors) {
  const CheckedPost step = check_post_step(place, tensors);
  check_apart(place.op, {&step.out.buffer},
              {&step.sub.buffer, &step.post.buffer, &step.comb.buffer});
  return step.args();
}

HcPreArgs check_hc_pre(const Place& place, const nvfp4j_tensor* x, const HcModuleTensors& module,
                       const nvfp4j_tensor* collapsed, const nvfp4j_tensor* post,
                       const nvfp4j_tensor* comb) {
  const Residual in = check_residual(place, x);
  const CheckedModule m = check_module(place, module, in.shape, false);
  const Matrix y = check_rows(place, "collapsed", collapsed, in.shape);
  const Matrix p = check_post(place, "post", post, in.shape);
  const Tokens c = check_comb(place, "comb", comb, in.shape);
  check_apart(place.op, {&y.buffer, &p.buffer, &c.buffer},
              {&in.tokens.buffer, &m.fn.buffer, &m.base.buffer, &m.scale.buffer});
  HcPreArgs args{};
  args.op = NVFP4J_OP_HC_PRE;
  args.shape = in.shape;
  args.x = streams_of(in.tokens);
  args.module = m.args();
  args.collapsed = rows_of(y);
  args.post = weights_of(p);
  args.comb = weights_of(c);
  return args;
}

HcPreArgs check_hc_head(const Place& place, const nvfp4j_tensor* x, const HcModuleTensors& module,
                        const nvfp4j_tensor* collapsed) {
  const Residual in = check_residual(place, x);
  const CheckedModule m = check_module(place, module, in.shape, true);
  const Matrix y = check_rows(place, "collapsed", collapsed, in.shape);
  check_apart(place.op, {&y.buffer},
              {&in.tokens.buffer, &m.fn.buffer, &m.base.buffer, &m.scale.buffer});
  HcPreArgs args{};
  args.op = NVFP4J_OP_HC_HEAD;
  args.shape = in.shape;
  args.x = streams_of(in.tokens);
  args.module = m.args();
  args.collapsed = rows_of(y);
  return args;
}

HcPreArgs check_hc_post_pre(const Place& place, const HcPostTensors& before,
                            const HcModuleTensors& module, const nvfp4j_tensor* norm_weight,
                            const nvfp4j_quantize_options* quantize_options,
                            const nvfp4j_tensor* collapsed, const nvfp4j_tensor* next_post,
                            const nvfp4j_tensor* next_comb, const nvfp4j_nvfp4_tensor* quantized) {
  const char* op = place.op;
  const CheckedPost step = check_post_step(place, before);
  const HcShape& shape = step.x.shape;
  const CheckedModule m = check_module(place, module, shape, false);
  Vector weight;
  if (norm_weight != nullptr) {
    weight = check_vector(place, "norm_weight", norm_weight,
                          dtype_set({NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}));
    check_count(op, "norm_weight", weight, shape.columns, "one per column of x");
  }
  if ((quantized != nullptr) != (quantize_options != nullptr)) [[unlikely]] {
    fail(kInvalid, "%s: %s is NULL, expected quantized and quantize_options both or neither", op,
         quantized == nullptr ? "quantized" : "quantize_options");
  }
  Matrix y;
  if (collapsed != nullptr) {
    y = check_rows(place, "collapsed", collapsed, shape);
  } else if (quantized == nullptr) [[unlikely]] {
    fail(kInvalid, "%s: collapsed is NULL, expected a tensor where quantized is NULL too", op);
  }
  Nvfp4Buffers q;
  QuantizeRecipe recipe{};
  if (quantized != nullptr) {
    recipe = check_recipe(op, "quantize_options", quantize_options);
    if (recipe.global_scale != NVFP4J_GLOBAL_SCALE_DYNAMIC) [[unlikely]] {
      fail(kInvalid, "%s: quantize_options.global_scale is %d, expected %d (DYNAMIC)", op,
           recipe.global_scale, NVFP4J_GLOBAL_SCALE_DYNAMIC);
    }
    if (shape.columns % 16 != 0) [[unlikely]] {
      fail(kInvalid, "%s: x has D = %lld columns, expected a multiple of 16 to quantise", op,
           static_cast<long long>(shape.columns));
    }
    q = check_nvfp4(
        place, "quantized", quantized,
        Nvfp4Accepted{kNvfp4Matrix.scale_layouts, 1u << NVFP4J_GLOBAL_SCALE_ROW, false});
    check_nvfp4_shape(op, "quantized", quantized, shape.tokens, shape.columns, "T and D of x");
  }
  const Matrix p = check_post(place, "next_post", next_post, shape);
  const Tokens c = check_comb(place, "next_comb", next_comb, shape);
  const auto there = [](const void* tensor, const Buffer& buffer) {
    return tensor != nullptr ? &buffer : nullptr;
  };
  const Buffer* const made[] = {there(collapsed, y.buffer),
                                &p.buffer,
                                &c.buffer,
                                there(quantized, q.codes),
                                there(quantized, q.scales),
                                there(quantized, q.global_scales)};
  check_apart(op, {&step.out.buffer, made[0], made[1], made[2], made[3], made[4], made[5]},
              {&step.sub.buffer, &step.post.buffer, &step.comb.buffer, &m.fn.buffer, &m.base.buffer,
               &m.scale.buffer, there(norm_weight, weight.buffer)});
  // `out` may be x.
  check_apart(op, made, {&step.x.tokens.buffer});
  return {NVFP4J_OP_HC_POST_PRE,
          shape,
          streams_of(step.out),
          m.args(),
          collapsed != nullptr ? rows_of(y) : HcRows{},
          weights_of(p),
          weights_of(c),
          step.args(),
          norm_weight != nullptr ? weight.data : nullptr,
          norm_weight != nullptr ? norm_weight->dtype : 0,
          quantized != nullptr,
          recipe,
          quantized != nullptr ? quantize_output(*quantized) : QuantizeOutput{}};
}

}  // namespace nvfp4j
