// SPDX-License-Identifier: Apache-2.0
// Contexts, descriptors and memory for tests of the C ABI.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "check.hpp"
#include "nvfp4j/nvfp4j.h"

/// NVFP4J_ABI_VERSION as a string literal.
#define NVFP4J_TEXT_OF(x) #x
#define NVFP4J_TEXT(x) NVFP4J_TEXT_OF(x)
#define NVFP4J_ABI_TEXT NVFP4J_TEXT(NVFP4J_ABI_VERSION)

namespace fixture {

/// What a call said.
struct Outcome {
  int32_t status;
  std::string message;
};

/// Calls an entry point with an error record of its own.
template <class Call>
Outcome outcome(const Call& call) {
  nvfp4j_error error;
  std::memset(&error, 0, sizeof error);
  error.struct_size = sizeof error;
  const int32_t status = call(&error);
  if (status != NVFP4J_OK && error.status != status) {
    check::failed(
        __FILE__, __LINE__,
        "the record's status differs from the returned one: " + std::string(error.message));
  }
  return {status, error.message};
}

#define CHECK_OK(expression)                                                   \
  do {                                                                         \
    const fixture::Outcome checked_ =                                          \
        fixture::outcome([&](nvfp4j_error* error) { return expression; });     \
    check::equal(__FILE__, __LINE__, #expression, checked_.message, "");       \
    check::equal(__FILE__, __LINE__, #expression, checked_.status, NVFP4J_OK); \
  } while (false)

/// The expression uses `error`.
#define CHECK_FAILS(expression, expected_status, expected_message)                   \
  do {                                                                               \
    const fixture::Outcome checked_ =                                                \
        fixture::outcome([&](nvfp4j_error* error) { return expression; });           \
    check::equal(__FILE__, __LINE__, "message", checked_.message, expected_message); \
    check::equal(__FILE__, __LINE__, #expression, checked_.status, expected_status); \
  } while (false)

class Context {
 public:
  explicit Context(int32_t threads = 1) {
    nvfp4j_context_options options{};
    options.struct_size = sizeof options;
    options.device = NVFP4J_DEVICE_CPU;
    options.threads = threads;
    CHECK_OK(nvfp4j_context_create(&options, &context_, error));
    if (context_ == nullptr) throw std::runtime_error("no context");
  }
  ~Context() { CHECK_OK(nvfp4j_context_destroy(context_, error)); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  operator nvfp4j_context*() const { return context_; }

 private:
  nvfp4j_context* context_ = nullptr;
};

/// Memory between two inaccessible pages, its end (or its begin) against one of them.
class GuardedMemory {
 public:
  /// `at_end`: the byte behind the last one is inaccessible; else the byte before the first.
  explicit GuardedMemory(std::size_t bytes, bool at_end = true) {
    const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t body = (bytes + page - 1) / page * page;
    mapped_ = body + 2 * page;
    void* address = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (address == MAP_FAILED) throw std::runtime_error("mmap");
    base_ = static_cast<std::uint8_t*>(address);
    if (body != 0 && mprotect(base_ + page, body, PROT_READ | PROT_WRITE) != 0)
      throw std::runtime_error("mprotect");
    data_ = base_ + page + (at_end ? body - bytes : 0);
  }
  ~GuardedMemory() { munmap(base_, mapped_); }
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;
  std::uint8_t* data() const { return data_; }

 private:
  std::size_t mapped_;
  std::uint8_t* base_;
  std::uint8_t* data_;
};

inline int64_t element_bytes(int32_t dtype) {
  return dtype == NVFP4J_DTYPE_U8                                  ? 1
         : dtype == NVFP4J_DTYPE_I64                               ? 8
         : dtype == NVFP4J_DTYPE_BF16 || dtype == NVFP4J_DTYPE_F16 ? 2
                                                                   : 4;
}

/// A contiguous tensor.
inline nvfp4j_tensor tensor(void* data, int32_t dtype, std::initializer_list<int64_t> shape) {
  nvfp4j_tensor t{};
  t.struct_size = sizeof t;
  t.dtype = dtype;
  t.memory = NVFP4J_MEMORY_HOST;
  t.rank = static_cast<int32_t>(shape.size());
  t.data = data;
  int i = 0;
  for (int64_t extent : shape) t.shape[i++] = extent;
  int64_t stride = 1;
  for (i = t.rank - 1; i >= 0; --i) {
    t.stride[i] = stride;
    stride *= t.shape[i];
  }
  return t;
}

inline nvfp4j_tensor matrix(void* data, int32_t dtype, int64_t rows, int64_t columns,
                            int64_t row_stride) {
  nvfp4j_tensor t = tensor(data, dtype, {rows, columns});
  t.stride[0] = row_stride;
  return t;
}

/// 64-byte aligned bytes, poisoned so that what an op does not write is seen. Behind them lie 64 KiB
/// of nobody's: a tensor that a test puts onto the last byte overlaps no other buffer by chance.
class Bytes {
 public:
  explicit Bytes(int64_t size) : size_(size) {
    data_ = static_cast<std::uint8_t*>(
        std::aligned_alloc(64, static_cast<std::size_t>((size + 127) / 64 * 64 + 65536)));
    std::memset(data_, 0xA5, static_cast<std::size_t>(size));
  }
  ~Bytes() { std::free(data_); }
  Bytes(Bytes&& other) noexcept : size_(other.size_), data_(other.data_) { other.data_ = nullptr; }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;
  std::uint8_t* data() const { return data_; }
  int64_t size() const { return size_; }
  std::uint8_t& operator[](int64_t i) const { return data_[i]; }
  bool operator==(const Bytes& other) const {
    return size_ == other.size_ &&
           std::memcmp(data_, other.data_, static_cast<std::size_t>(size_)) == 0;
  }

 private:
  int64_t size_;
  std::uint8_t* data_;
};

inline int64_t scale_bytes(int64_t rows, int64_t columns, int32_t layout) {
  int64_t bytes = -1;
  CHECK_OK(nvfp4j_scale_bytes(rows, columns, layout, &bytes, error));
  return bytes;
}

inline int64_t codes_bytes(int64_t rows, int64_t columns, int32_t layout) {
  int64_t bytes = -1;
  CHECK_OK(nvfp4j_codes_bytes(rows, columns, layout, &bytes, error));
  return bytes;
}

inline int64_t global_scale_count(int32_t kind, int64_t groups, int64_t rows) {
  return kind == NVFP4J_GLOBAL_SCALE_ROW      ? rows
         : kind == NVFP4J_GLOBAL_SCALE_GROUP  ? groups
         : kind == NVFP4J_GLOBAL_SCALE_HALVES ? 2 * groups
                                              : 1;
}

/// An NVFP4 tensor with its buffers.
struct Nvfp4 {
  Nvfp4(int64_t rows, int64_t columns, int32_t layout = NVFP4J_SCALE_LAYOUT_LINEAR,
        int32_t kind = NVFP4J_GLOBAL_SCALE_TENSOR, int64_t groups = 1)
      : codes(codes_bytes(groups * rows, columns, layout)),
        scales(groups * scale_bytes(rows, columns, layout)),
        global_scales(4 * global_scale_count(kind, groups, rows)) {
    descriptor.struct_size = sizeof descriptor;
    descriptor.memory = NVFP4J_MEMORY_HOST;
    descriptor.scale_layout = layout;
    descriptor.global_scale_kind = kind;
    descriptor.groups = groups;
    descriptor.rows = rows;
    descriptor.columns = columns;
    descriptor.codes = codes.data();
    descriptor.codes_bytes = codes.size();
    descriptor.scales = scales.size() != 0 ? scales.data() : nullptr;
    descriptor.scales_bytes = scales.size();
    descriptor.global_scales = global_scales.data();
    descriptor.global_scales_count = global_scales.size() / 4;
  }
  float* gs() const { return reinterpret_cast<float*>(global_scales.data()); }
  bool operator==(const Nvfp4& other) const {
    return codes == other.codes && scales == other.scales && global_scales == other.global_scales;
  }

  Bytes codes;
  Bytes scales;
  Bytes global_scales;
  nvfp4j_nvfp4_tensor descriptor{};
};

inline nvfp4j_quantize_options quantize_options(int32_t global_scale = NVFP4J_GLOBAL_SCALE_DYNAMIC,
                                                int32_t recipe = NVFP4J_RECIPE_EXACT,
                                                int32_t zero_scale = NVFP4J_ZERO_SCALE_MIN) {
  return {sizeof(nvfp4j_quantize_options), global_scale, recipe, zero_scale};
}

inline nvfp4j_swiglu_options swiglu_options(int32_t columns = NVFP4J_SWIGLU_HALVES,
                                            float limit = 10.0f) {
  return {sizeof(nvfp4j_swiglu_options), columns, limit, 0};
}

inline nvfp4j_gemm_options gemm_options(bool swiglu = false, float limit = 10.0f) {
  return {sizeof(nvfp4j_gemm_options), 0, swiglu ? 1 : 0, limit, NVFP4J_GEMM_PATH_AUTO, 0};
}

inline nvfp4j_status_record status_record() {
  nvfp4j_status_record record;
  std::memset(&record, 0x5A, sizeof record);
  record.struct_size = sizeof record;
  return record;
}

/// The program's generator. Its seed is printed, and taken from NVFP4J_TEST_SEED where that is set.
inline std::mt19937_64& generator() {
  static std::mt19937_64 g = [] {
    const char* text = std::getenv("NVFP4J_TEST_SEED");
    const std::uint64_t seed =
        text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device{}();
    std::printf("NVFP4J_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
    return std::mt19937_64(seed);
  }();
  return g;
}

}  // namespace fixture
