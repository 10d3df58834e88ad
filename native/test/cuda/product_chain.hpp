// SPDX-License-Identifier: Apache-2.0
// Matrix products between the ops that write what they read and read what they write, for chain_test.cpp. Every sum is exact in every order: A's values are codes, W's are small, its block scales lie in one binade, and K is at most 4096.
#pragma once
#include "context_fixture.hpp"

namespace nvfp4j::test {

struct ProductChain {
  static constexpr std::int64_t kN = 64;
  static constexpr std::int64_t kExperts = 3;

  ProductChain(std::mt19937& g, std::int64_t m, std::int64_t k)
      : rows(m),
        columns(k),
        first(codes_as_bf16(g, m * k)),
        second(codes_as_bf16(g, m * k)),
        a(m, k, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_TENSOR),
        packed(m, k, NVFP4J_SCALE_LAYOUT_PACKED, NVFP4J_GLOBAL_SCALE_TENSOR),
        x(std::make_shared<Twin>(m * k * 2)),
        first_w(exact_nvfp4(g, kN, k, NVFP4J_GLOBAL_SCALE_HALVES)),
        second_w(exact_nvfp4(g, kN, k, NVFP4J_GLOBAL_SCALE_HALVES)),
        w(kN, k, NVFP4J_SCALE_LAYOUT_PREPARED, NVFP4J_GLOBAL_SCALE_HALVES),
        first_experts(exact_nvfp4(g, kN, k, NVFP4J_GLOBAL_SCALE_GROUP, kExperts)),
        second_experts(exact_nvfp4(g, kN, k, NVFP4J_GLOBAL_SCALE_GROUP, kExperts)),
        experts(kN, k, NVFP4J_SCALE_LAYOUT_PREPARED, NVFP4J_GLOBAL_SCALE_GROUP, kExperts),
        first_offsets(some_offsets(g)),
        second_offsets(some_offsets(g)),
        offsets(std::make_shared<Twin>(std::int64_t{4 * (kExperts + 1)})),
        d(std::make_shared<Twin>(m * kN * 4)),
        gate_up(std::make_shared<Twin>(m * kN * 2)),
        h(std::make_shared<Twin>(m * kN)),
        y(std::make_shared<Twin>(m * kN)),
        again(std::make_shared<Twin>(m * kN)),
        of_experts(std::make_shared<Twin>(m * kN * 4)),
        of_others(std::make_shared<Twin>(m * kN * 2)),
        of_batch(std::make_shared<Twin>(m * kExperts * kN * 4)),
        quantized(m, kN / 2, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_ROW) {
    std::vector<std::uint8_t> half(4);
    store_element(half.data(), NVFP4J_DTYPE_F32, 0, 0.5f);
    a.global_scales = std::make_shared<Twin>(half);
  }

  // Elements that quantize turns into codes and back: multiples of 1/2, and a 6 in every block.
  static Memory codes_as_bf16(std::mt19937& g, std::int64_t elements) {
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(2 * elements));
    for (std::int64_t i = 0; i < elements; ++i) {
      store_element(bytes.data(), NVFP4J_DTYPE_BF16, i,
                    i % 16 == 0 ? 6.0f : e2m1_to_f32(static_cast<std::uint32_t>(g() % 16)));
    }
    return std::make_shared<Twin>(bytes);
  }

  Memory some_offsets(std::mt19937& g) const {
    // The rows are all somebody's, so that each is written.
    const auto cut = static_cast<std::int32_t>(g() % static_cast<std::uint32_t>(rows + 1));
    return i32_memory({0, cut, cut, static_cast<std::int32_t>(rows)});
  }

