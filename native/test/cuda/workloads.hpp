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
  void reset_device(const std::vector<std::uint8_t>& contents) const {
    device_.put(contents.data(), static_cast<std::int64_t>(contents.size()));
  }
  // What an op of the device wrote, to be compared with later.
  void copy_to_host(const char* what) const {
    const std::vector<std::uint8_t> got = device_.get(what);
    std::memcpy(host_.data(), got.data(), got.size());
  }
  // What an op of the CPU wrote, to the device.
  void copy_to_device() const { device_.put(host_.data(), host_.size()); }

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

inline nvfp4j_tensor streams(Side side, const Memory& memory, std::int32_t dtype,
                             std::int64_t tokens, std::int64_t n, std::int64_t columns,
                             std::int64_t gap = 0) {
  nvfp4j_tensor t = fixture::tensor(memory->at(side), dtype, {tokens, n, columns});
  t.memory = memory_of(side);
  t.stride[1] = columns + gap;
  t.stride[0] = n * t.stride[1];
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
            std::int32_t global_scale_kind, std::int64_t g = 1)
      : groups(g),
        rows(m),
        columns(k),
        layout(scale_layout),
        kind(global_scale_kind),
        codes(std::make_shared<Twin>(fixture::codes_bytes(g * m, k, scale_layout))),
        scales(std::make_shared<Twin>(g * fixture::scale_bytes(m, k, scale_layout))),
        global_scales(
            std::make_shared<Twin>(4 * fixture::global_scale_count(global_scale_kind, g, m))) {}

  nvfp4j_nvfp4_tensor at(Side side) const {
    nvfp4j_nvfp4_tensor t{};
    t.struct_size = sizeof t;
    t.memory = memory_of(side);
    t.scale_layout = layout;
    t.global_scale_kind = kind;
    t.groups = groups;
    t.rows = rows;
    t.columns = columns;
    t.codes = codes->at(side);
    t.codes_bytes = codes->bytes();
    t.scales = scales->bytes() != 0 ? scales->at(side) : nullptr;
    t.scales_bytes = scales->bytes();
    t.global_scales = global_scales->at(side);
    t.global_scales_count = global_scales->bytes() / 4;
    return t;
  }

  std::int64_t groups;
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
  // What a call reads and advances, and what it is before each.
  std::vector<std::pair<Memory, std::vector<std::uint8_t>>> advanced = {};

  void poison() const {
    for (const Memory& output : outputs) output->poison_device();
    for (const auto& [memory, contents] : advanced) memory->reset_device(contents);
  }
  bool equal() const {
    bool same = true;
    for (const Memory& output : outputs) same = output->equal(name) && same;
    for (const auto& [memory, contents] : advanced) same = memory->equal(name) && same;
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

// ---- matrix products -------------------------------------------------------------------------------------------------
// Their data is such that every order of a sum is exact, up to K = 16384: magnitudes up to 1 as codes, block scales from one binade.

inline Nvfp4Twin exact_nvfp4(std::mt19937& g, std::int64_t rows, std::int64_t columns,
                             std::int32_t kind, std::int64_t groups = 1) {
  Nvfp4Twin x(rows, columns, NVFP4J_SCALE_LAYOUT_LINEAR, kind, groups);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(x.codes->bytes()));
  const auto code = [&] { return g() % 3 | (g() % 2) << 3; };
  for (std::uint8_t& b : codes) b = static_cast<std::uint8_t>(code() | code() << 4);
  std::vector<std::uint8_t> scales(static_cast<std::size_t>(x.scales->bytes()));
  for (std::uint8_t& b : scales) b = static_cast<std::uint8_t>(0x38 + g() % 8);
  x.codes = std::make_shared<Twin>(codes);
  x.scales = std::make_shared<Twin>(scales);
  x.global_scales = random_scales(g, x.global_scales->bytes() / 4);
  return x;
}

// Multiples of 1/4 up to 2.
inline Memory exact_bf16(std::mt19937& g, std::int64_t elements) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(2 * elements));
  for (std::int64_t i = 0; i < elements; ++i) {
    store_element(bytes.data(), NVFP4J_DTYPE_BF16, i,
                  0.25f * (static_cast<float>(g() % 17) - 8.0f));
  }
  return std::make_shared<Twin>(bytes);
}

// The same tensor PREPARED or PACKED, by the CPU: what it writes is what the device reads.
inline Nvfp4Twin in_layout(const Nvfp4Twin& x, std::int32_t layout) {
  if (layout == x.layout) return x;
  static const fixture::Context cpu;
  const Nvfp4Twin to(x.rows, x.columns, layout, x.kind, x.groups);
  const nvfp4j_nvfp4_tensor source = x.at(Side::kCpu);
  const nvfp4j_nvfp4_tensor target = to.at(Side::kCpu);
  CHECK_OK(layout == NVFP4J_SCALE_LAYOUT_PREPARED
               ? nvfp4j_prepare_weights(cpu, &source, &target, error)
               : nvfp4j_pack_activations(cpu, &source, &target, error));
  CHECK_OK(nvfp4j_context_synchronize(cpu, nullptr, error));
  to.codes->copy_to_device();
  to.global_scales->copy_to_device();
  return to;
}

