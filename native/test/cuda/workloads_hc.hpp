// SPDX-License-Identifier: Apache-2.0
// Calls of sinkhorn and the hyper-connections.
#pragma once
#include "workload.hpp"

namespace nvfp4j::test {

inline Workload sinkhorn_workload(std::mt19937& g, std::int64_t tokens, std::int64_t n) {
  const Memory logits = random_memory(g, NVFP4J_DTYPE_F32, tokens * n * n);
  const std::int64_t stride = n * n + 4;
  const Memory comb = std::make_shared<Twin>(tokens * stride * 4);
  return {"sinkhorn" + shape_name(tokens, n),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_tensor in = streams(side, logits, NVFP4J_DTYPE_F32, tokens, n, n);
            nvfp4j_tensor out = streams(side, comb, NVFP4J_DTYPE_F32, tokens, n, n);
            out.stride[0] = stride;
            const nvfp4j_sinkhorn_options options = {sizeof options, 20, 1e-6f, 0};
            return nvfp4j_sinkhorn(context, &in, &options, &out, error);
          },
          {comb}};
}

// hc_pre, hc_post, hc_head or hc_post_pre. `fn` is zero: sums of products are a device's own, within a bound; everything else has the
// same bits on each.
inline Workload hc_workload(std::mt19937& g, std::int32_t op, std::int32_t dtype,
                            std::int64_t tokens, std::int64_t n, std::int64_t columns,
                            bool quantize = false) {
  constexpr std::int32_t kF32 = NVFP4J_DTYPE_F32;
  constexpr std::int64_t kGap = 8;
  const bool head = op == NVFP4J_OP_HC_HEAD;
  const bool post_step = op == NVFP4J_OP_HC_POST || op == NVFP4J_OP_HC_POST_PRE;
  const std::int64_t rows = head ? n : n * (n + 2);
  const Memory x = random_memory(g, dtype, tokens * n * columns);
  const Memory sub = random_memory(g, dtype, tokens * columns);
  const Memory post_before = random_memory(g, kF32, tokens * n);
  const Memory comb_before = random_memory(g, kF32, tokens * n * n);
  const Memory fn = std::make_shared<Twin>(
      std::vector<std::uint8_t>(static_cast<std::size_t>(rows * n * columns * 4), 0));
  const Memory base = random_memory(g, kF32, rows);
  const Memory scale = random_memory(g, kF32, head ? 1 : 3);
  const Memory out = std::make_shared<Twin>(tokens * n * (columns + kGap) * element_bytes(dtype));
  const Memory collapsed = std::make_shared<Twin>(tokens * (columns + kGap) * element_bytes(dtype));
  const Memory post = std::make_shared<Twin>(tokens * n * 4);
  const Memory comb = std::make_shared<Twin>(tokens * n * n * 4);
  const Nvfp4Twin quantized(tokens, columns, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4,
                            NVFP4J_GLOBAL_SCALE_ROW);
  std::vector<Memory> outputs;
  if (post_step) outputs.push_back(out);
  if (op != NVFP4J_OP_HC_POST) outputs.push_back(collapsed);
  if (op == NVFP4J_OP_HC_PRE || op == NVFP4J_OP_HC_POST_PRE) {
    outputs.push_back(post);
    outputs.push_back(comb);
  }
  if (quantize) {
    for (const Memory& m : written(quantized, NVFP4J_GLOBAL_SCALE_DYNAMIC)) outputs.push_back(m);
  }
  return {"op " + std::to_string(op) + " dtype " + std::to_string(dtype) +
              (quantize ? " quantize" : "") + " n " + std::to_string(n) +
              shape_name(tokens, columns),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_tensor x_in = streams(side, x, dtype, tokens, n, columns);
            const nvfp4j_tensor sub_in = matrix(side, sub, dtype, tokens, columns, columns);
            const nvfp4j_tensor post_in = matrix(side, post_before, kF32, tokens, n, n);
            const nvfp4j_tensor comb_in = streams(side, comb_before, kF32, tokens, n, n);
            const nvfp4j_tensor f = matrix(side, fn, kF32, rows, n * columns, n * columns);
            const nvfp4j_tensor b = vector(side, base, kF32, rows);
            const nvfp4j_tensor s = vector(side, scale, kF32, head ? 1 : 3);
            const nvfp4j_tensor x_out = streams(side, out, dtype, tokens, n, columns, kGap);
            const nvfp4j_tensor c = matrix(side, collapsed, dtype, tokens, columns, columns + kGap);
            const nvfp4j_tensor p = matrix(side, post, kF32, tokens, n, n);
            const nvfp4j_tensor m = streams(side, comb, kF32, tokens, n, n);
            const nvfp4j_nvfp4_tensor q = quantized.at(side);
            const nvfp4j_hc_options options = {sizeof options, head ? 0 : 20, 1e-6f, 1e-6f};
            const nvfp4j_quantize_options recipe = fixture::quantize_options();
            switch (op) {
              case NVFP4J_OP_HC_POST:
                return nvfp4j_hc_post(context, &x_in, &sub_in, &post_in, &comb_in, &x_out, error);
              case NVFP4J_OP_HC_PRE:
                return nvfp4j_hc_pre(context, &x_in, &f, &b, &s, &options, &c, &p, &m, error);
              case NVFP4J_OP_HC_HEAD:
                return nvfp4j_hc_head(context, &x_in, &f, &b, &s, &options, &c, error);
              default:
                return nvfp4j_hc_post_pre(context, &x_in, &sub_in, &post_in, &comb_in, &f, &b, &s,
                                          nullptr, &options, quantize ? &recipe : nullptr, &x_out,
                                          &c, &p, &m, quantize ? &q : nullptr, error);
            }
          },
          outputs};
}

inline void for_every_hc_op(std::mt19937& g, std::int64_t rows, std::int64_t columns,
                            const std::function<void(const Workload&)>& use) {
  for (const std::int64_t n : {2, 4, 16}) use(sinkhorn_workload(g, rows, n));
  for (const std::int32_t op :
       {NVFP4J_OP_HC_PRE, NVFP4J_OP_HC_POST, NVFP4J_OP_HC_HEAD, NVFP4J_OP_HC_POST_PRE}) {
    use(hc_workload(g, op, NVFP4J_DTYPE_BF16, rows, 4, columns));
    use(hc_workload(g, op, NVFP4J_DTYPE_F32, rows, 3, columns));
  }
  use(hc_workload(g, NVFP4J_OP_HC_POST_PRE, NVFP4J_DTYPE_BF16, rows, 4, columns, true));
  use(hc_workload(g, NVFP4J_OP_HC_POST_PRE, NVFP4J_DTYPE_F32, rows, 2, columns, true));
}

}  // namespace nvfp4j::test
