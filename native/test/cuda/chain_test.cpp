// SPDX-License-Identifier: Apache-2.0
// Ops that follow each other without a wait, each reading what the one before writes or writing what it reads. Kernels are
// launched before their predecessors have ended: one that did not wait would meet poison, or half of the new values.
#include "context_fixture.hpp"
#include "expert_chain.hpp"
#include "router_chain.hpp"

using namespace nvfp4j::test;

namespace {

// All on BF16 [rows, columns]; the same calls on either side.
struct Chain {
  Chain(std::mt19937& g, std::int64_t m, std::int64_t k)
      : rows(m),
        columns(k),
        first(random_memory(g, NVFP4J_DTYPE_BF16, m * 2 * k)),
        second(random_memory(g, NVFP4J_DTYPE_BF16, m * 2 * k)),
        x(std::make_shared<Twin>(m * k * 2)),
        y(std::make_shared<Twin>(m * k * 2)),
        tensor(m, k, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_TENSOR),
        given(m, k, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_TENSOR),
        row(m, k, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4, NVFP4J_GLOBAL_SCALE_ROW),
        fused(m, k, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_ROW),
        swizzled(
            std::make_shared<Twin>(fixture::scale_bytes(m, k, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4))),
        linear(std::make_shared<Twin>(m * k / 16)) {
    given.global_scales = tensor.global_scales;  // what the first quantize finds
  }

  void run(Side side, nvfp4j_context* context) const {
    const auto of = [&](const Memory& memory, std::int64_t width) {
      return matrix(side, memory, NVFP4J_DTYPE_BF16, rows, width, width);
    };
    const auto bytes = [&](const Memory& memory) {
      return memory == linear
                 ? matrix(side, memory, NVFP4J_DTYPE_U8, rows, columns / 16, columns / 16)
                 : vector(side, memory, NVFP4J_DTYPE_U8, memory->bytes());
    };
    const nvfp4j_tensor first_input = of(first, 2 * columns);
    const nvfp4j_tensor second_input = of(second, 2 * columns);
    const nvfp4j_tensor x_tensor = of(x, columns);
    const nvfp4j_tensor y_tensor = of(y, columns);
    const nvfp4j_nvfp4_tensor tensor_at = tensor.at(side);
    const nvfp4j_nvfp4_tensor given_at = given.at(side);
    const nvfp4j_nvfp4_tensor row_at = row.at(side);
    const nvfp4j_nvfp4_tensor fused_at = fused.at(side);
    const nvfp4j_tensor given_scales =
        matrix(side, given.scales, NVFP4J_DTYPE_U8, rows, columns / 16, columns / 16);
    const nvfp4j_tensor swizzled_tensor = bytes(swizzled);
    const nvfp4j_tensor linear_tensor = bytes(linear);
    const nvfp4j_swiglu_options swiglu = swiglu_options();
    const nvfp4j_quantize_options dynamic = quantize_options();
    nvfp4j_quantize_options supplied = dynamic;
    supplied.global_scale = NVFP4J_GLOBAL_SCALE_GIVEN;

    CHECK_OK(nvfp4j_swiglu(context, &first_input, nullptr, &swiglu, &x_tensor, error));
    CHECK_OK(nvfp4j_quantize(context, &x_tensor, nullptr, &dynamic, &tensor_at, error));
    CHECK_OK(nvfp4j_dequantize(context, &tensor_at, &y_tensor, error));
    CHECK_OK(nvfp4j_quantize(context, &y_tensor, nullptr, &supplied, &given_at, error));
    CHECK_OK(nvfp4j_swizzle(context, &given_scales, &swizzled_tensor, error));
    CHECK_OK(nvfp4j_unswizzle(context, &swizzled_tensor, &linear_tensor, error));
    // Written where the call before reads.
    CHECK_OK(nvfp4j_quantize(context, &y_tensor, nullptr, &dynamic, &row_at, error));
    CHECK_OK(nvfp4j_swiglu(context, &second_input, nullptr, &swiglu, &y_tensor, error));
    CHECK_OK(nvfp4j_dequantize(context, &row_at, &x_tensor, error));
    CHECK_OK(nvfp4j_swiglu_quantize(context, &second_input, nullptr, &swiglu, &dynamic, &fused_at,
                                    error));
    CHECK_OK(nvfp4j_dequantize(context, &fused_at, &y_tensor, error));
  }