inline Memory i32_memory(const std::vector<std::int32_t>& values) {
  std::vector<std::uint8_t> bytes(4 * values.size());
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return std::make_shared<Twin>(bytes);
}

// gemm, grouped_gemm or batched_gemm of `rows` rows of A; a_kind is one of NVFP4J_GEMM_A_*.
inline Workload gemm_workload(std::mt19937& g, std::int32_t op, std::int64_t groups,
                              std::int64_t rows, std::int64_t n, std::int64_t k,
                              std::int32_t a_kind, std::int32_t w_layout, std::int32_t dtype,
                              bool swiglu = false) {
  const bool batched = op == NVFP4J_OP_BATCHED_GEMM;
  const std::int64_t width = batched ? groups * k : k;
  const std::int64_t columns = batched ? groups * n : swiglu ? n / 2 : n;
  const std::int64_t stride = columns + 8;
  const bool bf16 = a_kind == NVFP4J_GEMM_A_BF16;
  const Memory x = exact_bf16(g, bf16 ? rows * width : 0);
  const Nvfp4Twin a = in_layout(
      exact_nvfp4(
          g, bf16 ? 0 : rows, width,
          a_kind == NVFP4J_GEMM_A_NVFP4 ? NVFP4J_GLOBAL_SCALE_ROW : NVFP4J_GLOBAL_SCALE_TENSOR),
      a_kind == NVFP4J_GEMM_A_PACKED ? NVFP4J_SCALE_LAYOUT_PACKED : NVFP4J_SCALE_LAYOUT_LINEAR);
  const std::int32_t kind = swiglu                 ? NVFP4J_GLOBAL_SCALE_HALVES
                            : op != NVFP4J_OP_GEMM ? NVFP4J_GLOBAL_SCALE_GROUP
                                                   : NVFP4J_GLOBAL_SCALE_TENSOR;
  const Nvfp4Twin w = in_layout(exact_nvfp4(g, n, k, kind, groups), w_layout);
  // An expert without rows, and a row of nobody's, where there are that many.
  std::vector<std::int32_t> ends(static_cast<std::size_t>(groups) + 1);
  for (std::int32_t& end : ends)
    end = static_cast<std::int32_t>(g() % static_cast<std::uint32_t>(rows + 1));
  std::sort(ends.begin(), ends.end());
  if (groups > 2) ends[2] = ends[1];
  const Memory offsets = i32_memory(ends);
  const Memory weight = random_memory(g, NVFP4J_DTYPE_F32, rows);
  // Rows of nobody's stay as they are, on both sides.
  const Memory d = std::make_shared<Twin>(rows * stride * element_bytes(dtype));
  nvfp4j_gemm_options options = fixture::gemm_options(swiglu);
  options.weights_settled = static_cast<std::int32_t>(g() % 2);  // as they are here
  return {"product " + std::to_string(op) + " of " + std::to_string(groups) + " groups, A " +
              std::to_string(a_kind) + " W " + std::to_string(w_layout) + " D " +
              std::to_string(dtype) + (swiglu ? " swiglu" : "") + shape_name(rows, width) + " x" +
              shape_name(n, k),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_tensor x_in =
                matrix(side, x, NVFP4J_DTYPE_BF16, bf16 ? rows : 0, width, width);
            const nvfp4j_nvfp4_tensor a_in = a.at(side);
            const nvfp4j_nvfp4_tensor w_in = w.at(side);
            const nvfp4j_tensor o = vector(side, offsets, NVFP4J_DTYPE_I32, groups + 1);
            const nvfp4j_tensor factors = vector(side, weight, NVFP4J_DTYPE_F32, rows);
            const nvfp4j_tensor out = matrix(side, d, dtype, rows, columns, stride);
            const nvfp4j_tensor* dense = bf16 ? &x_in : nullptr;
            const nvfp4j_nvfp4_tensor* coded = bf16 ? nullptr : &a_in;
            const nvfp4j_tensor* row_weight = swiglu ? &factors : nullptr;
            switch (op) {
              case NVFP4J_OP_GROUPED_GEMM:
                return nvfp4j_grouped_gemm(context, dense, coded, &w_in, &o, row_weight, &options,
                                           &out, error);
              case NVFP4J_OP_BATCHED_GEMM:
                return nvfp4j_batched_gemm(context, dense, coded, &w_in, &options, &out, error);
              default:
                return nvfp4j_gemm(context, dense, coded, &w_in, row_weight, &options, &out, error);
            }
          },
          {d}};
}

