// SPDX-License-Identifier: Apache-2.0
// A call of an op through the C ABI that runs on a CPU context and on a CUDA context alike, each on memory of its own with the
// same contents, so that the results can be compared byte for byte. Those of the ops are in workloads_*.hpp.
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

inline Memory i32_memory(const std::vector<std::int32_t>& values) {
  std::vector<std::uint8_t> bytes(4 * values.size());
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return std::make_shared<Twin>(bytes);
}

// What an op with an NVFP4 output writes.
inline std::vector<Memory> written(const Nvfp4Twin& output, std::int32_t global_scale) {
  std::vector<Memory> memories = {output.codes, output.scales};
  if (global_scale == NVFP4J_GLOBAL_SCALE_DYNAMIC) memories.push_back(output.global_scales);
  return memories;
}

}  // namespace nvfp4j::test
