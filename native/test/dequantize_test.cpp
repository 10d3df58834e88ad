// SPDX-License-Identifier: Apache-2.0
// dequantize on the CPU against the definition, bit for bit, for every code, every scale byte
// and awkward global scales.
#include "ops/dequantize/dequantize_cpu.hpp"

#include "fixture.hpp"
#include "reference.hpp"

using namespace fixture;

namespace {

// A tensor whose blocks go through all scale bytes and whose codes go through all 16.
Nvfp4 every_scale(int64_t rows, int64_t columns, int32_t layout, int32_t kind, bool bad_scales) {
  Nvfp4 x(rows, columns, layout, kind);
  for (int64_t i = 0; i < x.codes.size(); ++i)
    x.codes[i] = static_cast<std::uint8_t>(i * 37 + i / 8 * 11);
  for (int64_t m = 0; m < rows; ++m) {
    for (int64_t s = 0; s < columns / 16; ++s) {
      const int64_t n = m * (columns / 16) + s;
      x.scales[reference::scale_offset(layout, columns, m, s)] =
          static_cast<std::uint8_t>(bad_scales ? n : n % 0x7F);
    }
  }
  return x;
}

// What element (m, k) decodes to, as bits of `dtype`.
std::uint32_t expected_bits(const Nvfp4& x, int64_t m, int64_t k, int32_t dtype) {
  const nvfp4j_nvfp4_tensor& d = x.descriptor;
  const int code = x.codes[(m * d.columns + k) / 2] >> (k % 2 * 4) & 15;
  const int byte = x.scales[reference::scale_offset(d.scale_layout, d.columns, m, k / 16)];
  const float gs = x.gs()[d.global_scale_kind == NVFP4J_GLOBAL_SCALE_ROW ? m : 0];
  const float factor = static_cast<float>(reference::e4m3_value(byte)) * gs;
  const float y = reference::canonical(reference::e2m1_value(code) * factor);
  return dtype == NVFP4J_DTYPE_F32 ? reference::to_bits(y) : reference::round16(y, dtype);
}

void check_all(nvfp4j_context* context, const Nvfp4& x, int32_t dtype, int64_t stride) {
  const nvfp4j_nvfp4_tensor& d = x.descriptor;
  Bytes y(d.rows * stride * element_bytes(dtype));
  const nvfp4j_tensor output = matrix(y.data(), dtype, d.rows, d.columns, stride);
  CHECK_OK(nvfp4j_dequantize(context, &d, &output, error));
  int64_t wrong = 0;
  int64_t touched = 0;
  for (int64_t m = 0; m < d.rows; ++m) {
    for (int64_t k = 0; k < stride; ++k) {
      const int64_t i = m * stride + k;
      const std::uint32_t actual = dtype == NVFP4J_DTYPE_F32
                                       ? reinterpret_cast<const std::uint32_t*>(y.data())[i]
                                       : reinterpret_cast<const std::uint16_t*>(y.data())[i];
      const std::uint32_t poison = dtype == NVFP4J_DTYPE_F32 ? 0xA5A5A5A5 : 0xA5A5;
      if (k < d.columns) {
        wrong += actual != expected_bits(x, m, k, dtype);
      } else {
        touched += actual != poison;
      }
    }
  }
  CHECK_EQ(wrong, 0);
  CHECK_EQ(touched, 0);
}

}  // namespace

TEST(every_code_and_scale) {
  const Context context(2);
  for (const int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F16}) {
    for (const int32_t layout : {NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4}) {
      for (const auto& [rows, columns] :
           {std::pair<int64_t, int64_t>{1, 16}, {37, 208}, {130, 80}, {3, 4112}}) {
        Nvfp4 whole = every_scale(rows, columns, layout, NVFP4J_GLOBAL_SCALE_TENSOR, false);
        for (const float gs : {1.0f, 3.7e-4f, 1e-38f, 1e-44f, 24.3f, 1e36f, 3e38f, -2.5f}) {
          whole.gs()[0] = gs;
          check_all(context, whole, dtype, columns);
        }
        Nvfp4 by_row = every_scale(rows, columns, layout, NVFP4J_GLOBAL_SCALE_ROW, false);
        for (int64_t m = 0; m < rows; ++m)
          by_row.gs()[m] =
              std::ldexp(1.0f + static_cast<float>(m) / 256, static_cast<int>(m % 30) - 20);
        check_all(context, by_row, dtype, columns + 5);
      }
    }
  }
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
}

TEST(global_scales_are_used_as_they_are) {
  const Context context;
  Nvfp4 x = every_scale(4, 64, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_TENSOR, false);
  for (const float gs : {INFINITY, -INFINITY, reference::from_bits(0xFFC00123), 0.0f, -0.0f}) {
    x.gs()[0] = gs;
    for (const int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F16})
      check_all(context, x, dtype, 64);
  }
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
}

TEST(bad_block_scales_decode_as_e4m3_and_are_reported) {
  const Context context(3);
  Nvfp4 x =
      every_scale(16, 256, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4, NVFP4J_GLOBAL_SCALE_TENSOR, true);
  x.gs()[0] = 0.75f;
  for (const int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F16}) {
    check_all(context, x, dtype, 256);
    nvfp4j_status_record record = status_record();
    // Byte 0x7F is block 127: row 7, block 15.
    CHECK_FAILS(nvfp4j_context_synchronize(context, &record, error), NVFP4J_ERROR_REPORTED,
                "dequantize: BAD_BLOCK_SCALE: a block scale byte is NaN or has its sign bit set, "
                "first seen at row 7, column 240");
    CHECK_EQ(record.causes[NVFP4J_OP_DEQUANTIZE], std::uint64_t{1} << NVFP4J_CAUSE_BAD_BLOCK_SCALE);
  }
}

TEST(every_instruction_set_gives_the_same_bits) {
  using namespace nvfp4j;
  const int64_t blocks = 77;
  Bytes codes(8 * blocks);
  for (int64_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>(generator()());
  std::vector<float> factors;
  for (int64_t b = 0; b < blocks; ++b)
    factors.push_back(reference::from_bits(static_cast<std::uint32_t>(generator()())));
  for (const int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F16}) {
    Bytes first(16 * blocks * element_bytes(dtype));
    dequantize_kernels[0](codes.data(), factors.data(), blocks, first.data(), dtype);
    for (int isa = 1; isa <= static_cast<int>(cpu_isa()); ++isa) {
      Bytes other(first.size());
      dequantize_kernels[isa](codes.data(), factors.data(), blocks, other.data(), dtype);
      CHECK(first == other);
    }
  }
}

int main(int count, char** arguments) { return check::main(count, arguments); }