inline Workload prepare_weights_workload(std::mt19937& g, std::int64_t groups, std::int64_t n,
                                         std::int64_t k) {
  Nvfp4Twin w = exact_nvfp4(g, n, k, NVFP4J_GLOBAL_SCALE_GROUP, groups);
  w.codes = random_bytes(g, w.codes->bytes());
  w.scales = random_bytes(g, w.scales->bytes(), 0x7F);
  const Nvfp4Twin to(n, k, NVFP4J_SCALE_LAYOUT_PREPARED, w.kind, groups);
  return {"prepare_weights of " + std::to_string(groups) + " groups" + shape_name(n, k),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_nvfp4_tensor in = w.at(side);
            const nvfp4j_nvfp4_tensor out = to.at(side);
            return nvfp4j_prepare_weights(context, &in, &out, error);
          },
          {to.codes, to.global_scales}};
}

inline Workload pack_activations_workload(std::mt19937& g, std::int64_t rows,
                                          std::int64_t columns) {
  Nvfp4Twin a = exact_nvfp4(g, rows, columns, NVFP4J_GLOBAL_SCALE_ROW);
  a.codes = random_bytes(g, a.codes->bytes());
  a.scales = random_bytes(g, a.scales->bytes(), 0x7F);
  const Nvfp4Twin to(rows, columns, NVFP4J_SCALE_LAYOUT_PACKED, a.kind);
  return {"pack_activations" + shape_name(rows, columns),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_nvfp4_tensor in = a.at(side);
            const nvfp4j_nvfp4_tensor out = to.at(side);
            return nvfp4j_pack_activations(context, &in, &out, error);
          },
          {to.codes, to.global_scales}};
}

// Products of [rows, columns] with few weights: each kind of A and each layout of W, tiled where columns allow it.
inline void for_every_product(std::mt19937& g, std::int64_t rows, std::int64_t columns,
                              const std::function<void(const Workload&)>& use) {
  constexpr std::int32_t kLinear = NVFP4J_SCALE_LAYOUT_LINEAR;
  constexpr std::int32_t kPrepared = NVFP4J_SCALE_LAYOUT_PREPARED;
  constexpr std::int32_t kBf16 = NVFP4J_DTYPE_BF16;
  constexpr std::int32_t kF32 = NVFP4J_DTYPE_F32;
  const auto gemm = [&](std::int64_t n, std::int32_t a, std::int32_t w, std::int32_t d,
                        bool swiglu = false) {
    use(gemm_workload(g, NVFP4J_OP_GEMM, 1, rows, n, columns, a, w, d, swiglu));
  };
  gemm(24, NVFP4J_GEMM_A_BF16, kLinear, kF32);
  gemm(64, NVFP4J_GEMM_A_NVFP4, kPrepared, kBf16);
  gemm(208, NVFP4J_GEMM_A_PACKED, kPrepared, kF32);
  gemm(64, NVFP4J_GEMM_A_BF16, kPrepared, kBf16, true);
  const auto grouped = [&](std::int32_t a, std::int32_t w, std::int32_t d, bool swiglu) {
    use(gemm_workload(g, NVFP4J_OP_GROUPED_GEMM, 5, rows, 64, columns, a, w, d, swiglu));
  };
  grouped(NVFP4J_GEMM_A_NVFP4, kLinear, kF32, false);
  grouped(NVFP4J_GEMM_A_PACKED, kPrepared, kBf16, false);
  grouped(NVFP4J_GEMM_A_BF16, kPrepared, kBf16, true);
  const std::int64_t groups = columns % 32 == 0 ? 2 : 1;
  use(gemm_workload(g, NVFP4J_OP_BATCHED_GEMM, groups, rows, 64, columns / groups,
                    NVFP4J_GEMM_A_BF16, kPrepared, kBf16));
  use(gemm_workload(g, NVFP4J_OP_BATCHED_GEMM, groups, rows, 24, columns / groups,
                    NVFP4J_GEMM_A_NVFP4, kLinear, kF32));
  use(prepare_weights_workload(g, 2, 64, columns));
  use(pack_activations_workload(g, rows, columns));
}

// ---- hyper-connections -----------------------------------------------------------------------------------------------

inline Workload sinkhorn_workload(std::mt19937& g, std::int64_t tokens, std::int64_t n) {
  const Memory logits = random_memory(g, NVFP4J_DTYPE_F32, tokens * n * n);
  const std::int64_t stride = n * n + 4;
  const Memory comb = std::make_shared<Twin>(tokens * stride * 4);
  return {"sinkhorn" + shape_name(tokens, n),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_tensor in = streams(side, logits, NVFP4J_DTYPE_F32, tokens, n, n);
            nvfp4j_tensor out = streams(side, comb, NVFP4J_DTYPE_F32, tokens, n, n);
            out.stride[0] = stride;
            const nvfp4j_sinkhorn_options options = {sizeof options, 20, 1e-6f, 0};
            return nvfp4j_sinkhorn(context, &in, &options, &out, error);
          },
          {comb}};
}

