// SPDX-License-Identifier: Apache-2.0
#include "ops/quantize/quantize_cpu.hpp"

#include "common/float_formats.hpp"
#include "common/names.hpp"
#include "ops/quantize/quantize_rows.hpp"

namespace nvfp4j {
namespace {

class TensorRows {
 public:
  explicit TensorRows(const QuantizeArgs& args)
      : args_(args),
        element_(dtype_bytes(args.dtype)),
        base_(static_cast<const std::uint8_t*>(args.input)) {}

  int dtype() const noexcept { return args_.dtype; }

  bool has_row(std::int64_t row) const noexcept {
    return args_.gather == nullptr ||
           (args_.gather[row] >= 0 && args_.gather[row] < args_.input_rows);
  }

  const void* segment(std::int64_t row, std::int64_t from, std::int64_t, float*) const noexcept {
    const std::int64_t source = args_.gather == nullptr ? row : args_.gather[row];
    return base_ + (source * args_.input_stride + from) * element_;
  }

 private:
  const QuantizeArgs& args_;
  const std::int64_t element_;
  const std::uint8_t* base_;
};

}  // namespace

void quantize_cpu(CpuPool& pool, DeviceStatus& status, const QuantizeArgs& args) {
  const TensorRows rows(args);
  RowQuantizer(pool, rows, args.rows, args.columns, args.recipe, args.output)
      .run(status, NVFP4J_OP_QUANTIZE);
}

const char* quantize_cpu_path() {
  static constexpr const char* paths[kCpuIsaCount] = {
      "cpu: quantize_cpu, x86-64 baseline (no AVX2)", "cpu: quantize_cpu, x86-64-v3 (AVX2)",
      "cpu: quantize_cpu, x86-64-v4 (AVX-512)"};
  return paths[static_cast<int>(cpu_isa())];
}

std::int64_t first_non_finite(const void* x, int dtype, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    std::uint32_t exponent;  // all ones where the element is not finite
    if (dtype == NVFP4J_DTYPE_F32) {
      exponent = ~bits_of(static_cast<const float*>(x)[i]) & 0x7F800000;
    } else {
      const std::uint32_t mask = dtype == NVFP4J_DTYPE_BF16 ? 0x7F80 : 0x7C00;
      exponent = ~static_cast<std::uint32_t>(static_cast<const std::uint16_t*>(x)[i]) & mask;
    }
    if (exponent == 0) return i;
  }
  return n;
}

void store_scales(const QuantizeOutput& output, std::int64_t blocks, std::int64_t m,
                  std::int64_t first, std::int64_t count, const std::uint8_t* scales) {
  if (output.scale_layout == NVFP4J_SCALE_LAYOUT_LINEAR) {
    std::memcpy(output.scales + m * blocks + first, scales, static_cast<std::size_t>(count));
    return;
  }
  for (std::int64_t s = 0; s < count; s += 4) {
    std::uint8_t group[4] = {};
    std::memcpy(group, scales + s, static_cast<std::size_t>(std::min<std::int64_t>(4, count - s)));
    std::memcpy(output.scales + scale_offset(output.scale_layout, blocks, m, first + s), group, 4);
  }
}

void zero_padding_rows(const QuantizeOutput& output, std::int64_t rows, std::int64_t blocks) {
  for (std::int64_t m = rows; m % 128 != 0; ++m) {
    for (std::int64_t s = 0; s < blocks; s += 4) {
      std::memset(output.scales + scale_offset(output.scale_layout, blocks, m, s), 0, 4);
    }
  }
}

}  // namespace nvfp4j
