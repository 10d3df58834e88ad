// SPDX-License-Identifier: Apache-2.0
// Hyper-connections, n = 4, between ops that write what they read and read what they write, for chain_test.cpp. Their sums are the device's own: what is expected are the bits of the same calls with a wait behind each.
#pragma once
#include "context_fixture.hpp"

namespace nvfp4j::test {

struct HcChain {
  static constexpr std::int64_t kN = 4;
  static constexpr std::int64_t kMixes = kN * (kN + 2);

  HcChain(std::mt19937& g, std::int64_t m, std::int64_t d)
      : rows(m),
        columns(d),
        gate_up{random_memory(g, NVFP4J_DTYPE_BF16, m * 2 * d),
                random_memory(g, NVFP4J_DTYPE_BF16, m * 2 * d)},
        residual(random_memory(g, NVFP4J_DTYPE_BF16, m * kN * d)),
        logits(random_memory(g, NVFP4J_DTYPE_F32, m * kN * kN)),
        first_post(random_memory(g, NVFP4J_DTYPE_F32, m * kN)),
        fn(small_weights(g, kMixes * kN * d)),
        bases{random_memory(g, NVFP4J_DTYPE_F32, kMixes),
              random_memory(g, NVFP4J_DTYPE_F32, kMixes)},
        scale(random_memory(g, NVFP4J_DTYPE_F32, 3)),
        weight(random_memory(g, NVFP4J_DTYPE_F32, d)),
        sub(std::make_shared<Twin>(m * d * 2)),
        x(std::make_shared<Twin>(m * kN * d * 2)),
        base(std::make_shared<Twin>(kMixes * 4)),
        collapsed(std::make_shared<Twin>(m * d * 2)),
        post(std::make_shared<Twin>(m * kN * 4)),
        comb(std::make_shared<Twin>(m * kN * kN * 4)),
        next_post(std::make_shared<Twin>(m * kN * 4)),
        next_comb(std::make_shared<Twin>(m * kN * kN * 4)),
        doubly(std::make_shared<Twin>(m * kN * kN * 4)),
        head(std::make_shared<Twin>(m * d * 2)),
        q(m, d, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_TENSOR),
        row_q(m, d, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4, NVFP4J_GLOBAL_SCALE_ROW) {}

  // Such that mixes are around 1.
  static Memory small_weights(std::mt19937& g, std::int64_t elements) {
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(4 * elements));
    for (std::int64_t i = 0; i < elements; ++i)
      store_element(bytes.data(), NVFP4J_DTYPE_F32, i, random_value(g, kGauss) * 0.01f);
    return std::make_shared<Twin>(bytes);
  }

  void expect() const {
    const CudaContext context;
    poison();
    run(Side::kGpu, context, true);
    for (const Memory& memory : written()) memory->copy_to_host("what is expected");
  }

