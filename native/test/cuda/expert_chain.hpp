// SPDX-License-Identifier: Apache-2.0
// expert_dispatch and expert_combine between ops that write what they read and read what they write (chain_test.cpp).
#pragma once
#include "context_fixture.hpp"

namespace nvfp4j::test {

struct ExpertChain {
  static constexpr std::int64_t kSlots = 3;
  static constexpr std::int64_t kExperts = 8;

  ExpertChain(std::mt19937& g, std::int64_t m, std::int64_t d)
      : rows(m),
        columns(d),
        choices{some_choices(g), some_choices(g)},
        weights(random_memory(g, NVFP4J_DTYPE_F32, m * kSlots)),
        gate_up{random_memory(g, NVFP4J_DTYPE_BF16, m * kSlots * 2 * d),
                random_memory(g, NVFP4J_DTYPE_BF16, m * kSlots * 2 * d)},
        shared(random_memory(g, NVFP4J_DTYPE_BF16, m * d)),
        chosen(std::make_shared<Twin>(m * kSlots * 4)),
        offsets{std::make_shared<Twin>((kExperts + 1) * 4),
                std::make_shared<Twin>((kExperts + 1) * 4)},
        sources(std::make_shared<Twin>(m * kSlots * 4)),
        positions(std::make_shared<Twin>(m * kSlots * 4)),
        row_weights(std::make_shared<Twin>(m * kSlots * 4)),
        y(std::make_shared<Twin>(m * kSlots * d * 2)),
        out(std::make_shared<Twin>(m * d * 2)),
        q(m * kSlots, d, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_ROW) {}

  Memory some_choices(std::mt19937& g) const {
    std::vector<std::int32_t> ids;
    for (std::int64_t i = 0; i < rows * kSlots; ++i)
      ids.push_back(static_cast<std::int32_t>(g() % kExperts));
    return i32_memory(ids);
  }

  void run(Side side, nvfp4j_context* context) const {
    constexpr std::int32_t kI32 = NVFP4J_DTYPE_I32, kF32 = NVFP4J_DTYPE_F32,
                           kBf16 = NVFP4J_DTYPE_BF16;
    const auto slots = [&](const Memory& memory, std::int32_t dtype) {
      return matrix(side, memory, dtype, rows, kSlots, kSlots);
    };
    const auto sorted = [&](const Memory& memory, std::int32_t dtype) {
      return vector(side, memory, dtype, rows * kSlots);
    };
    const nvfp4j_tensor choices_at[] = {slots(choices[0], kI32), slots(choices[1], kI32)};
    const nvfp4j_tensor chosen_at = slots(chosen, kI32);
    const nvfp4j_tensor positions_at = slots(positions, kI32);
    const nvfp4j_tensor weights_at = slots(weights, kF32);
    const nvfp4j_tensor offsets_at[] = {vector(side, offsets[0], kI32, kExperts + 1),
                                        vector(side, offsets[1], kI32, kExperts + 1)};
    const nvfp4j_tensor sources_at = sorted(sources, kI32);
    const nvfp4j_tensor row_weights_at = sorted(row_weights, kF32);
    const auto gate_up_at = [&](int i) {
      return matrix(side, gate_up[i], kBf16, rows * kSlots, 2 * columns, 2 * columns);
    };
    const nvfp4j_tensor gate_up_first = gate_up_at(0);
    const nvfp4j_tensor gate_up_second = gate_up_at(1);
    const nvfp4j_tensor y_at = matrix(side, y, kBf16, rows * kSlots, columns, columns);
    const nvfp4j_tensor shared_at = matrix(side, shared, kBf16, rows, columns, columns);
    const nvfp4j_tensor out_at = matrix(side, out, kBf16, rows, columns, columns);
    const nvfp4j_nvfp4_tensor q_at = q.at(side);
    const nvfp4j_swiglu_options swiglu = fixture::swiglu_options();
    const nvfp4j_quantize_options dynamic = fixture::quantize_options();

    CHECK_OK(nvfp4j_copy(context, &choices_at[0], &chosen_at, error));
    CHECK_OK(nvfp4j_expert_dispatch(context, &chosen_at, &weights_at, &offsets_at[0], &sources_at,
                                    &positions_at, &row_weights_at, error));
    // Its weights are the other's result.
    CHECK_OK(nvfp4j_swiglu(context, &gate_up_first, &row_weights_at, &swiglu, &y_at, error));
    CHECK_OK(
        nvfp4j_expert_combine(context, &y_at, &positions_at, nullptr, &shared_at, &out_at, error));
    // Written where the calls before read: choices, then rows and positions, then y.
    CHECK_OK(nvfp4j_copy(context, &choices_at[1], &chosen_at, error));
    CHECK_OK(nvfp4j_expert_dispatch(context, &chosen_at, &weights_at, &offsets_at[1], &sources_at,
                                    &positions_at, &row_weights_at, error));
    CHECK_OK(nvfp4j_quantize(context, &out_at, &sources_at, &dynamic, &q_at, error));
    CHECK_OK(nvfp4j_swiglu(context, &gate_up_second, nullptr, &swiglu, &y_at, error));
    CHECK_OK(
        nvfp4j_expert_combine(context, &y_at, &positions_at, &weights_at, &out_at, &out_at, error));
    CHECK_OK(nvfp4j_dequantize(context, &q_at, &y_at, error));
    CHECK_OK(
        nvfp4j_expert_combine(context, &y_at, &positions_at, &weights_at, &out_at, &out_at, error));
    // Rows are other tokens', and positions nobody reads any more.
    CHECK_OK(nvfp4j_expert_dispatch(context, &choices_at[0], nullptr, &offsets_at[0], &sources_at,
                                    &chosen_at, nullptr, error));
  }

  std::vector<Memory> written() const {
    return {chosen, offsets[0], offsets[1], sources,  positions,      row_weights,
            y,      out,        q.codes,    q.scales, q.global_scales};
  }
  void poison() const {
    for (const Memory& memory : written()) memory->poison_device();
  }
  void check(const char* how) const {
    int number = 0;
    for (const Memory& memory : written()) {
      const std::string what = std::string(how) + " of experts" + shape_name(rows, columns) +
                               ", memory " + std::to_string(number++);
      if (!memory->equal(what)) check::failed(__FILE__, __LINE__, what + " differs");
    }
  }

  std::int64_t rows;
  std::int64_t columns;
  Memory choices[2];
  Memory weights;
  Memory gate_up[2];
  Memory shared;
  Memory chosen;
  Memory offsets[2];
  Memory sources;
  Memory positions;
  Memory row_weights;
  Memory y;
  Memory out;
  Nvfp4Twin q;
};

}  // namespace nvfp4j::test