  std::vector<Memory> written() const {
    return {x,
            y,
            tensor.codes,
            tensor.scales,
            tensor.global_scales,
            given.codes,
            given.scales,
            row.codes,
            row.scales,
            row.global_scales,
            fused.codes,
            fused.scales,
            fused.global_scales,
            swizzled,
            linear};
  }
  void poison() const {
    for (const Memory& memory : written()) memory->poison_device();
  }
  void check(const char* how) const {
    int number = 0;
    for (const Memory& memory : written()) {
      const std::string what =
          std::string(how) + shape_name(rows, columns) + ", memory " + std::to_string(number++);
      if (!memory->equal(what)) check::failed(__FILE__, __LINE__, what + " differs");
    }
  }

  std::int64_t rows;
  std::int64_t columns;
  Memory first;
  Memory second;
  Memory x;
  Memory y;
  Nvfp4Twin tensor;
  Nvfp4Twin given;
  Nvfp4Twin row;
  Nvfp4Twin fused;
  Memory swizzled;
  Memory linear;
};

// Matrix products between the ops that write what they read and read what they write. Every sum is exact in every order: A's values
// are codes, W's are small, its block scales lie in one binade, and K is at most 4096.
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

// Hyper-connections, n = 4, between ops that write what they read and read what they write. Their sums are the device's own: what is
// expected are the bits of the same calls with a wait behind each.
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

// Caches and draws between ops that write what they read, lengths and positions included, and read what they write. Integers and copies: the same bits on either side.
struct CacheChain {
  CacheChain(std::mt19937& g, std::int64_t m, std::int64_t k)
      : rows(m),
        columns(k),
        gate_up{random_memory(g, NVFP4J_DTYPE_BF16, m * 2 * k),
                random_memory(g, NVFP4J_DTYPE_BF16, m * 2 * k)},
        zero(std::make_shared<Twin>(bytes_of_i64(0))),
        x(std::make_shared<Twin>(m * k * 2)),
        cache(std::make_shared<Twin>((2 * m + 5) * k * 2)),
        ring(std::make_shared<Twin>(kSlots * k * 2)),
        length(std::make_shared<Twin>(std::int64_t{8})),
        tokens(std::make_shared<Twin>(2 * m * 4)),
        others(std::make_shared<Twin>(m * 4)),
        q(m, k, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_TENSOR) {}

