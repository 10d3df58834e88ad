// SPDX-License-Identifier: Apache-2.0
// Tokens that sample draws are the ids of router_hash, whose experts are what expert_dispatch sorts, for chain_test.cpp: as a model's step has them. The offset of the draws is on the device, and another one each time; the last draw has none, so that its noise is
// made while the kernel before still writes its logits. Every sum is exact in every order: x are codes times block scales of one binade and one global scale, W are multiples of 1/4 up to 2.
#pragma once
#include "context_fixture.hpp"

namespace nvfp4j::test {

struct TokenChain {
  static constexpr std::int64_t kE = 16;
  static constexpr std::int64_t kK = 4;
  static constexpr std::int64_t kV = 5008;  // of few tokens several thread blocks share a row
  static constexpr int kDraws = 3;

  TokenChain(std::mt19937& g, std::int64_t m, std::int64_t d)
      : rows(m),
        columns(d),
        predictions{some_logits(g), some_logits(g)},
        activations(exact_nvfp4(g, m, d, NVFP4J_GLOBAL_SCALE_TENSOR)),
        gate(exact_bf16(g, kE * d)),
        first_offset(std::make_shared<Twin>(bytes_of_i64(0))),
        logits(std::make_shared<Twin>(m * kV * 2)),
        x(std::make_shared<Twin>(m * d * 2)),
        cache(std::make_shared<Twin>((m + 3) * d * 2)),
        offset(std::make_shared<Twin>(std::int64_t{8})),
        tokens(std::make_shared<Twin>(m * 4)),
        weights(std::make_shared<Twin>(m * kK * 4)),
        experts(std::make_shared<Twin>(m * kK * 4)),
        offsets(std::make_shared<Twin>((kE + 1) * 4)),
        positions(std::make_shared<Twin>(m * kK * 4)) {
    std::vector<std::int32_t> choices(static_cast<std::size_t>(kV * kK));
    for (std::int32_t& choice : choices) choice = static_cast<std::int32_t>(g() % kE);
    table = i32_memory(choices);
    for (Memory& i : drawn) i = std::make_shared<Twin>(m * 4);
    for (Memory& i : sources) i = std::make_shared<Twin>(m * kK * 4);
    for (Memory& i : row_weights) i = std::make_shared<Twin>(m * kK * 4);
  }

  // Up to 2 and down to -2: neither they nor noise alone decide.
  Nvfp4Twin some_logits(std::mt19937& g) const {
    Nvfp4Twin some = exact_nvfp4(g, rows, kV, NVFP4J_GLOBAL_SCALE_TENSOR);
    some.global_scales = std::make_shared<Twin>(std::vector<std::uint8_t>{0x00, 0x00, 0x80, 0x3F});
    return some;
  }

