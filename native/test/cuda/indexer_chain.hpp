// SPDX-License-Identifier: Apache-2.0
// The indexer between copies and kernels that write what it reads, and a quantisation that reads what it writes and meets at the same words of the workspace, for chain_test.cpp. Every sum of its data is exact.
#pragma once
#include "context_fixture.hpp"

namespace nvfp4j::test {

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

}  // namespace nvfp4j::test