  void run(Side side, nvfp4j_context* context) const {
    const auto of = [&](const Memory& memory, std::int32_t dtype, std::int64_t width) {
      return matrix(side, memory, dtype, rows, width, width);
    };
    const auto bf16 = [&](const Memory& memory, std::int64_t width) {
      return of(memory, NVFP4J_DTYPE_BF16, width);
    };
    const nvfp4j_tensor first_in = bf16(first, columns);
    const nvfp4j_tensor second_in = bf16(second, columns);
    const nvfp4j_tensor x_at = bf16(x, columns);
    const nvfp4j_nvfp4_tensor a_at = a.at(side);
    const nvfp4j_nvfp4_tensor packed_at = packed.at(side);
    const nvfp4j_nvfp4_tensor first_w_at = first_w.at(side);
    const nvfp4j_nvfp4_tensor second_w_at = second_w.at(side);
    const nvfp4j_nvfp4_tensor w_at = w.at(side);
    const nvfp4j_nvfp4_tensor first_experts_at = first_experts.at(side);
    const nvfp4j_nvfp4_tensor second_experts_at = second_experts.at(side);
    const nvfp4j_nvfp4_tensor experts_at = experts.at(side);
    const auto i32 = [&](const Memory& memory) {
      return vector(side, memory, NVFP4J_DTYPE_I32, kExperts + 1);
    };
    const nvfp4j_tensor first_offsets_at = i32(first_offsets);
    const nvfp4j_tensor second_offsets_at = i32(second_offsets);
    const nvfp4j_tensor offsets_at = i32(offsets);
    const nvfp4j_tensor d_at = of(d, NVFP4J_DTYPE_F32, kN);
    const nvfp4j_tensor gate_up_at = bf16(gate_up, kN);
    const nvfp4j_tensor h_at = bf16(h, kN / 2);
    const nvfp4j_tensor y_at = bf16(y, kN / 2);
    const nvfp4j_tensor again_at = bf16(again, kN / 2);
    const nvfp4j_tensor of_experts_at = of(of_experts, NVFP4J_DTYPE_F32, kN);
    const nvfp4j_tensor of_others_at = bf16(of_others, kN);
    const nvfp4j_nvfp4_tensor quantized_at = quantized.at(side);
    const nvfp4j_gemm_options plain = gemm_options();
    const nvfp4j_gemm_options with_swiglu = gemm_options(true);
    nvfp4j_gemm_options settled = gemm_options();  // for weights that nothing here writes
    settled.weights_settled = 1;
    const nvfp4j_swiglu_options swiglu = swiglu_options();
    const nvfp4j_quantize_options dynamic = quantize_options();
    const nvfp4j_quantize_options given = quantize_options(NVFP4J_GLOBAL_SCALE_GIVEN);

    CHECK_OK(nvfp4j_prepare_weights(context, &first_w_at, &w_at, error));
    CHECK_OK(nvfp4j_quantize(context, &first_in, nullptr, &given, &a_at, error));
    CHECK_OK(nvfp4j_gemm(context, nullptr, &a_at, &w_at, nullptr, &plain, &d_at, error));
    // Written where the call before reads: A, then W.
    CHECK_OK(nvfp4j_quantize(context, &second_in, nullptr, &given, &a_at, error));
    CHECK_OK(nvfp4j_pack_activations(context, &a_at, &packed_at, error));
    CHECK_OK(nvfp4j_gemm(context, nullptr, &packed_at, &w_at, nullptr, &with_swiglu, &h_at, error));
    CHECK_OK(nvfp4j_prepare_weights(context, &second_w_at, &w_at, error));
    CHECK_OK(nvfp4j_gemm(context, nullptr, &packed_at, &w_at, nullptr, &plain, &gate_up_at, error));
    CHECK_OK(nvfp4j_swiglu(context, &gate_up_at, nullptr, &swiglu, &y_at, error));
    // The product writes what the call before reads.
    CHECK_OK(
        nvfp4j_gemm(context, nullptr, &a_at, &first_w_at, nullptr, &settled, &gate_up_at, error));
    CHECK_OK(nvfp4j_swiglu(context, &gate_up_at, nullptr, &swiglu, &again_at, error));
    CHECK_OK(nvfp4j_dequantize(context, &a_at, &x_at, error));
    // It reads its weights early, but not what the call before writes.
    CHECK_OK(
        nvfp4j_gemm(context, &x_at, nullptr, &first_w_at, nullptr, &settled, &gate_up_at, error));
    CHECK_OK(nvfp4j_gemm(context, &x_at, nullptr, &w_at, nullptr, &with_swiglu, &y_at, error));
    CHECK_OK(nvfp4j_quantize(context, &y_at, nullptr, &dynamic, &quantized_at, error));
    // Experts: offsets, weights and A are new, and then overwritten.
    CHECK_OK(nvfp4j_copy(context, &first_offsets_at, &offsets_at, error));
    CHECK_OK(nvfp4j_prepare_weights(context, &first_experts_at, &experts_at, error));
    CHECK_OK(nvfp4j_grouped_gemm(context, &x_at, nullptr, &experts_at, &offsets_at, nullptr, &plain,
                                 &of_experts_at, error));
    CHECK_OK(nvfp4j_copy(context, &second_offsets_at, &offsets_at, error));
    CHECK_OK(nvfp4j_grouped_gemm(context, nullptr, &packed_at, &experts_at, &offsets_at, nullptr,
                                 &plain, &of_others_at, error));
    CHECK_OK(nvfp4j_prepare_weights(context, &second_experts_at, &experts_at, error));
    run_batched(side, context, x_at, experts_at);
    CHECK_OK(nvfp4j_copy(context, &first_in, &x_at, error));
  }

