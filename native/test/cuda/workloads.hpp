// SPDX-License-Identifier: Apache-2.0
// Calls of every op through the C ABI that run on a CPU context and on a CUDA context alike, each on memory of its own with the
// same contents, so that the results can be compared byte for byte.
#pragma once
#include <functional>
#include <memory>

#include "fixture.hpp"
#include "gpu_test.cuh"

namespace nvfp4j::test {

enum class Side { kCpu, kGpu };

// The same bytes in host and in device memory, poisoned at first.
class Twin {
 public:
  explicit Twin(std::int64_t bytes) : host_(bytes), device_(bytes) {}
  explicit Twin(const std::vector<std::uint8_t>& contents)
      : Twin(static_cast<std::int64_t>(contents.size())) {
    std::memcpy(host_.data(), contents.data(), contents.size());
    device_.put(contents.data(), host_.size());
  }

  void* at(Side side) const { return side == Side::kCpu ? host_.data() : device_.data(); }
  std::int64_t bytes() const { return host_.size(); }
  void poison_device() { device_.poison(); }

  // Every byte equal, and none written beside the device's.
  bool equal(const std::string& what) const {
    const std::vector<std::uint8_t> got = device_.get(what.c_str());
    return std::memcmp(got.data(), host_.data(), got.size()) == 0;
  }
  bool device_is_poison(const std::string& what) const {
    for (const std::uint8_t byte : device_.get(what.c_str())) {
      if (byte != Buffer::kPoison) return false;
    }
    return true;
  }

 private:
  fixture::Bytes host_;
  Buffer device_;
};

using Memory = std::shared_ptr<Twin>;

inline std::int32_t memory_of(Side side) {
  return side == Side::kCpu ? NVFP4J_MEMORY_HOST : NVFP4J_MEMORY_DEVICE;
}

inline nvfp4j_tensor matrix(Side side, const Memory& memory, std::int32_t dtype, std::int64_t rows,
                            std::int64_t columns, std::int64_t stride) {
  nvfp4j_tensor t = fixture::matrix(memory->at(side), dtype, rows, columns, stride);
  t.memory = memory_of(side);
  return t;
}

inline nvfp4j_tensor vector(Side side, const Memory& memory, std::int32_t dtype,
                            std::int64_t count) {
  nvfp4j_tensor t = fixture::tensor(memory->at(side), dtype, {count});
  t.memory = memory_of(side);
  return t;
}

// An NVFP4 tensor in both memories.
struct Nvfp4Twin {
  Nvfp4Twin(std::int64_t m, std::int64_t k, std::int32_t scale_layout,
            std::int32_t global_scale_kind)
      : rows(m),
        columns(k),
        layout(scale_layout),
        kind(global_scale_kind),
        codes(std::make_shared<Twin>(m * k / 2)),
        scales(std::make_shared<Twin>(fixture::scale_bytes(m, k, scale_layout))),
        global_scales(
            std::make_shared<Twin>(4 * (global_scale_kind == NVFP4J_GLOBAL_SCALE_ROW ? m : 1))) {}

  nvfp4j_nvfp4_tensor at(Side side) const {
    nvfp4j_nvfp4_tensor t{};
    t.struct_size = sizeof t;
    t.memory = memory_of(side);
    t.scale_layout = layout;
    t.global_scale_kind = kind;
    t.groups = 1;
    t.rows = rows;
    t.columns = columns;
    t.codes = codes->at(side);
    t.codes_bytes = codes->bytes();
    t.scales = scales->at(side);
    t.scales_bytes = scales->bytes();
    t.global_scales = global_scales->at(side);
    t.global_scales_count = global_scales->bytes() / 4;
    return t;
  }

  std::int64_t rows;
  std::int64_t columns;
  std::int32_t layout;
  std::int32_t kind;
  Memory codes;
  Memory scales;
  Memory global_scales;
};

struct Workload {
  std::string name;
  // Keeps the inputs.
  std::function<std::int32_t(Side, nvfp4j_context*, nvfp4j_error*)> call;
  std::vector<Memory> outputs;

