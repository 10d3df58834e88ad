// SPDX-License-Identifier: Apache-2.0
// The routers between ops that write what they read and read what they write, for chain_test.cpp. Every sum is exact in every
// order, up to D = 7168: x are codes times block scales of one binade and one global scale, W are multiples of 1/4 up to 2.
#pragma once
#include "context_fixture.hpp"

namespace nvfp4j::test {

struct RouterChain {
  static constexpr std::int64_t kE = 16;  // the logits of a token are the 4 x 4 that sinkhorn takes
  static constexpr std::int64_t kK = 4;
  static constexpr std::int64_t kV = 50;
  static constexpr std::int64_t kI = 16;

  RouterChain(std::mt19937& g, std::int64_t m, std::int64_t d)
      : rows(m),
        columns(d),
        first(exact_nvfp4(g, m, d, NVFP4J_GLOBAL_SCALE_TENSOR)),
        second(exact_nvfp4(g, m, d, NVFP4J_GLOBAL_SCALE_TENSOR)),
        gates{exact_bf16(g, kE * d), exact_bf16(g, kE * d)},
        coded(exact_nvfp4(g, kE, d, NVFP4J_GLOBAL_SCALE_TENSOR)),
        biases{random_memory(g, NVFP4J_DTYPE_F32, kE), random_memory(g, NVFP4J_DTYPE_F32, kE)},
        id_lists{integers(g, m, kV), integers(g, m, kV)},
        table(integers(g, kV * kK, kE)),
        gate_up(random_memory(g, NVFP4J_DTYPE_BF16, m * kK * 2 * kI)),
        x(std::make_shared<Twin>(m * d * 2)),
        gate(std::make_shared<Twin>(kE * d * 2)),
        bias(std::make_shared<Twin>(kE * 4)),
        ids(std::make_shared<Twin>(m * 4)),
        weights(std::make_shared<Twin>(m * kK * 4)),
        logits(std::make_shared<Twin>(m * kE * 4)),
        comb(std::make_shared<Twin>(m * kE * 4)) {
    for (Memory& i : indices) i = std::make_shared<Twin>(m * kK * 4);
    for (Memory& i : h) i = std::make_shared<Twin>(m * kK * kI * 2);
  }

  static Memory integers(std::mt19937& g, std::int64_t count, std::int64_t end) {
    std::vector<std::int32_t> values(static_cast<std::size_t>(count));
    for (std::int32_t& v : values)
      v = static_cast<std::int32_t>(g() % static_cast<std::uint32_t>(end));
    return i32_memory(values);
  }