  void run(Side side, nvfp4j_context* context) const {
    constexpr std::int32_t kBf16 = NVFP4J_DTYPE_BF16;
    constexpr std::int32_t kI32 = NVFP4J_DTYPE_I32;
    constexpr std::int32_t kF32 = NVFP4J_DTYPE_F32;
    const nvfp4j_nvfp4_tensor predictions_at[] = {predictions[0].at(side), predictions[1].at(side)};
    const nvfp4j_nvfp4_tensor activations_at = activations.at(side);
    const nvfp4j_tensor gate_at = matrix(side, gate, kBf16, kE, columns, columns);
    const nvfp4j_tensor table_at = matrix(side, table, kI32, kV, kK, kK);
    const nvfp4j_tensor first_offset_at = vector(side, first_offset, NVFP4J_DTYPE_I64, 1);
    const nvfp4j_tensor logits_at = matrix(side, logits, kBf16, rows, kV, kV);
    const nvfp4j_tensor x_at = matrix(side, x, kBf16, rows, columns, columns);
    const nvfp4j_tensor cache_at = matrix(side, cache, kBf16, rows + 3, columns, columns);
    const nvfp4j_tensor offset_at = vector(side, offset, NVFP4J_DTYPE_I64, 1);
    const nvfp4j_tensor tokens_at = vector(side, tokens, kI32, rows);
    const nvfp4j_tensor weights_at = matrix(side, weights, kF32, rows, kK, kK);
    const nvfp4j_tensor experts_at = matrix(side, experts, kI32, rows, kK, kK);
    const nvfp4j_tensor offsets_at = vector(side, offsets, kI32, kE + 1);
    const nvfp4j_tensor positions_at = matrix(side, positions, kI32, rows, kK, kK);
    const nvfp4j_router_options router = {sizeof router, 1.5f, 0};
    const nvfp4j_router_options settled = {sizeof settled, 1.5f, 1};  // no call here writes W
    const nvfp4j_sample_options draw = {sizeof draw, 0.4f, 5, 6};
    const nvfp4j_sample_options last_draw = {sizeof draw, 0.4f, 5, 4};

    CHECK_OK(nvfp4j_copy(context, &first_offset_at, &offset_at, error));
    CHECK_OK(nvfp4j_dequantize(context, &activations_at, &x_at, error));
    CHECK_OK(nvfp4j_dequantize(context, &predictions_at[0], &logits_at, error));
    for (int i = 0; i < kDraws; ++i) {
      const nvfp4j_tensor drawn_at = vector(side, drawn[i], kI32, rows);
      const nvfp4j_tensor sources_at = vector(side, sources[i], kI32, rows * kK);
      const nvfp4j_tensor row_weights_at = vector(side, row_weights[i], kF32, rows * kK);
      const bool last = i == kDraws - 1;
      CHECK_OK(nvfp4j_sample(context, &logits_at, nullptr, last ? nullptr : &offset_at,
                             last ? &last_draw : &draw, &tokens_at, error));
      // Settled, W and the table may be read early, but not the ids that the draw writes.
      CHECK_OK(nvfp4j_router_hash(context, &x_at, &gate_at, nullptr, &table_at, &tokens_at,
                                  i == 1 ? &router : &settled, &experts_at, &weights_at, error));
      CHECK_OK(nvfp4j_expert_dispatch(context, &experts_at, &weights_at, &offsets_at, &sources_at,
                                      &positions_at, &row_weights_at, error));
      CHECK_OK(nvfp4j_copy(context, &tokens_at, &drawn_at, error));
      // Written where the next draw reads: the offset, which counts the rows in a cache, then the logits.
      if (i == 0) {
        CHECK_OK(nvfp4j_cache_append(context, &cache_at, &x_at, &offset_at, error));
      } else if (!last) {
        CHECK_OK(nvfp4j_dequantize(context, &predictions_at[1], &logits_at, error));
      }
    }
  }

  // Were they the same, other offsets and logits would show nothing.
  void check_draws() const {
    const auto same = [&](int i, int j) {
      return std::memcmp(drawn[i]->at(Side::kCpu), drawn[j]->at(Side::kCpu),
                         static_cast<std::size_t>(4 * rows)) == 0;
    };
    CHECK(!same(0, 1) && !same(1, 2) && !same(0, 2));
  }

  std::vector<Memory> written() const {
    return {logits,     x,          cache,      offset,         tokens,         weights,
            experts,    offsets,    positions,  drawn[0],       drawn[1],       drawn[2],
            sources[0], sources[1], sources[2], row_weights[0], row_weights[1], row_weights[2]};
  }
  void poison() const {
    for (const Memory& memory : written()) memory->poison_device();
  }
  void check(const char* how) const {
    int number = 0;
    for (const Memory& memory : written()) {
      const std::string what = std::string(how) + " of tokens" + shape_name(rows, columns) +
                               ", memory " + std::to_string(number++);
      if (!memory->equal(what)) check::failed(__FILE__, __LINE__, what + " differs");
    }
  }

  std::int64_t rows;
  std::int64_t columns;
  Nvfp4Twin predictions[2];
  Nvfp4Twin activations;
  Memory gate;
  Memory table;
  Memory first_offset;
  Memory logits;
  Memory x;
  Memory cache;
  Memory offset;
  Memory tokens;
  Memory weights;
  Memory experts;
  Memory offsets;
  Memory positions;
  Memory drawn[kDraws];
  Memory sources[kDraws];
  Memory row_weights[kDraws];
};

}  // namespace nvfp4j::test
