// SPDX-License-Identifier: Apache-2.0
// quantize, dequantize, swizzle, swiglu and both in one between ops that write what they read and read what they write, for chain_test.cpp: all on BF16 [rows, columns].
#pragma once
#include "context_fixture.hpp"

namespace nvfp4j::test {

struct QuantizeChain {
  QuantizeChain(std::mt19937& g, std::int64_t m, std::int64_t k)
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

}  // namespace nvfp4j::test