  void run(Side side, nvfp4j_context* context) const {
    constexpr std::int32_t kBf16 = NVFP4J_DTYPE_BF16;
    const nvfp4j_tensor first_at = matrix(side, gate_up[0], kBf16, rows, 2 * columns, 2 * columns);
    const nvfp4j_tensor second_at = matrix(side, gate_up[1], kBf16, rows, 2 * columns, 2 * columns);
    const nvfp4j_tensor zero_at = vector(side, zero, NVFP4J_DTYPE_I64, 1);
    const nvfp4j_tensor x_at = matrix(side, x, kBf16, rows, columns, columns);
    const nvfp4j_tensor cache_at = matrix(side, cache, kBf16, 2 * rows + 5, columns, columns);
    const nvfp4j_tensor full_at = matrix(side, cache, kBf16, 2 * rows, columns, columns);
    const nvfp4j_tensor ring_at = matrix(side, ring, kBf16, kSlots, columns, columns);
    const nvfp4j_tensor length_at = vector(side, length, NVFP4J_DTYPE_I64, 1);
    const nvfp4j_tensor tokens_at = vector(side, tokens, NVFP4J_DTYPE_I32, 2 * rows);
    const nvfp4j_tensor position_at = vector(side, tokens, NVFP4J_DTYPE_I32, 1);
    const nvfp4j_tensor others_at = vector(side, others, NVFP4J_DTYPE_I32, rows);
    const nvfp4j_nvfp4_tensor q_at = q.at(side);
    const nvfp4j_swiglu_options swiglu = swiglu_options();
    const nvfp4j_quantize_options dynamic = quantize_options();
    const nvfp4j_sample_options draw = {sizeof draw, 0.9f, 3, 4};
    const nvfp4j_sample_options greedy = {sizeof greedy, 0, 0, 0};

    CHECK_OK(nvfp4j_copy(context, &zero_at, &length_at, error));
    CHECK_OK(nvfp4j_swiglu(context, &first_at, nullptr, &swiglu, &x_at, error));
    CHECK_OK(nvfp4j_cache_append(context, &cache_at, &x_at, &length_at, error));
    // Its position is the length that the call before writes.
    CHECK_OK(nvfp4j_cache_append_window(context, &ring_at, &x_at, &length_at, error));
    // Written where the calls before read.
    CHECK_OK(nvfp4j_swiglu(context, &second_at, nullptr, &swiglu, &x_at, error));
    CHECK_OK(nvfp4j_cache_append(context, &cache_at, &x_at, &length_at, error));
    // Logits and offset are what the call before writes.
    CHECK_OK(nvfp4j_sample(context, &full_at, nullptr, &length_at, &draw, &tokens_at, error));
    // So is the position.
    CHECK_OK(nvfp4j_cache_append_window(context, &ring_at, &x_at, &position_at, error));
    CHECK_OK(nvfp4j_swiglu(context, &first_at, nullptr, &swiglu, &x_at, error));
    CHECK_OK(nvfp4j_sample(context, &x_at, nullptr, nullptr, &greedy, &others_at, error));
    CHECK_OK(nvfp4j_quantize(context, &x_at, nullptr, &dynamic, &q_at, error));
    CHECK_OK(nvfp4j_dequantize(context, &q_at, &x_at, error));
    CHECK_OK(nvfp4j_cache_append_window(context, &ring_at, &x_at, &zero_at, error));
  }

  std::vector<Memory> written() const {
    return {x, cache, ring, length, tokens, others, q.codes, q.scales, q.global_scales};
  }
  void poison() const {
    for (const Memory& memory : written()) memory->poison_device();
  }
  void check(const char* how) const {
    int number = 0;
    for (const Memory& memory : written()) {
      const std::string what = std::string(how) + " of caches" + shape_name(rows, columns) +
                               ", memory " + std::to_string(number++);
      if (!memory->equal(what)) check::failed(__FILE__, __LINE__, what + " differs");
    }
  }

  static constexpr std::int64_t kSlots = 128;
  std::int64_t rows;
  std::int64_t columns;
  Memory gate_up[2];
  Memory zero;
  Memory x;
  Memory cache;
  Memory ring;
  Memory length;
  Memory tokens;
  Memory others;
  Nvfp4Twin q;
};

// The indexer between copies and kernels that write what it reads, and a quantisation that reads what it writes and meets at the
// same words of the workspace. Every sum of its data is exact.
struct IndexerChain {
  static constexpr std::int64_t kHeads = 4;
  static constexpr std::int64_t kColumns = 64;
  static constexpr std::int64_t kBest = 512;

  IndexerChain(std::mt19937& g, std::int64_t t, std::int64_t c)
      : rows(t),
        columns(c),
        first_q(exact_values(g, NVFP4J_DTYPE_BF16, t * kHeads * kColumns)),
        second_q(exact_values(g, NVFP4J_DTYPE_BF16, t * kHeads * kColumns)),
        first_keys(halves(g, c)),
        second_keys(halves(g, c)),
        first_weights(exact_values(g, NVFP4J_DTYPE_F32, t * kHeads)),
        second_weights(exact_values(g, NVFP4J_DTYPE_F32, t * kHeads)),
        all_valid(i32_memory(
            std::vector<std::int32_t>(static_cast<std::size_t>(t), static_cast<std::int32_t>(c)))),
        some_valid(visible_rows(g, t, c)),
        q(std::make_shared<Twin>(first_q->bytes())),
        keys(std::make_shared<Twin>(c * kColumns * 2)),
        weights(std::make_shared<Twin>(first_weights->bytes())),
        valid(std::make_shared<Twin>(all_valid->bytes())),
        indices(std::make_shared<Twin>(t * kBest * 4)),
        kept(std::make_shared<Twin>(t * kBest * 4)),
        others(std::make_shared<Twin>(t * kBest * 4)),
        scores(std::make_shared<Twin>(t * c * 4)),
        tensor(t, c, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_TENSOR) {}