  // A of the batch is x again, three rows taken for one.
  void run_batched(Side side, nvfp4j_context* context, const nvfp4j_tensor& x_at,
                   const nvfp4j_nvfp4_tensor& experts_at) const {
    const std::int64_t batch_rows = rows / kExperts;
    if (batch_rows == 0) return;
    nvfp4j_tensor wide = x_at;
    wide.shape[0] = batch_rows;
    wide.shape[1] = kExperts * columns;
    wide.stride[0] = kExperts * columns;
    const nvfp4j_tensor out =
        matrix(side, of_batch, NVFP4J_DTYPE_F32, batch_rows, kExperts * kN, kExperts * kN);
    const nvfp4j_gemm_options plain = gemm_options();
    CHECK_OK(nvfp4j_batched_gemm(context, &wide, nullptr, &experts_at, &plain, &out, error));
  }

  std::vector<Memory> written() const {
    return {a.codes,
            a.scales,
            packed.codes,
            packed.global_scales,
            x,
            w.codes,
            w.global_scales,
            experts.codes,
            offsets,
            experts.global_scales,
            d,
            gate_up,
            h,
            y,
            again,
            of_experts,
            of_others,
            of_batch,
            quantized.codes,
            quantized.scales,
            quantized.global_scales};
  }
  void poison() const {
    for (const Memory& memory : written()) memory->poison_device();
  }
  void check(const char* how) const {
    int number = 0;
    for (const Memory& memory : written()) {
      const std::string what = std::string(how) + " of products" + shape_name(rows, columns) +
                               ", memory " + std::to_string(number++);
      if (!memory->equal(what)) check::failed(__FILE__, __LINE__, what + " differs");
    }
  }

  std::int64_t rows;
  std::int64_t columns;
  Memory first;
  Memory second;
  Nvfp4Twin a;
  Nvfp4Twin packed;
  Memory x;
  Nvfp4Twin first_w;
  Nvfp4Twin second_w;
  Nvfp4Twin w;
  Nvfp4Twin first_experts;
  Nvfp4Twin second_experts;
  Nvfp4Twin experts;
  Memory first_offsets;
  Memory second_offsets;
  Memory offsets;
  Memory d;
  Memory gate_up;
  Memory h;
  Memory y;
  Memory again;
  Memory of_experts;
  Memory of_others;
  Memory of_batch;
  Nvfp4Twin quantized;
};

}  // namespace nvfp4j::test