// hc_pre, hc_post, hc_head or hc_post_pre. `fn` is zero: sums of products are a device's own, within a bound; everything else has the
// same bits on each.
inline Workload hc_workload(std::mt19937& g, std::int32_t op, std::int32_t dtype,
                            std::int64_t tokens, std::int64_t n, std::int64_t columns,
                            bool quantize = false) {
  constexpr std::int32_t kF32 = NVFP4J_DTYPE_F32;
  constexpr std::int64_t kGap = 8;
  const bool head = op == NVFP4J_OP_HC_HEAD;
  const bool post_step = op == NVFP4J_OP_HC_POST || op == NVFP4J_OP_HC_POST_PRE;
  const std::int64_t rows = head ? n : n * (n + 2);
  const Memory x = random_memory(g, dtype, tokens * n * columns);
  const Memory sub = random_memory(g, dtype, tokens * columns);
  const Memory post_before = random_memory(g, kF32, tokens * n);
  const Memory comb_before = random_memory(g, kF32, tokens * n * n);
  const Memory fn = std::make_shared<Twin>(
      std::vector<std::uint8_t>(static_cast<std::size_t>(rows * n * columns * 4), 0));
  const Memory base = random_memory(g, kF32, rows);
  const Memory scale = random_memory(g, kF32, head ? 1 : 3);
  const Memory out = std::make_shared<Twin>(tokens * n * (columns + kGap) * element_bytes(dtype));
  const Memory collapsed = std::make_shared<Twin>(tokens * (columns + kGap) * element_bytes(dtype));
  const Memory post = std::make_shared<Twin>(tokens * n * 4);
  const Memory comb = std::make_shared<Twin>(tokens * n * n * 4);
  const Nvfp4Twin quantized(tokens, columns, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4,
                            NVFP4J_GLOBAL_SCALE_ROW);
  std::vector<Memory> outputs;
  if (post_step) outputs.push_back(out);
  if (op != NVFP4J_OP_HC_POST) outputs.push_back(collapsed);
  if (op == NVFP4J_OP_HC_PRE || op == NVFP4J_OP_HC_POST_PRE) {
    outputs.push_back(post);
    outputs.push_back(comb);
  }
  if (quantize) {
    for (const Memory& m : written(quantized, NVFP4J_GLOBAL_SCALE_DYNAMIC)) outputs.push_back(m);
  }
  return {"op " + std::to_string(op) + " dtype " + std::to_string(dtype) +
              (quantize ? " quantize" : "") + " n " + std::to_string(n) +
              shape_name(tokens, columns),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_tensor x_in = streams(side, x, dtype, tokens, n, columns);
            const nvfp4j_tensor sub_in = matrix(side, sub, dtype, tokens, columns, columns);
            const nvfp4j_tensor post_in = matrix(side, post_before, kF32, tokens, n, n);
            const nvfp4j_tensor comb_in = streams(side, comb_before, kF32, tokens, n, n);
            const nvfp4j_tensor f = matrix(side, fn, kF32, rows, n * columns, n * columns);
            const nvfp4j_tensor b = vector(side, base, kF32, rows);
            const nvfp4j_tensor s = vector(side, scale, kF32, head ? 1 : 3);
            const nvfp4j_tensor x_out = streams(side, out, dtype, tokens, n, columns, kGap);
            const nvfp4j_tensor c = matrix(side, collapsed, dtype, tokens, columns, columns + kGap);
            const nvfp4j_tensor p = matrix(side, post, kF32, tokens, n, n);
            const nvfp4j_tensor m = streams(side, comb, kF32, tokens, n, n);
            const nvfp4j_nvfp4_tensor q = quantized.at(side);
            const nvfp4j_hc_options options = {sizeof options, head ? 0 : 20, 1e-6f, 1e-6f};
            const nvfp4j_quantize_options recipe = fixture::quantize_options();
            switch (op) {
              case NVFP4J_OP_HC_POST:
                return nvfp4j_hc_post(context, &x_in, &sub_in, &post_in, &comb_in, &x_out, error);
              case NVFP4J_OP_HC_PRE:
                return nvfp4j_hc_pre(context, &x_in, &f, &b, &s, &options, &c, &p, &m, error);
              case NVFP4J_OP_HC_HEAD:
                return nvfp4j_hc_head(context, &x_in, &f, &b, &s, &options, &c, error);
              default:
                return nvfp4j_hc_post_pre(context, &x_in, &sub_in, &post_in, &comb_in, &f, &b, &s,
                                          nullptr, &options, quantize ? &recipe : nullptr, &x_out,
                                          &c, &p, &m, quantize ? &q : nullptr, error);
            }
          },
          outputs};
}