  // Codes with scales of 1: multiples of 1/2.
  static Nvfp4Twin halves(std::mt19937& g, std::int64_t n) {
    Nvfp4Twin x(n, kColumns, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_TENSOR);
    x.codes = random_bytes(g, x.codes->bytes());
    x.scales = std::make_shared<Twin>(
        std::vector<std::uint8_t>(static_cast<std::size_t>(x.scales->bytes()), 0x38));
    x.global_scales = std::make_shared<Twin>(std::vector<std::uint8_t>{0x00, 0x00, 0x80, 0x3F});
    return x;
  }

  void run(Side side, nvfp4j_context* context) const {
    constexpr std::int32_t kBf16 = NVFP4J_DTYPE_BF16;
    constexpr std::int32_t kF32 = NVFP4J_DTYPE_F32;
    constexpr std::int32_t kI32 = NVFP4J_DTYPE_I32;
    const auto q_of = [&](const Memory& m) {
      return streams(side, m, kBf16, rows, kHeads, kColumns);
    };
    const auto keys_of = [&](const Memory& m) {
      return matrix(side, m, kBf16, columns, kColumns, kColumns);
    };
    const auto weights_of = [&](const Memory& m) {
      return matrix(side, m, kF32, rows, kHeads, kHeads);
    };
    const auto valid_of = [&](const Memory& m) { return vector(side, m, kI32, rows); };
    const auto indices_of = [&](const Memory& m) {
      return matrix(side, m, kI32, rows, kBest, kBest);
    };
    const nvfp4j_tensor scores_at = matrix(side, scores, kF32, rows, columns, columns);
    const nvfp4j_nvfp4_tensor tensor_at = tensor.at(side);
    const nvfp4j_quantize_options dynamic = quantize_options();
    const auto copy = [&](const nvfp4j_tensor& from, const nvfp4j_tensor& to) {
      CHECK_OK(nvfp4j_copy(context, &from, &to, error));
    };
    const auto write_keys = [&](const Nvfp4Twin& from) {
      const nvfp4j_nvfp4_tensor from_at = from.at(side);
      const nvfp4j_tensor keys_at = keys_of(keys);
      CHECK_OK(nvfp4j_dequantize(context, &from_at, &keys_at, error));
    };
    const auto index = [&](const Memory& to, const nvfp4j_tensor* all) {
      const nvfp4j_tensor q_at = q_of(q), keys_at = keys_of(keys), weights_at = weights_of(weights),
                          valid_at = valid_of(valid), indices_at = indices_of(to);
      CHECK_OK(nvfp4j_indexer_topk(context, &q_at, &keys_at, &weights_at, &valid_at, &indices_at,
                                   all, error));
    };

    copy(q_of(first_q), q_of(q));
    copy(weights_of(first_weights), weights_of(weights));
    copy(valid_of(all_valid), valid_of(valid));
    write_keys(first_keys);
    index(indices, &scores_at);
    CHECK_OK(nvfp4j_quantize(context, &scores_at, nullptr, &dynamic, &tensor_at, error));
    copy(indices_of(indices), indices_of(kept));
    write_keys(second_keys);
    // One behind the other: the lists of the first are those of the second.
    index(indices, &scores_at);
    index(others, nullptr);
    copy(valid_of(some_valid), valid_of(valid));
    copy(q_of(second_q), q_of(q));
    index(indices, &scores_at);
    copy(weights_of(second_weights), weights_of(weights));
    index(others, nullptr);
    write_keys(first_keys);
  }

  std::vector<Memory> written() const {
    return {q,
            keys,
            weights,
            valid,
            indices,
            kept,
            others,
            scores,
            tensor.codes,
            tensor.scales,
            tensor.global_scales};
  }
  void poison() const {
    for (const Memory& memory : written()) memory->poison_device();
  }
  void check(const char* how) const {
    int number = 0;
    for (const Memory& memory : written()) {
      const std::string what = std::string(how) + " of the indexer" + shape_name(rows, columns) +
                               ", memory " + std::to_string(number++);
      if (!memory->equal(what)) check::failed(__FILE__, __LINE__, what + " differs");
    }
  }

