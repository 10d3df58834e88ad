// SPDX-License-Identifier: Apache-2.0
// copy on the CPU: shapes, strides, rejections. (Copies to and from a GPU are the GPU tests'.)
#include "fixture.hpp"

using namespace fixture;

namespace {

constexpr int32_t kInvalid = NVFP4J_ERROR_INVALID_ARGUMENT;

Bytes random_bytes(int64_t size) {
  Bytes bytes(size);
  for (int64_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(generator()());
  return bytes;
}

}  // namespace

TEST(rows_with_strides) {
  for (const int32_t threads : {1, 3}) {
    const Context context(threads);
    for (const int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F16,
                                NVFP4J_DTYPE_U8, NVFP4J_DTYPE_I32, NVFP4J_DTYPE_I64}) {
      const int64_t element = element_bytes(dtype);
      for (const auto& [rows, columns, from_stride, to_stride] :
           {std::tuple<int64_t, int64_t, int64_t, int64_t>{1, 1, 1, 1},
            {7, 33, 40, 33},
            {7, 33, 33, 50},
            {5, 3, 8, 9},
            {3, 400000, 400000, 400001}}) {
        const Bytes from = random_bytes(rows * from_stride * element);
        const Bytes to(rows * to_stride * element);
        const nvfp4j_tensor source = matrix(from.data(), dtype, rows, columns, from_stride);
        const nvfp4j_tensor destination = matrix(to.data(), dtype, rows, columns, to_stride);
        CHECK_OK(nvfp4j_copy(context, &source, &destination, error));
        int64_t wrong = 0;
        for (int64_t m = 0; m < rows; ++m) {
          for (int64_t i = 0; i < to_stride * element; ++i) {
            wrong += to[m * to_stride * element + i] !=
                     (i < columns * element ? from[m * from_stride * element + i] : 0xA5);
          }
        }
        CHECK_EQ(wrong, 0);
      }
    }
  }
}

TEST(any_rank_contiguous) {
  const Context context;
  const Bytes from = random_bytes(2 * 3 * 4 * 5 * 4);
  for (const auto& shape : {std::initializer_list<int64_t>{},
                            {120},
                            {10, 12},
                            {2, 3, 20},
                            {2, 3, 4, 5},
                            {1, 120, 1, 1}}) {
    const Bytes to(from.size());
    const nvfp4j_tensor source = tensor(from.data(), NVFP4J_DTYPE_F32, shape);
    const nvfp4j_tensor destination = tensor(to.data(), NVFP4J_DTYPE_F32, shape);
    CHECK_OK(nvfp4j_copy(context, &source, &destination, error));
    const std::size_t bytes = shape.size() == 0 ? 4 : static_cast<std::size_t>(from.size());
    CHECK(std::memcmp(from.data(), to.data(), bytes) == 0);
    if (shape.size() == 0) CHECK_EQ(to[4], std::uint8_t{0xA5});
  }
}

TEST(nothing_to_copy) {
  const Context context;
  for (const auto& shape : {std::initializer_list<int64_t>{0}, {0, 5}, {5, 0}, {2, 0, 3}}) {
    const nvfp4j_tensor empty = tensor(nullptr, NVFP4J_DTYPE_BF16, shape);
    CHECK_OK(nvfp4j_copy(context, &empty, &empty, error));
  }
}

TEST(recorded) {
  const Context context;
  const Bytes from = random_bytes(64);
  const Bytes to(64);
  const nvfp4j_tensor source = tensor(from.data(), NVFP4J_DTYPE_U8, {64});
  const nvfp4j_tensor destination = tensor(to.data(), NVFP4J_DTYPE_U8, {64});
  nvfp4j_cpu_graph* graph = nullptr;
  CHECK_OK(nvfp4j_cpu_capture_begin(context, error));
  CHECK_OK(nvfp4j_copy(context, &source, &destination, error));
  CHECK_OK(nvfp4j_cpu_capture_end(context, &graph, error));
  CHECK_EQ(to[0], std::uint8_t{0xA5});
  CHECK_OK(nvfp4j_cpu_graph_launch(context, graph, error));
  CHECK(std::memcmp(from.data(), to.data(), 64) == 0);
  CHECK_OK(nvfp4j_cpu_graph_destroy(graph, error));
}