inline void for_every_hc_op(std::mt19937& g, std::int64_t rows, std::int64_t columns,
                            const std::function<void(const Workload&)>& use) {
  for (const std::int64_t n : {2, 4, 16}) use(sinkhorn_workload(g, rows, n));
  for (const std::int32_t op :
       {NVFP4J_OP_HC_PRE, NVFP4J_OP_HC_POST, NVFP4J_OP_HC_HEAD, NVFP4J_OP_HC_POST_PRE}) {
    use(hc_workload(g, op, NVFP4J_DTYPE_BF16, rows, 4, columns));
    use(hc_workload(g, op, NVFP4J_DTYPE_F32, rows, 3, columns));
  }
  use(hc_workload(g, NVFP4J_OP_HC_POST_PRE, NVFP4J_DTYPE_BF16, rows, 4, columns, true));
  use(hc_workload(g, NVFP4J_OP_HC_POST_PRE, NVFP4J_DTYPE_F32, rows, 2, columns, true));
}

// ---- experts ---------------------------------------------------------------------------------------------------------

inline Workload expert_dispatch_workload(std::mt19937& g, std::int64_t tokens, std::int64_t k,
                                         std::int64_t experts, std::int64_t gap, bool weighted) {
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < tokens * (k + gap); ++i)
    ids.push_back(static_cast<std::int32_t>(g() % static_cast<std::uint64_t>(experts)));
  const Memory indices = i32_memory(ids);
  const Memory weights = random_memory(g, NVFP4J_DTYPE_F32, tokens * k);
  const Memory offsets = std::make_shared<Twin>((experts + 1) * 4);
  const Memory rows = std::make_shared<Twin>(tokens * k * 4);
  const Memory positions = std::make_shared<Twin>(tokens * (k + gap) * 4);
  const Memory row_weights = std::make_shared<Twin>(tokens * k * 4);
  return {"expert_dispatch experts " + std::to_string(experts) + " gap " + std::to_string(gap) +
              (weighted ? " weights" : "") + shape_name(tokens, k),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_tensor i = matrix(side, indices, NVFP4J_DTYPE_I32, tokens, k, k + gap);
            const nvfp4j_tensor w = matrix(side, weights, NVFP4J_DTYPE_F32, tokens, k, k);
            const nvfp4j_tensor o = vector(side, offsets, NVFP4J_DTYPE_I32, experts + 1);
            const nvfp4j_tensor r = vector(side, rows, NVFP4J_DTYPE_I32, tokens * k);
            const nvfp4j_tensor p = matrix(side, positions, NVFP4J_DTYPE_I32, tokens, k, k + gap);
            const nvfp4j_tensor q = vector(side, row_weights, NVFP4J_DTYPE_F32, tokens * k);
            return nvfp4j_expert_dispatch(context, &i, weighted ? &w : nullptr, &o, &r, &p,
                                          weighted ? &q : nullptr, error);
          },
          weighted ? std::vector<Memory>{offsets, rows, positions, row_weights}
                   : std::vector<Memory>{offsets, rows, positions}};
}

// Every seventh position is -1.
inline Workload expert_combine_workload(std::mt19937& g, std::int32_t dtype, std::int32_t out_dtype,
                                        std::int64_t tokens, std::int64_t k, std::int64_t columns,
                                        bool weighted) {
  constexpr std::int64_t kGap = 8;
  const std::int64_t y_rows = tokens * k;
  std::vector<std::int32_t> places;
  for (std::int64_t i = 0; i < y_rows; ++i) {
    places.push_back(
        i % 7 == 6 ? -1 : static_cast<std::int32_t>(g() % static_cast<std::uint64_t>(y_rows)));
  }
  const Memory y = random_memory(g, dtype, y_rows * columns);
  const Memory positions = i32_memory(places);
  const Memory weights = random_memory(g, NVFP4J_DTYPE_F32, y_rows);
  const Memory shared = random_memory(g, dtype, tokens * columns);
  const Memory out = std::make_shared<Twin>(tokens * (columns + kGap) * element_bytes(out_dtype));
  return {
      "expert_combine dtypes " + std::to_string(dtype) + " " + std::to_string(out_dtype) + " k " +
          std::to_string(k) + (weighted ? " weights" : "") + shape_name(tokens, columns),
      [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
        const nvfp4j_tensor y_in = matrix(side, y, dtype, y_rows, columns, columns);
        const nvfp4j_tensor p = matrix(side, positions, NVFP4J_DTYPE_I32, tokens, k, k);
        const nvfp4j_tensor w = matrix(side, weights, NVFP4J_DTYPE_F32, tokens, k, k);
        const nvfp4j_tensor s = matrix(side, shared, dtype, tokens, columns, columns);
        const nvfp4j_tensor o = matrix(side, out, out_dtype, tokens, columns, columns + kGap);
        return nvfp4j_expert_combine(context, &y_in, &p, weighted ? &w : nullptr, &s, &o, error);
      },
      {out}};
}