  std::int64_t rows;
  std::int64_t columns;
  Memory first_q;
  Memory second_q;
  Nvfp4Twin first_keys;
  Nvfp4Twin second_keys;
  Memory first_weights;
  Memory second_weights;
  Memory all_valid;
  Memory some_valid;
  Memory q;
  Memory keys;
  Memory weights;
  Memory valid;
  Memory indices;
  Memory kept;
  Memory others;
  Memory scores;
  Nvfp4Twin tensor;
};

template <class Sequence>
void expect(const Sequence& chain) {
  const Context cpu(0);
  chain.run(Side::kCpu, cpu);
  CHECK_OK(nvfp4j_context_synchronize(cpu, nullptr, error));
}
void expect(const HcChain& chain) { chain.expect(); }

template <class Sequence>
void test_chain(std::int64_t rows, std::int64_t columns, int rounds) {
  std::mt19937 g(17);
  const Sequence chain(g, rows, columns);
  expect(chain);
  const CudaContext context;
  for (int i = 0; i < rounds; ++i) {
    chain.poison();
    chain.run(Side::kGpu, context);
    CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
    chain.check("calls");
  }
  const Graph graph(context.stream(), [&] { chain.run(Side::kGpu, context); });
  for (int i = 0; i < rounds; ++i) {
    chain.poison();
    // Twice: the first calls of a replay follow the last of the one before.
    graph.launch(context.stream());
    graph.launch(context.stream());
    CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
    chain.check("replays");
  }
}

}  // namespace

TEST(ops_wait_for_the_op_before) {
  test_chain<Chain>(3, 1040, 3);
  if (quick) return;
  test_chain<Chain>(64, 7168, 20);
  test_chain<Chain>(1000, 3072, 20);
  test_chain<Chain>(4097, 3072, 10);
}

TEST(matrix_products_wait_for_the_op_before) {
  test_chain<ProductChain>(5, 512, 3);
  if (quick) return;
  test_chain<ProductChain>(3, 1040, 10);
  test_chain<ProductChain>(8, 7168, 20);
  test_chain<ProductChain>(16, 4096, 20);
  test_chain<ProductChain>(200, 2048, 20);
  test_chain<ProductChain>(2001, 2048, 10);
}

TEST(hyper_connections_wait_for_the_op_before) {
  test_chain<HcChain>(3, 1040, 3);
  if (quick) return;
  test_chain<HcChain>(1, 7168, 20);
  test_chain<HcChain>(64, 7168, 20);
  test_chain<HcChain>(300, 4096, 20);
  test_chain<HcChain>(1025, 2048, 10);
}

TEST(experts_wait_for_the_op_before) {
  test_chain<ExpertChain>(3, 1040, 3);
  if (quick) return;
  test_chain<ExpertChain>(1, 7168, 20);
  test_chain<ExpertChain>(64, 7168, 20);
  test_chain<ExpertChain>(1000, 1040, 20);
  test_chain<ExpertChain>(4097, 512, 10);
}

TEST(caches_and_draws_wait_for_the_op_before) {
  test_chain<CacheChain>(3, 1040, 3);
  if (quick) return;
  test_chain<CacheChain>(1, 512, 20);
  test_chain<CacheChain>(16, 7168, 20);
  test_chain<CacheChain>(300, 2048, 20);
  test_chain<CacheChain>(4097, 512, 10);
}

TEST(routers_wait_for_the_op_before) {
  test_chain<RouterChain>(3, 1040, 3);
  if (quick) return;
  test_chain<RouterChain>(1, 7168, 20);
  test_chain<RouterChain>(64, 7168, 20);
  test_chain<RouterChain>(300, 4096, 20);
  test_chain<RouterChain>(2001, 2048, 10);
}

TEST(the_indexer_waits_for_the_op_before) {
  test_chain<IndexerChain>(3, 1040, 3);
  if (quick) return;
  test_chain<IndexerChain>(1, 32768, 20);
  test_chain<IndexerChain>(1, 400, 20);
  test_chain<IndexerChain>(8, 8192, 20);
  test_chain<IndexerChain>(33, 2048, 20);
}

int main(int count, char** arguments) { return run_tests(count, arguments); }