TEST(rejections) {
  const Context context;
  const Bytes from = random_bytes(4096);
  const Bytes to(4096);
  const nvfp4j_tensor good = tensor(from.data(), NVFP4J_DTYPE_F32, {4, 8});
  const nvfp4j_tensor target = tensor(to.data(), NVFP4J_DTYPE_F32, {4, 8});
  CHECK_OK(nvfp4j_copy(context, &good, &target, error));
  const auto refused = [&](auto change, const char* message) {
    nvfp4j_tensor source = good;
    nvfp4j_tensor destination = target;
    change(source, destination);
    CHECK_FAILS(nvfp4j_copy(context, &source, &destination, error), kInvalid, message);
  };
  using T = nvfp4j_tensor&;
  refused([](T s, T) { s.struct_size = 1; },
          "copy: source.struct_size is 1, expected 88 (ABI version " NVFP4J_ABI_TEXT ")");
  refused([](T, T d) { d.struct_size = 1; },
          "copy: destination.struct_size is 1, expected 88 (ABI version " NVFP4J_ABI_TEXT ")");
  refused([](T s, T) { s.dtype = 9; },
          "copy: source.dtype is 9, expected 0 to 5 (F32, BF16, F16, U8, I32, I64)");
  refused([](T, T d) { d.memory = 9; },
          "copy: destination.memory is 9, expected 0 to 2 (HOST, PINNED, DEVICE)");
  refused([](T, T d) { d.memory = NVFP4J_MEMORY_DEVICE; },
          "copy: destination is in DEVICE memory, expected HOST or PINNED (the context's device is "
          "cpu)");
  refused([](T s, T) { s.rank = 7; }, "copy: source.rank is 7, expected 0 to 4");
  refused([](T s, T) { s.shape[1] = -8; }, "copy: source.shape[1] is -8, expected 0 or more");
  refused([](T, T d) { d.dtype = NVFP4J_DTYPE_I32; },
          "copy: destination has dtype I32, expected F32 (the dtype of source)");
  refused([](T, T d) { d.rank = 1, d.stride[0] = 1; },
          "copy: destination has rank 1, expected 2 (the rank of source)");
  refused([](T, T d) { d.shape[0] = 3; },
          "copy: destination.shape[0] is 3, expected 4 (the shape of source)");
  refused([](T s, T) { s.stride[1] = 2; }, "copy: source has column stride 2, expected 1");
  refused([](T, T d) { d.stride[0] = 7; },
          "copy: destination has row stride 7, expected 8 or more");
  refused([](T s, T) { s.data = nullptr; },
          "copy: source has no memory (data is NULL), expected 128 bytes");
  refused([](T s, T) { s.data = reinterpret_cast<void*>(0x1002); },
          "copy: source is at address 0x1002, expected a multiple of 4 bytes");
  refused([](T s, T) { s.stride[0] = INT64_MAX / 4; },
          "copy: source with shape [4, 8] and dtype F32 does not fit the 64-bit address space");
  refused(
      [](T s, T d) {
        for (nvfp4j_tensor* t : {&s, &d})
          t->rank = 3, t->shape[2] = 2, t->stride[2] = 1, t->stride[1] = 2, t->stride[0] = 17;
      },
      "copy: source has stride 17 along dimension 0 of 3, expected 16: only rank 2 may be strided");
  refused(
      [](T s, T) {
        s.rank = 3, s.shape[0] = s.shape[1] = s.shape[2] = int64_t{1} << 40, s.stride[2] = 1,
        s.stride[1] = int64_t{1} << 40;
      },
      "copy: source does not fit the 64-bit address space");
  nvfp4j_tensor source = good;
  nvfp4j_tensor destination = target;
  destination.data = from.data() + 124;
  CHECK_EQ(nvfp4j_copy(context, &source, &destination, nullptr), kInvalid);
  destination.data = from.data() + 128;
  CHECK_OK(nvfp4j_copy(context, &source, &destination, error));
  CHECK_FAILS(nvfp4j_copy(nullptr, &source, &target, error), kInvalid,
              "copy: context is NULL, expected a context");
  CHECK_FAILS(nvfp4j_copy(context, nullptr, &target, error), kInvalid,
              "copy: source is NULL, expected a structure");
  CHECK_FAILS(nvfp4j_copy(context, &source, nullptr, error), kInvalid,
              "copy: destination is NULL, expected a structure");
}

int main(int count, char** arguments) { return check::main(count, arguments); }
