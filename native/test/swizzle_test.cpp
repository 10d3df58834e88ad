// SPDX-License-Identifier: Apache-2.0
// swizzle and unswizzle: the formula, its inverse, padding, strides; and offsets beyond 32 bits.
#include <set>

#include "common/tensor_checks.hpp"
#include "fixture.hpp"
#include "reference.hpp"

using namespace fixture;

namespace {

constexpr int32_t kSwizzled = NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4;

}  // namespace

TEST(offsets_are_the_formula_and_a_bijection) {
  for (const auto& [rows, blocks] :
       {std::pair<int64_t, int64_t>{1, 1}, {128, 4}, {129, 5}, {300, 17}, {31, 3}}) {
    std::set<int64_t> seen;
    const int64_t bytes = scale_bytes(rows, 16 * blocks, kSwizzled);
    for (int64_t m = 0; m < rows; ++m) {
      for (int64_t s = 0; s < blocks; ++s) {
        const int64_t offset = nvfp4j::scale_offset(kSwizzled, blocks, m, s);
        CHECK_EQ(offset, reference::scale_offset(kSwizzled, 16 * blocks, m, s));
        CHECK(offset >= 0 && offset < bytes);
        seen.insert(offset);
        // The same through the tile picture: [MT, KT, 32, 4, 4] of bytes, transposed.
        const int64_t tiles = (blocks + 3) / 4;
        const int64_t index[5] = {m / 128, s / 4, m % 32, m % 128 / 32, s % 4};
        CHECK_EQ(offset,
                 (((index[0] * tiles + index[1]) * 32 + index[2]) * 4 + index[3]) * 4 + index[4]);
      }
    }
    CHECK_EQ(static_cast<int64_t>(seen.size()), rows * blocks);
  }
}

TEST(sizes) {
  CHECK_EQ(scale_bytes(0, 64, kSwizzled), 0);
  CHECK_EQ(scale_bytes(1, 16, kSwizzled), 512);
  CHECK_EQ(scale_bytes(128, 64, kSwizzled), 512);
  CHECK_EQ(scale_bytes(129, 80, kSwizzled), 2048);
  CHECK_EQ(scale_bytes(7, 48, NVFP4J_SCALE_LAYOUT_LINEAR), 21);
  CHECK_EQ(scale_bytes(int64_t{1} << 40, 1024, kSwizzled), (int64_t{1} << 40) * 64);
  int64_t bytes = 0;
  CHECK_FAILS(nvfp4j_scale_bytes(INT64_MAX / 2, 16 * 1000, kSwizzled, &bytes, error),
              NVFP4J_ERROR_INVALID_ARGUMENT,
              "scale_bytes: rows, columns are 4611686018427387903, 16000: their scales do not fit "
              "the 64-bit address space");
}

TEST(offsets_beyond_32_bits) {
  // M * K = 2^36 elements: the last scale of the last row.
  const int64_t rows = int64_t{1} << 20;
  const int64_t blocks = 4096;
  CHECK_EQ(nvfp4j::scale_offset(kSwizzled, blocks, rows - 1, blocks - 1), rows * blocks - 1);
  CHECK_EQ(nvfp4j::scale_offset(NVFP4J_SCALE_LAYOUT_LINEAR, blocks, rows - 1, blocks - 1),
           rows * blocks - 1);
  CHECK_EQ(nvfp4j::scale_offset(kSwizzled, blocks, rows - 128, 0), (rows - 128) * blocks);
}

TEST(round_trip_with_strides_and_padding) {
  for (const int32_t threads : {1, 4}) {
    const Context context(threads);
    for (const auto& [rows, blocks, stride] : {std::tuple<int64_t, int64_t, int64_t>{1, 1, 1},
                                               {128, 4, 4},
                                               {129, 5, 9},
                                               {300, 17, 17},
                                               {1000, 448, 450}}) {
      Bytes linear(rows * stride);
      for (int64_t i = 0; i < linear.size(); ++i)
        linear[i] = static_cast<std::uint8_t>(generator()());
      Bytes swizzled(scale_bytes(rows, 16 * blocks, kSwizzled));
      const nvfp4j_tensor from = matrix(linear.data(), NVFP4J_DTYPE_U8, rows, blocks, stride);
      const nvfp4j_tensor tiles = tensor(swizzled.data(), NVFP4J_DTYPE_U8, {swizzled.size()});
      CHECK_OK(nvfp4j_swizzle(context, &from, &tiles, error));
      std::vector<std::uint8_t> expected(static_cast<std::size_t>(swizzled.size()), 0);
      for (int64_t m = 0; m < rows; ++m) {
        for (int64_t s = 0; s < blocks; ++s) {
          expected[static_cast<std::size_t>(
              reference::scale_offset(kSwizzled, 16 * blocks, m, s))] = linear[m * stride + s];
        }
      }
      CHECK(std::memcmp(expected.data(), swizzled.data(), expected.size()) == 0);

      Bytes back(rows * stride);
      const nvfp4j_tensor to = matrix(back.data(), NVFP4J_DTYPE_U8, rows, blocks, stride);
      CHECK_OK(nvfp4j_unswizzle(context, &tiles, &to, error));
      int64_t wrong = 0;
      for (int64_t i = 0; i < back.size(); ++i)
        wrong += back[i] != (i % stride < blocks ? linear[i] : 0xA5);
      CHECK_EQ(wrong, 0);
    }
  }
}

int main(int count, char** arguments) { return check::main(count, arguments); }