  void run(Side side, nvfp4j_context* context, bool wait = false) const {
    constexpr std::int32_t kBf16 = NVFP4J_DTYPE_BF16;
    constexpr std::int32_t kF32 = NVFP4J_DTYPE_F32;
    const auto row_tensor = [&](const Memory& memory) {
      return matrix(side, memory, kBf16, rows, columns, columns);
    };
    const auto post_tensor = [&](const Memory& memory) {
      return matrix(side, memory, kF32, rows, kN, kN);
    };
    const auto comb_tensor = [&](const Memory& memory) {
      return streams(side, memory, kF32, rows, kN, kN);
    };
    const nvfp4j_tensor gate_up_at[] = {
        matrix(side, gate_up[0], kBf16, rows, 2 * columns, 2 * columns),
        matrix(side, gate_up[1], kBf16, rows, 2 * columns, 2 * columns)};
    const nvfp4j_tensor residual_at = streams(side, residual, kBf16, rows, kN, columns);
    const nvfp4j_tensor x_at = streams(side, x, kBf16, rows, kN, columns);
    const nvfp4j_tensor logits_at = comb_tensor(logits);
    const nvfp4j_tensor first_post_at = post_tensor(first_post);
    const nvfp4j_tensor fn_at = matrix(side, fn, kF32, kMixes, kN * columns, kN * columns);
    const nvfp4j_tensor head_fn_at = matrix(side, fn, kF32, kN, kN * columns, kN * columns);
    const nvfp4j_tensor bases_at[] = {vector(side, bases[0], kF32, kMixes),
                                      vector(side, bases[1], kF32, kMixes)};
    const nvfp4j_tensor base_at = vector(side, base, kF32, kMixes);
    const nvfp4j_tensor head_base_at = vector(side, base, kF32, kN);
    const nvfp4j_tensor scale_at = vector(side, scale, kF32, 3);
    const nvfp4j_tensor head_scale_at = vector(side, scale, kF32, 1);
    const nvfp4j_tensor weight_at = vector(side, weight, kF32, columns);
    const nvfp4j_tensor sub_at = row_tensor(sub);
    const nvfp4j_tensor collapsed_at = row_tensor(collapsed);
    const nvfp4j_tensor head_at = row_tensor(head);
    const nvfp4j_tensor post_at = post_tensor(post);
    const nvfp4j_tensor next_post_at = post_tensor(next_post);
    const nvfp4j_tensor comb_at = comb_tensor(comb);
    const nvfp4j_tensor next_comb_at = comb_tensor(next_comb);
    const nvfp4j_tensor doubly_at = comb_tensor(doubly);
    const nvfp4j_nvfp4_tensor q_at = q.at(side);
    const nvfp4j_nvfp4_tensor row_q_at = row_q.at(side);
    const nvfp4j_swiglu_options swiglu = swiglu_options();
    const nvfp4j_quantize_options dynamic = quantize_options();
    const nvfp4j_sinkhorn_options sinkhorn = {sizeof sinkhorn, 20, 1e-6f, 0};
    const nvfp4j_hc_options options = {sizeof options, 20, 1e-6f, 1e-6f};
    const nvfp4j_hc_options head_options = {sizeof head_options, 0, 1e-6f, 1e-6f};
    const auto then = [&] {
      if (wait) CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
    };

    CHECK_OK(nvfp4j_swiglu(context, &gate_up_at[0], nullptr, &swiglu, &sub_at, error));
    then();
    CHECK_OK(nvfp4j_sinkhorn(context, &logits_at, &sinkhorn, &comb_at, error));
    then();
    CHECK_OK(
        nvfp4j_hc_post(context, &residual_at, &sub_at, &first_post_at, &comb_at, &x_at, error));
    then();
    CHECK_OK(nvfp4j_copy(context, &bases_at[0], &base_at, error));
    then();
    // Reads x and base, and writes comb, which hc_post reads.
    CHECK_OK(nvfp4j_hc_pre(context, &x_at, &fn_at, &base_at, &scale_at, &options, &collapsed_at,
                           &post_at, &comb_at, error));
    then();
    CHECK_OK(nvfp4j_quantize(context, &collapsed_at, nullptr, &dynamic, &q_at, error));
    then();
    CHECK_OK(nvfp4j_copy(context, &bases_at[1], &base_at, error));
    then();
    CHECK_OK(nvfp4j_swiglu(context, &gate_up_at[1], nullptr, &swiglu, &sub_at, error));
    then();
    // In place, and what quantize reads.
    CHECK_OK(nvfp4j_hc_post_pre(context, &x_at, &sub_at, &post_at, &comb_at, &fn_at, &base_at,
                                &scale_at, &weight_at, &options, &dynamic, &x_at, &collapsed_at,
                                &next_post_at, &next_comb_at, &row_q_at, error));
    then();
    CHECK_OK(nvfp4j_dequantize(context, &row_q_at, &sub_at, error));
    then();
    CHECK_OK(nvfp4j_sinkhorn(context, &next_comb_at, &sinkhorn, &doubly_at, error));
    then();
    CHECK_OK(nvfp4j_hc_post_pre(context, &x_at, &sub_at, &next_post_at, &doubly_at, &fn_at,
                                &base_at, &scale_at, nullptr, &options, nullptr, &x_at,
                                &collapsed_at, &post_at, &comb_at, nullptr, error));
    then();
    CHECK_OK(nvfp4j_hc_head(context, &x_at, &head_fn_at, &head_base_at, &head_scale_at,
                            &head_options, &head_at, error));
    then();
    // Writes what the head reads, from what hc_post_pre and quantize wrote.
    CHECK_OK(nvfp4j_dequantize(context, &q_at, &sub_at, error));
    then();
    CHECK_OK(nvfp4j_hc_post(context, &x_at, &sub_at, &post_at, &comb_at, &x_at, error));
    then();
    CHECK_OK(nvfp4j_quantize(context, &head_at, nullptr, &dynamic, &q_at, error));
    then();
    CHECK_OK(nvfp4j_hc_pre(context, &x_at, &fn_at, &base_at, &scale_at, &options, &head_at,
                           &next_post_at, &next_comb_at, error));
    then();
  }

  std::vector<Memory> written() const {
    return {sub,
            x,
            base,
            collapsed,
            post,
            comb,
            next_post,
            next_comb,
            doubly,
            head,
            q.codes,
            q.scales,
            q.global_scales,
            row_q.codes,
            row_q.scales,
            row_q.global_scales};
  }
  void poison() const {
    for (const Memory& memory : written()) memory->poison_device();
  }
  void check(const char* how) const {
    int number = 0;
    for (const Memory& memory : written()) {
      const std::string what = std::string(how) + " of hyper-connections" +
                               shape_name(rows, columns) + ", memory " + std::to_string(number++);
      if (!memory->equal(what)) check::failed(__FILE__, __LINE__, what + " differs");
    }
  }

  std::int64_t rows;
  std::int64_t columns;
  Memory gate_up[2];
  Memory residual;
  Memory logits;
  Memory first_post;
  Memory fn;
  Memory bases[2];
  Memory scale;
  Memory weight;
  Memory sub;
  Memory x;
  Memory base;
  Memory collapsed;
  Memory post;
  Memory comb;
  Memory next_post;
  Memory next_comb;
  Memory doubly;
  Memory head;
  Nvfp4Twin q;
  Nvfp4Twin row_q;
};

}  // namespace nvfp4j::test
