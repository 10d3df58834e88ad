// SPDX-License-Identifier: Apache-2.0
// Calls of quantize, dequantize, swizzle, unswizzle, swiglu and swiglu_quantize.
#pragma once
#include "workload.hpp"

namespace nvfp4j::test {

inline Workload quantize_workload(std::mt19937& g, std::int32_t dtype, std::int64_t rows,
                                  std::int64_t columns, std::int32_t global_scale,
                                  std::int32_t kind, std::int32_t layout, bool gather = false,
                                  Data data = kGauss) {
  const Memory x = random_memory(g, dtype, rows * columns, data);
  Memory ids;
  if (gather) {
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(4 * rows));
    for (std::int64_t i = 0; i < rows; ++i) {
      const auto id = static_cast<std::int32_t>(g() % static_cast<std::uint32_t>(rows));
      std::memcpy(&bytes[static_cast<std::size_t>(4 * i)], &id, 4);
    }
    ids = std::make_shared<Twin>(bytes);
  }
  Nvfp4Twin output(rows, columns, layout, kind);
  if (global_scale == NVFP4J_GLOBAL_SCALE_GIVEN)
    output.global_scales = random_scales(g, output.global_scales->bytes() / 4);
  const nvfp4j_quantize_options options = fixture::quantize_options(
      global_scale, gather ? NVFP4J_RECIPE_TE_EXACT : NVFP4J_RECIPE_EXACT);
  return {
      "quantize dtype " + std::to_string(dtype) + " global scale " + std::to_string(global_scale) +
          " kind " + std::to_string(kind) + (gather ? " gathered" : "") + shape_name(rows, columns),
      [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
        const nvfp4j_tensor input = matrix(side, x, dtype, rows, columns, columns);
        const nvfp4j_nvfp4_tensor out = output.at(side);
        nvfp4j_tensor row_ids{};
        if (gather) row_ids = vector(side, ids, NVFP4J_DTYPE_I32, rows);
        return nvfp4j_quantize(context, &input, gather ? &row_ids : nullptr, &options, &out, error);
      },
      written(output, global_scale)};
}

inline Workload dequantize_workload(std::mt19937& g, std::int32_t dtype, std::int64_t rows,
                                    std::int64_t columns, std::int32_t kind, std::int32_t layout) {
  Nvfp4Twin input(rows, columns, layout, kind);
  input.codes = random_bytes(g, input.codes->bytes());
  input.scales = random_bytes(g, input.scales->bytes(), 0x7F);
  input.global_scales = random_scales(g, input.global_scales->bytes() / 4);
  const std::int64_t stride = columns + 24;
  const Memory y = std::make_shared<Twin>(rows * stride * element_bytes(dtype));
  return {"dequantize to dtype " + std::to_string(dtype) + shape_name(rows, columns),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_nvfp4_tensor in = input.at(side);
            const nvfp4j_tensor output = matrix(side, y, dtype, rows, columns, stride);
            return nvfp4j_dequantize(context, &in, &output, error);
          },
          {y}};
}

// swizzle, or unswizzle, of the scales of [rows, columns].
inline Workload swizzle_workload(std::mt19937& g, std::int64_t rows, std::int64_t columns,
                                 bool to_linear) {
  const std::int64_t blocks = columns / 16;
  const std::int64_t stride = blocks + 3;
  const std::int64_t tiled =
      fixture::scale_bytes(rows, columns, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4);
  const Memory linear =
      to_linear ? std::make_shared<Twin>(rows * stride) : random_bytes(g, rows * stride);
  const Memory tiles = to_linear ? random_bytes(g, tiled) : std::make_shared<Twin>(tiled);
  return {(to_linear ? "unswizzle" : "swizzle") + shape_name(rows, blocks),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_tensor a = matrix(side, linear, NVFP4J_DTYPE_U8, rows, blocks, stride);
            const nvfp4j_tensor b = vector(side, tiles, NVFP4J_DTYPE_U8, tiled);
            return to_linear ? nvfp4j_unswizzle(context, &b, &a, error)
                             : nvfp4j_swizzle(context, &a, &b, error);
          },
          {to_linear ? linear : tiles}};
}

inline Workload swiglu_workload(std::mt19937& g, std::int32_t dtype, std::int64_t rows,
                                std::int64_t columns, std::int32_t order) {
  const Memory gate_up = random_memory(g, dtype, rows * 2 * columns);
  const Memory weight = random_memory(g, NVFP4J_DTYPE_F32, rows);
  const std::int64_t stride = columns + 8;
  const Memory y = std::make_shared<Twin>(rows * stride * element_bytes(dtype));
  const nvfp4j_swiglu_options options = fixture::swiglu_options(order);
  return {"swiglu dtype " + std::to_string(dtype) + shape_name(rows, columns),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_tensor in = matrix(side, gate_up, dtype, rows, 2 * columns, 2 * columns);
            const nvfp4j_tensor w = vector(side, weight, NVFP4J_DTYPE_F32, rows);
            const nvfp4j_tensor out = matrix(side, y, dtype, rows, columns, stride);
            return nvfp4j_swiglu(context, &in, &w, &options, &out, error);
          },
          {y}};
}

inline Workload swiglu_quantize_workload(std::mt19937& g, std::int32_t dtype, std::int64_t rows,
                                         std::int64_t columns, std::int32_t global_scale,
                                         std::int32_t kind, std::int32_t layout) {
  const Memory gate_up = random_memory(g, dtype, rows * 2 * columns);
  Nvfp4Twin output(rows, columns, layout, kind);
  if (global_scale == NVFP4J_GLOBAL_SCALE_GIVEN)
    output.global_scales = random_scales(g, output.global_scales->bytes() / 4);
  const nvfp4j_swiglu_options swiglu = fixture::swiglu_options(NVFP4J_SWIGLU_INTERLEAVED);
  const nvfp4j_quantize_options quantize = fixture::quantize_options(global_scale);
  return {"swiglu_quantize dtype " + std::to_string(dtype) + " global scale " +
              std::to_string(global_scale) + " kind " + std::to_string(kind) +
              shape_name(rows, columns),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_tensor in = matrix(side, gate_up, dtype, rows, 2 * columns, 2 * columns);
            const nvfp4j_nvfp4_tensor out = output.at(side);
            return nvfp4j_swiglu_quantize(context, &in, nullptr, &swiglu, &quantize, &out, error);
          },
          written(output, global_scale)};
}

}  // namespace nvfp4j::test