inline void for_every_expert_op(std::mt19937& g, std::int64_t rows, std::int64_t columns,
                                const std::function<void(const Workload&)>& use) {
  use(expert_dispatch_workload(g, rows, 6, 256, 0, true));
  use(expert_dispatch_workload(g, rows, 8, 384, 0, false));
  use(expert_dispatch_workload(g, rows, 3, 1024, 2, true));
  for (const std::int32_t dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
    for (const std::int32_t out : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32})
      use(expert_combine_workload(g, dtype, out, rows, 3, columns, dtype == out));
  }
}

// ---- routers ---------------------------------------------------------------------------------------------------------
// Their data is such that every order of a sum is exact, up to D = 16384, also in F32.

// x [rows, columns] of multiples of 1/4 and W [experts, columns] of such or NVFP4, with a gap behind each row.
struct RouterInputs {
  RouterInputs(std::mt19937& g, std::int32_t x_type, std::int32_t w_type, std::int64_t tokens,
               std::int64_t d, std::int64_t e)
      : rows(tokens),
        columns(d),
        experts(e),
        x_dtype(x_type),
        w_dtype(w_type),
        x(exact(g, x_type, tokens * (d + kGap))),
        w(exact(g, w_type, w_type == NVFP4J_DTYPE_U8 ? 0 : e * (d + kGap))),
        coded(exact_nvfp4(g, e, d, NVFP4J_GLOBAL_SCALE_TENSOR)) {}

  static Memory exact(std::mt19937& g, std::int32_t dtype, std::int64_t elements) {
    if (dtype != NVFP4J_DTYPE_F32) return exact_bf16(g, elements);
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(4 * elements));
    for (std::int64_t i = 0; i < elements; ++i)
      store_element(bytes.data(), dtype, i, 0.25f * (static_cast<float>(g() % 17) - 8.0f));
    return std::make_shared<Twin>(bytes);
  }
  std::string name() const {
    return " x " + std::to_string(x_dtype) + " W " + std::to_string(w_dtype) + " E " +
           std::to_string(experts) + shape_name(rows, columns);
  }
  nvfp4j_tensor x_at(Side side) const {
    return matrix(side, x, x_dtype, rows, columns, columns + kGap);
  }
  bool is_coded() const { return w_dtype == NVFP4J_DTYPE_U8; }
  nvfp4j_tensor w_at(Side side) const {
    return matrix(side, w, is_coded() ? NVFP4J_DTYPE_BF16 : w_dtype, is_coded() ? 0 : experts,
                  columns, columns + kGap);
  }

  static constexpr std::int64_t kGap = 8;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t experts;
  std::int32_t x_dtype;
  std::int32_t w_dtype;
  Memory x;
  Memory w;
  Nvfp4Twin coded;
};

inline Workload router_dense_workload(std::mt19937& g, std::int32_t x_dtype, std::int32_t w_dtype,
                                      std::int64_t rows, std::int64_t columns, std::int64_t experts,
                                      std::int64_t k) {
  const RouterInputs in(g, x_dtype, w_dtype, rows, columns, experts);
  const Memory bias = random_memory(g, NVFP4J_DTYPE_F32, experts);
  const auto settled = static_cast<std::int32_t>(g() % 2);  // as the weights are here
  const Memory indices = std::make_shared<Twin>(rows * (k + 2) * 4);
  const Memory weights = std::make_shared<Twin>(rows * k * 4);
  const Memory logits = std::make_shared<Twin>(rows * (experts + 1) * 4);
  return {"router_dense" + in.name(),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_tensor x = in.x_at(side);
            const nvfp4j_tensor w = in.w_at(side);
            const nvfp4j_nvfp4_tensor coded = in.coded.at(side);
            const nvfp4j_tensor b = vector(side, bias, NVFP4J_DTYPE_F32, experts);
            const nvfp4j_tensor i = matrix(side, indices, NVFP4J_DTYPE_I32, rows, k, k + 2);
            const nvfp4j_tensor p = matrix(side, weights, NVFP4J_DTYPE_F32, rows, k, k);
            const nvfp4j_tensor z =
                matrix(side, logits, NVFP4J_DTYPE_F32, rows, experts, experts + 1);
            const nvfp4j_router_options options = {sizeof options, 2.5f, settled};
            return nvfp4j_router_dense(context, &x, in.is_coded() ? nullptr : &w,
                                       in.is_coded() ? &coded : nullptr, &b, &options, &i, &p, &z,
                                       error);
          },
          {indices, weights, logits}};
}

