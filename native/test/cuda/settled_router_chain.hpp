// SPDX-License-Identifier: Apache-2.0
// The routers with settled weights, for chain_test.cpp: no call here writes W or the table, so that both may be read early. x, bias, ids and W's global scale, which are always waited for, are each written by a kernel just before a call that reads them. (A copy is no
// kernel: what follows it starts when it has ended.) Every sum is exact in every order, as in router_chain.hpp.
#pragma once
#include "context_fixture.hpp"

namespace nvfp4j::test {

template <int TOPK>
struct SettledRouterChain {
  static constexpr std::int64_t kE = 256;  // also the ids that the table knows: an expert is one
  static constexpr std::int64_t kK = TOPK;
  static constexpr std::int64_t kI = 16;
  // Rows that the kernel which writes x writes before it: so that it mostly still does when the router's thread blocks have started. (What reads x as the first thing is found in every run, what reads it behind another load in some.)
  static constexpr std::int64_t kBefore = 2048;
  static constexpr int kCalls = 14;
  static constexpr int kReads = 9;

  SettledRouterChain(std::mt19937& g, std::int64_t m, std::int64_t d)
      : rows(m),
        columns(d),
        activations{exact_nvfp4(g, kBefore + m, d, NVFP4J_GLOBAL_SCALE_TENSOR),
                    exact_nvfp4(g, kBefore + m, d, NVFP4J_GLOBAL_SCALE_TENSOR)},
        gate(exact_bf16(g, kE * d)),
        coded(exact_nvfp4(g, kE, d, NVFP4J_GLOBAL_SCALE_TENSOR)),
        biases(random_memory(g, NVFP4J_DTYPE_F32, 2 * kE)),
        // 1/8 and 3/4
        scales(std::make_shared<Twin>(
            std::vector<std::uint8_t>{0x00, 0x00, 0x00, 0x3E, 0x00, 0x00, 0x40, 0x3F})),
        picks{i32_memory({0}), i32_memory({1})},
        gate_up(random_memory(g, NVFP4J_DTYPE_BF16, m * kK * 2 * kI)),
        x(std::make_shared<Twin>((kBefore + m) * d * 2)),
        bias(std::make_shared<Twin>(kE * 4)),
        ids(std::make_shared<Twin>(m * 4)),
        weights(std::make_shared<Twin>(m * kK * 4)),
        logits(std::make_shared<Twin>(m * kE * 4)) {
    coded.global_scales = std::make_shared<Twin>(std::int64_t{4});
    std::vector<std::int32_t> choices(static_cast<std::size_t>(kE * kK));
    for (std::int32_t& choice : choices) choice = static_cast<std::int32_t>(g() % kE);
    table = i32_memory(choices);
    for (Memory& i : indices) i = std::make_shared<Twin>(m * kK * 4);
    for (Memory& i : h) i = std::make_shared<Twin>(m * kK * kI * 2);
  }

