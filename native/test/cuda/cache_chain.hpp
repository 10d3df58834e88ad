// SPDX-License-Identifier: Apache-2.0
// Caches and draws between ops that write what they read, lengths and positions included, and read what they write, for chain_test.cpp. Integers and copies: the same bits on either side.
#pragma once
#include "context_fixture.hpp"

namespace nvfp4j::test {

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

}  // namespace nvfp4j::test