inline Workload router_hash_workload(std::mt19937& g, std::int32_t x_dtype, std::int32_t w_dtype,
                                     std::int64_t rows, std::int64_t columns, std::int64_t experts,
                                     std::int64_t k) {
  constexpr std::int64_t kVocabulary = 100;
  const RouterInputs in(g, x_dtype, w_dtype, rows, columns, experts);
  const auto integers = [&](std::int64_t count, std::int64_t end) {
    std::vector<std::int32_t> values(static_cast<std::size_t>(count));
    for (std::int32_t& v : values)
      v = static_cast<std::int32_t>(g() % static_cast<std::uint32_t>(end));
    return i32_memory(values);
  };
  const Memory table = integers(kVocabulary * k, experts);
  const Memory ids = integers(rows, kVocabulary);
  const auto settled = static_cast<std::int32_t>(g() % 2);  // as weights and table are here
  const Memory indices = std::make_shared<Twin>(rows * (k + 2) * 4);
  const Memory weights = std::make_shared<Twin>(rows * k * 4);
  return {"router_hash" + in.name(),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_tensor x = in.x_at(side);
            const nvfp4j_tensor w = in.w_at(side);
            const nvfp4j_nvfp4_tensor coded = in.coded.at(side);
            const nvfp4j_tensor t = matrix(side, table, NVFP4J_DTYPE_I32, kVocabulary, k, k);
            const nvfp4j_tensor d = vector(side, ids, NVFP4J_DTYPE_I32, rows);
            const nvfp4j_tensor i = matrix(side, indices, NVFP4J_DTYPE_I32, rows, k, k + 2);
            const nvfp4j_tensor p = matrix(side, weights, NVFP4J_DTYPE_F32, rows, k, k);
            const nvfp4j_router_options options = {sizeof options, 1.5f, settled};
            return nvfp4j_router_hash(context, &x, in.is_coded() ? nullptr : &w,
                                      in.is_coded() ? &coded : nullptr, &t, &d, &options, &i, &p,
                                      error);
          },
          {indices, weights}};
}

inline void for_every_router(std::mt19937& g, std::int64_t rows, std::int64_t columns,
                             const std::function<void(const Workload&)>& use) {
  for (const std::int32_t w : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32, NVFP4J_DTYPE_U8}) {
    for (const std::int32_t x : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
      use(router_dense_workload(g, x, w, rows, columns, w == NVFP4J_DTYPE_F32 ? 39 : 64, 6));
      use(router_hash_workload(g, x, w, rows, columns, 64, w == NVFP4J_DTYPE_F32 ? 5 : 6));
    }
  }
}

// ---- the indexer -----------------------------------------------------------------------------------------------------

// Multiples of 1/4: every order of a sum is exact, and many scores are equal.
inline Memory exact_values(std::mt19937& g, std::int32_t dtype, std::int64_t elements) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(elements * element_bytes(dtype)));
  for (std::int64_t i = 0; i < elements; ++i)
    store_element(bytes.data(), dtype, i, 0.25f * (static_cast<float>(g() % 9) - 4.0f));
  return std::make_shared<Twin>(bytes);
}

// Rows that each query sees: all, none, or any number.
inline Memory visible_rows(std::mt19937& g, std::int64_t queries, std::int64_t rows) {
  std::vector<std::int32_t> valid(static_cast<std::size_t>(queries));
  for (std::int32_t& v : valid) {
    v = static_cast<std::int32_t>(g() % 3 == 0   ? static_cast<std::uint32_t>(rows)
                                  : g() % 8 == 0 ? 0u
                                                 : g() % static_cast<std::uint32_t>(rows + 1));
  }
  return i32_memory(valid);
}

inline Workload indexer_workload(std::mt19937& g, std::int32_t dtype, std::int64_t queries,
                                 std::int64_t rows, std::int64_t k, std::int64_t heads = 5,
                                 std::int64_t columns = 48) {
  const Memory q = exact_values(g, dtype, queries * heads * columns);
  const Memory keys = exact_values(g, dtype, rows * (columns + 8));
  const Memory weights = exact_values(g, NVFP4J_DTYPE_F32, queries * heads);
  const Memory valid = visible_rows(g, queries, rows);
  const Memory indices = std::make_shared<Twin>(queries * (k + 3) * 4);
  const Memory scores = std::make_shared<Twin>(queries * (rows + 1) * 4);
  return {"indexer_topk dtype " + std::to_string(dtype) + " k " + std::to_string(k) + " heads " +
              std::to_string(heads) + shape_name(queries, rows),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_tensor q_in = streams(side, q, dtype, queries, heads, columns);
            const nvfp4j_tensor keys_in = matrix(side, keys, dtype, rows, columns, columns + 8);
            const nvfp4j_tensor w = matrix(side, weights, NVFP4J_DTYPE_F32, queries, heads, heads);
            const nvfp4j_tensor v = vector(side, valid, NVFP4J_DTYPE_I32, queries);
            const nvfp4j_tensor i = matrix(side, indices, NVFP4J_DTYPE_I32, queries, k, k + 3);
            const nvfp4j_tensor s = matrix(side, scores, NVFP4J_DTYPE_F32, queries, rows, rows + 1);
            return nvfp4j_indexer_topk(context, &q_in, &keys_in, &w, &v, &i, &s, error);
          },
          {indices, scores}};
}