  void run(Side side, nvfp4j_context* context) const {
    constexpr std::int32_t kBf16 = NVFP4J_DTYPE_BF16;
    constexpr std::int32_t kF32 = NVFP4J_DTYPE_F32;
    constexpr std::int32_t kI32 = NVFP4J_DTYPE_I32;
    const auto gate_tensor = [&](const Memory& memory) {
      return matrix(side, memory, kBf16, kE, columns, columns);
    };
    const auto bias_tensor = [&](const Memory& memory) { return vector(side, memory, kF32, kE); };
    const auto id_tensor = [&](const Memory& memory) { return vector(side, memory, kI32, rows); };
    const auto indices_tensor = [&](int i) { return matrix(side, indices[i], kI32, rows, kK, kK); };
    const auto h_tensor = [&](int i) { return matrix(side, h[i], kBf16, rows * kK, kI, kI); };
    const nvfp4j_nvfp4_tensor first_at = first.at(side);
    const nvfp4j_nvfp4_tensor second_at = second.at(side);
    const nvfp4j_nvfp4_tensor coded_at = coded.at(side);
    const nvfp4j_tensor gates_at[] = {gate_tensor(gates[0]), gate_tensor(gates[1])};
    const nvfp4j_tensor biases_at[] = {bias_tensor(biases[0]), bias_tensor(biases[1])};
    const nvfp4j_tensor id_lists_at[] = {id_tensor(id_lists[0]), id_tensor(id_lists[1])};
    const nvfp4j_tensor table_at = matrix(side, table, kI32, kV, kK, kK);
    const nvfp4j_tensor gate_up_at = matrix(side, gate_up, kBf16, rows * kK, 2 * kI, 2 * kI);
    const nvfp4j_tensor x_at = matrix(side, x, kBf16, rows, columns, columns);
    const nvfp4j_tensor gate_at = gate_tensor(gate);
    const nvfp4j_tensor bias_at = bias_tensor(bias);
    const nvfp4j_tensor ids_at = id_tensor(ids);
    const nvfp4j_tensor indices_at[] = {indices_tensor(0), indices_tensor(1), indices_tensor(2)};
    const nvfp4j_tensor h_at[] = {h_tensor(0), h_tensor(1), h_tensor(2)};
    const nvfp4j_tensor weights_at = matrix(side, weights, kF32, rows, kK, kK);
    const nvfp4j_tensor row_weights = vector(side, weights, kF32, rows * kK);
    const nvfp4j_tensor logits_at = matrix(side, logits, kF32, rows, kE, kE);
    const nvfp4j_tensor squares_at = streams(side, logits, kF32, rows, 4, 4);
    const nvfp4j_tensor comb_at = streams(side, comb, kF32, rows, 4, 4);
    const nvfp4j_router_options options = {sizeof options, 1.5f, 0};
    const nvfp4j_sinkhorn_options sinkhorn = {sizeof sinkhorn, 20, 1e-6f, 0};
    const nvfp4j_swiglu_options swiglu = swiglu_options();

    CHECK_OK(nvfp4j_copy(context, &gates_at[0], &gate_at, error));
    CHECK_OK(nvfp4j_copy(context, &biases_at[0], &bias_at, error));
    CHECK_OK(nvfp4j_dequantize(context, &first_at, &x_at, error));
    CHECK_OK(nvfp4j_router_dense(context, &x_at, &gate_at, nullptr, &bias_at, &options,
                                 &indices_at[0], &weights_at, &logits_at, error));
    CHECK_OK(nvfp4j_sinkhorn(context, &squares_at, &sinkhorn, &comb_at, error));
    CHECK_OK(nvfp4j_swiglu(context, &gate_up_at, &row_weights, &swiglu, &h_at[0], error));
    // Right behind the router, written where it reads.
    CHECK_OK(nvfp4j_router_dense(context, &x_at, &gate_at, nullptr, &bias_at, &options,
                                 &indices_at[1], &weights_at, nullptr, error));
    CHECK_OK(nvfp4j_dequantize(context, &second_at, &x_at, error));
    CHECK_OK(nvfp4j_copy(context, &gates_at[1], &gate_at, error));
    CHECK_OK(nvfp4j_copy(context, &biases_at[1], &bias_at, error));
    CHECK_OK(nvfp4j_copy(context, &id_lists_at[0], &ids_at, error));
    // What the call before and swiglu read is overwritten.
    CHECK_OK(nvfp4j_router_hash(context, &x_at, &gate_at, nullptr, &table_at, &ids_at, &options,
                                &indices_at[0], &weights_at, error));
    CHECK_OK(nvfp4j_swiglu(context, &gate_up_at, &row_weights, &swiglu, &h_at[1], error));
    CHECK_OK(nvfp4j_copy(context, &id_lists_at[1], &ids_at, error));
    CHECK_OK(nvfp4j_router_hash(context, &x_at, nullptr, &coded_at, &table_at, &ids_at, &options,
                                &indices_at[2], &weights_at, error));
    CHECK_OK(nvfp4j_dequantize(context, &first_at, &x_at, error));
    CHECK_OK(nvfp4j_swiglu(context, &gate_up_at, &row_weights, &swiglu, &h_at[2], error));
    CHECK_OK(nvfp4j_router_dense(context, &x_at, nullptr, &coded_at, &bias_at, &options,
                                 &indices_at[2], &weights_at, &logits_at, error));
    // Of the next replay the first calls write what this one reads.
  }

  std::vector<Memory> written() const {
    return {x,          gate,       bias,       ids,  weights, logits, comb,
            indices[0], indices[1], indices[2], h[0], h[1],    h[2]};
  }
  void poison() const {
    for (const Memory& memory : written()) memory->poison_device();
  }
  void check(const char* how) const {
    int number = 0;
    for (const Memory& memory : written()) {
      const std::string what = std::string(how) + " of routers" + shape_name(rows, columns) +
                               ", memory " + std::to_string(number++);
      if (!memory->equal(what)) check::failed(__FILE__, __LINE__, what + " differs");
    }
  }

  std::int64_t rows;
  std::int64_t columns;
  Nvfp4Twin first;
  Nvfp4Twin second;
  Memory gates[2];
  Nvfp4Twin coded;
  Memory biases[2];
  Memory id_lists[2];
  Memory table;
  Memory gate_up;
  Memory x;
  Memory gate;
  Memory bias;
  Memory ids;
  Memory indices[3];
  Memory weights;
  Memory logits;
  Memory comb;
  Memory h[3];
};

}  // namespace nvfp4j::test