  void run(Side side, nvfp4j_context* context) const {
    constexpr std::int32_t kBf16 = NVFP4J_DTYPE_BF16;
    constexpr std::int32_t kF32 = NVFP4J_DTYPE_F32;
    constexpr std::int32_t kI32 = NVFP4J_DTYPE_I32;
    const nvfp4j_tensor gate_at = matrix(side, gate, kBf16, kE, columns, columns);
    const nvfp4j_nvfp4_tensor coded_at = coded.at(side);
    const nvfp4j_tensor table_at = matrix(side, table, kI32, kE, kK, kK);
    const nvfp4j_tensor gate_up_at = matrix(side, gate_up, kBf16, rows * kK, 2 * kI, 2 * kI);
    const nvfp4j_tensor all_at = matrix(side, x, kBf16, kBefore + rows, columns, columns);
    nvfp4j_tensor x_at = matrix(side, x, kBf16, rows, columns, columns);
    x_at.data = static_cast<char*>(x_at.data) + kBefore * columns * 2;
    const nvfp4j_tensor bias_at = vector(side, bias, kF32, kE);
    const nvfp4j_tensor ids_at = vector(side, ids, kI32, rows);
    const nvfp4j_tensor weights_at = matrix(side, weights, kF32, rows, kK, kK);
    const nvfp4j_tensor row_weights = vector(side, weights, kF32, rows * kK);
    const nvfp4j_tensor logits_at = matrix(side, logits, kF32, rows, kE, kE);
    const nvfp4j_router_options settled = {sizeof settled, 1.5f, 1};
    const nvfp4j_swiglu_options swiglu = swiglu_options();

    const auto write_x = [&](int which) {
      const nvfp4j_nvfp4_tensor from = activations[which].at(side);
      CHECK_OK(nvfp4j_dequantize(context, &from, &all_at, error));
    };
    // One of two rows, by a kernel.
    const auto pick = [&](const Memory& of, int which, const Memory& to, std::int64_t width) {
      const nvfp4j_tensor both = matrix(side, of, kF32, 2, width, width);
      const nvfp4j_tensor position = matrix(side, picks[which], kI32, 1, 1, 1);
      const nvfp4j_tensor one = matrix(side, to, kF32, 1, width, width);
      CHECK_OK(nvfp4j_expert_combine(context, &both, &position, nullptr, nullptr, &one, error));
    };
    const auto write_bias = [&](int which) { pick(biases, which, bias, kE); };
    const auto write_scale = [&](int which) { pick(scales, which, coded.global_scales, 1); };

    const nvfp4j_tensor* const bf16 = &gate_at;
    const nvfp4j_tensor* const nvfp4 = nullptr;
    const auto coded_unless = [&](const nvfp4j_tensor* w) {
      return w == nullptr ? &coded_at : nullptr;
    };
    int call = 0;
    const auto dense = [&](const nvfp4j_tensor* w, const nvfp4j_tensor* z = nullptr) {
      const nvfp4j_tensor to = matrix(side, indices[call++], kI32, rows, kK, kK);
      CHECK_OK(nvfp4j_router_dense(context, &x_at, w, coded_unless(w), &bias_at, &settled, &to,
                                   &weights_at, z, error));
    };
    // The expert that it chooses is the id of a token.
    const auto write_ids = [&](const nvfp4j_tensor* w) {
      const nvfp4j_tensor to = matrix(side, ids, kI32, rows, 1, 1);
      const nvfp4j_tensor weight = matrix(side, weights, kF32, rows, 1, 1);
      CHECK_OK(nvfp4j_router_dense(context, &x_at, w, coded_unless(w), &bias_at, &settled, &to,
                                   &weight, nullptr, error));
    };
    const auto hash = [&](const nvfp4j_tensor* w) {
      const nvfp4j_tensor to = matrix(side, indices[call++], kI32, rows, kK, kK);
      CHECK_OK(nvfp4j_router_hash(context, &x_at, w, coded_unless(w), &table_at, &ids_at, &settled,
                                  &to, &weights_at, error));
    };
    int reads = 0;
    const auto read_weights = [&] {
      const nvfp4j_tensor to = matrix(side, h[reads++], kBf16, rows * kK, kI, kI);
      CHECK_OK(nvfp4j_swiglu(context, &gate_up_at, &row_weights, &swiglu, &to, error));
    };

    write_x(0);
    write_bias(0);
    write_scale(0);
    dense(nvfp4);
    read_weights();
    write_bias(1);
    dense(nvfp4);
    read_weights();
    write_bias(0);
    dense(bf16);
    read_weights();
    write_x(1);
    dense(bf16, &logits_at);
    read_weights();
    write_x(0);
    dense(nvfp4);
    // Right behind each other: they meet at what they write, and at the words of the workspace.
    dense(bf16);
    dense(nvfp4, &logits_at);
    read_weights();
    // What the call before reads is overwritten.
    dense(bf16);
    write_ids(bf16);
    hash(bf16);
    read_weights();
    write_ids(nvfp4);
    hash(nvfp4);
    hash(bf16);
    write_x(1);
    hash(nvfp4);
    read_weights();
    write_scale(1);
    hash(nvfp4);
    read_weights();
    write_x(0);
    hash(bf16);
    read_weights();
    // Of the next replay the first calls write what this one reads.
    CHECK_EQ(call, kCalls);
    CHECK_EQ(reads, kReads);
  }

  std::vector<Memory> written() const {
    std::vector<Memory> all = {x, bias, coded.global_scales, ids, weights, logits};
    all.insert(all.end(), std::begin(indices), std::end(indices));
    all.insert(all.end(), std::begin(h), std::end(h));
    return all;
  }
  void poison() const {
    for (const Memory& memory : written()) memory->poison_device();
  }
  void check(const char* how) const {
    int number = 0;
    for (const Memory& memory : written()) {
      const std::string what = std::string(how) + " of routers with settled weights" +
                               shape_name(rows, columns) + ", memory " + std::to_string(number++);
      if (!memory->equal(what)) check::failed(__FILE__, __LINE__, what + " differs");
    }
  }

  std::int64_t rows;
  std::int64_t columns;
  Nvfp4Twin activations[2];
  Memory gate;
  Nvfp4Twin coded;
  Memory table;
  Memory biases;
  Memory scales;
  Memory picks[2];
  Memory gate_up;
  Memory x;
  Memory bias;
  Memory ids;
  Memory weights;
  Memory logits;
  Memory indices[kCalls];
  Memory h[kReads];
};

}  // namespace nvfp4j::test