  void poison() const {
    for (const Memory& output : outputs) output->poison_device();
  }
  bool equal() const {
    bool same = true;
    for (const Memory& output : outputs) same = output->equal(name) && same;
    return same;
  }
  bool is_poison() const {
    bool poison = true;
    for (const Memory& output : outputs) poison = output->device_is_poison(name) && poison;
    return poison;
  }
};

inline std::string shape_name(std::int64_t rows, std::int64_t columns) {
  return " [" + std::to_string(rows) + ", " + std::to_string(columns) + "]";
}

inline Memory random_memory(std::mt19937& g, std::int32_t dtype, std::int64_t elements,
                            Data data = kGauss) {
  return std::make_shared<Twin>(random_tensor(g, dtype, elements, data));
}

// Bytes up to and without `end`.
inline Memory random_bytes(std::mt19937& g, std::int64_t count, std::uint32_t end = 256) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(count));
  for (std::uint8_t& b : bytes) b = static_cast<std::uint8_t>(g() % end);
  return std::make_shared<Twin>(bytes);
}

// Usable global scales.
inline Memory random_scales(std::mt19937& g, std::int64_t count) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(4 * count));
  for (std::int64_t i = 0; i < count; ++i)
    store_element(bytes.data(), NVFP4J_DTYPE_F32, i,
                  std::ldexp(1.0f, static_cast<int>(g() % 12) - 10) * 1.25f);
  return std::make_shared<Twin>(bytes);
}

inline std::vector<Memory> written(const Nvfp4Twin& output, std::int32_t global_scale) {
  std::vector<Memory> memories = {output.codes, output.scales};
  if (global_scale == NVFP4J_GLOBAL_SCALE_DYNAMIC) memories.push_back(output.global_scales);
  return memories;
}

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

// Between two buffers of the side's own memory, with other strides.
inline Workload copy_workload(std::mt19937& g, std::int32_t dtype, std::int64_t rows,
                              std::int64_t columns) {
  const Memory from = random_memory(g, dtype, rows * (columns + 5));
  const Memory to = std::make_shared<Twin>(rows * (columns + 9) * element_bytes(dtype));
  return {"copy dtype " + std::to_string(dtype) + shape_name(rows, columns),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_tensor source = matrix(side, from, dtype, rows, columns, columns + 5);
            const nvfp4j_tensor destination = matrix(side, to, dtype, rows, columns, columns + 9);
            return nvfp4j_copy(context, &source, &destination, error);
          },
          {to}};
}

// Every op at a shape, in the types and modes that it has. One at a time, since large ones take memory.
inline void for_every_op(std::mt19937& g, std::int64_t rows, std::int64_t columns,
                         const std::function<void(const Workload&)>& use) {
  constexpr std::int32_t kDynamic = NVFP4J_GLOBAL_SCALE_DYNAMIC;
  constexpr std::int32_t kGiven = NVFP4J_GLOBAL_SCALE_GIVEN;
  constexpr std::int32_t kTensor = NVFP4J_GLOBAL_SCALE_TENSOR;
  constexpr std::int32_t kRow = NVFP4J_GLOBAL_SCALE_ROW;
  constexpr std::int32_t kLinear = NVFP4J_SCALE_LAYOUT_LINEAR;
  constexpr std::int32_t kSwizzled = NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4;
  for (const std::int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F16}) {
    use(quantize_workload(g, dtype, rows, columns, kDynamic, kTensor, kSwizzled));
    use(quantize_workload(g, dtype, rows, columns, kDynamic, kRow, kLinear));
    use(quantize_workload(g, dtype, rows, columns, kGiven, kTensor, kLinear));
    use(dequantize_workload(g, dtype, rows, columns, dtype == NVFP4J_DTYPE_F16 ? kRow : kTensor,
                            dtype == NVFP4J_DTYPE_F32 ? kLinear : kSwizzled));
  }
  use(quantize_workload(g, NVFP4J_DTYPE_BF16, rows, columns, kDynamic, kTensor, kSwizzled, true));
  use(quantize_workload(g, NVFP4J_DTYPE_BF16, rows, columns, kGiven, kRow, kSwizzled));
  use(swizzle_workload(g, rows, columns, false));
  use(swizzle_workload(g, rows, columns, true));
  for (const std::int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}) {
    use(swiglu_workload(
        g, dtype, rows, columns,
        dtype == NVFP4J_DTYPE_F32 ? NVFP4J_SWIGLU_HALVES : NVFP4J_SWIGLU_INTERLEAVED));
    use(swiglu_quantize_workload(g, dtype, rows, columns, kDynamic, kTensor, kLinear));
    use(swiglu_quantize_workload(g, dtype, rows, columns, kDynamic, kRow, kSwizzled));
    use(swiglu_quantize_workload(g, dtype, rows, columns, kGiven, kTensor, kSwizzled));
  }
  use(copy_workload(g, NVFP4J_DTYPE_F32, rows, columns));
}

}  // namespace nvfp4j::test