// As many queries as there are rows of other ops, and somewhat more rows of keys than they have columns.
inline void for_every_indexer(std::mt19937& g, std::int64_t rows, std::int64_t columns,
                              const std::function<void(const Workload&)>& use) {
  const std::int64_t queries = std::min<std::int64_t>(rows, 200);
  use(indexer_workload(g, NVFP4J_DTYPE_BF16, queries, 2 * columns + 37, 512));
  use(indexer_workload(g, NVFP4J_DTYPE_BF16, std::min<std::int64_t>(rows, 3), columns, 1));
  use(indexer_workload(g, NVFP4J_DTYPE_F32, std::min<std::int64_t>(rows, 9), columns, 1024));
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

inline std::vector<std::uint8_t> bytes_of_i64(std::int64_t value) {
  std::vector<std::uint8_t> bytes(8);
  std::memcpy(bytes.data(), &value, 8);
  return bytes;
}

// Into a ring that is shorter than the rows where there are many, or behind what a cache has already.
inline Workload cache_workload(std::mt19937& g, bool window, std::int32_t dtype, std::int64_t rows,
                               std::int64_t columns) {
  constexpr std::int64_t kBefore = 3;
  const std::int64_t slots = window ? 32 : rows + kBefore;
  const Memory from = random_memory(g, dtype, rows * (columns + 5));
  const Memory cache = std::make_shared<Twin>(slots * (columns + 8) * element_bytes(dtype));
  const std::vector<std::uint8_t> before = bytes_of_i64(window ? 1'000'003 : kBefore);
  const Memory counter = std::make_shared<Twin>(before);
  Workload w = {(window ? "cache_append_window dtype " : "cache_append dtype ") +
                    std::to_string(dtype) + shape_name(rows, columns),
                [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
                  const nvfp4j_tensor r = matrix(side, from, dtype, rows, columns, columns + 5);
                  const nvfp4j_tensor c = matrix(side, cache, dtype, slots, columns, columns + 8);
                  const nvfp4j_tensor n = vector(side, counter, NVFP4J_DTYPE_I64, 1);
                  return window ? nvfp4j_cache_append_window(context, &c, &r, &n, error)
                                : nvfp4j_cache_append(context, &c, &r, &n, error);
                },
                {cache}};
  w.advanced = {{counter, before}};
  return w;
}

inline Workload sample_workload(std::mt19937& g, std::int32_t dtype, std::int64_t rows,
                                std::int64_t columns, float temperature, bool given) {
  const Memory logits = random_memory(g, dtype, rows * (columns + 3));
  const Memory offset = std::make_shared<Twin>(bytes_of_i64(-7));
  std::vector<std::uint8_t> e(static_cast<std::size_t>(given ? rows * columns * 4 : 4));
  for (std::size_t i = 0; i < e.size() / 4; ++i)
    store_element(e.data(), NVFP4J_DTYPE_F32, static_cast<std::int64_t>(i),
                  static_cast<float>(g() % 4096 + 1) * 0x1p-10f);
  const Memory noise = std::make_shared<Twin>(e);
  const Memory tokens = std::make_shared<Twin>(rows * 4);
  return {"sample dtype " + std::to_string(dtype) + " temperature " + std::to_string(temperature) +
              (given ? " noise" : "") + shape_name(rows, columns),
          [=](Side side, nvfp4j_context* context, nvfp4j_error* error) {
            const nvfp4j_tensor l = matrix(side, logits, dtype, rows, columns, columns + 3);
            const nvfp4j_tensor n = matrix(side, noise, NVFP4J_DTYPE_F32, rows, columns, columns);
            const nvfp4j_tensor o = vector(side, offset, NVFP4J_DTYPE_I64, 1);
            const nvfp4j_tensor t = vector(side, tokens, NVFP4J_DTYPE_I32, rows);
            const nvfp4j_sample_options options = {sizeof options, temperature, 11, 22};
            return nvfp4j_sample(context, &l, given ? &n : nullptr, &o, &options, &t, error);
          },
          {tokens}};
}

inline void for_every_cache_op(std::mt19937& g, std::int64_t rows, std::int64_t columns,
                               const std::function<void(const Workload&)>& use) {
  for (const bool window : {true, false}) {
    for (const std::int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F16})
      use(cache_workload(g, window, dtype, rows, columns));
  }
  for (const std::int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}) {
    use(sample_workload(g, dtype, rows, columns, 0, false));
    use(sample_workload(g, dtype, rows, columns, 0.7f, false));
    use(sample_workload(g, dtype, rows, columns, 0.7f, true));
  }
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
  for_every_product(g, rows, columns, use);
  for_every_hc_op(g, rows, columns, use);
  for_every_expert_op(g, rows, columns, use);
  for_every_cache_op(g, rows, columns, use);
  for_every_router(g, rows, columns, use);
  for_every_indexer(g, rows, columns, use);
}

}  // namespace nvfp4j::test
