// SPDX-License-Identifier: Apache-2.0
#include "ops/dequantize/dequantize_cpu.hpp"

#include <algorithm>
#include <cstring>

#include "common/faults.hpp"
#include "common/float_formats.hpp"
#include "common/math.hpp"
#include "common/names.hpp"
#include "common/tensor_checks.hpp"

namespace nvfp4j {
namespace {

namespace baseline {
#include "ops/dequantize/dequantize_kernels.inl"
}  // namespace baseline

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace v3 {
#include "ops/dequantize/dequantize_kernels.inl"
}  // namespace v3
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
namespace v4 {
#include "ops/dequantize/dequantize_kernels.inl"
}  // namespace v4
#pragma GCC pop_options

constexpr std::int64_t kSegmentBlocks = 256;
constexpr std::int64_t kGrainElements = 32768;

struct E4m3Table {
  float value[256];
  E4m3Table() {
    for (std::uint32_t i = 0; i < 256; ++i) value[i] = e4m3_to_f32(i);
  }
};

}  // namespace

const DequantizeKernel dequantize_kernels[kCpuIsaCount] = {baseline::decode, v3::decode,
                                                           v4::decode};

void dequantize_cpu(CpuPool& pool, DeviceStatus& status, const DequantizeArgs& args) {
  static const E4m3Table table;
  const DequantizeKernel decode = dequantize_kernels[static_cast<int>(cpu_isa())];
  const std::int64_t blocks = args.columns / 16;
  const std::int64_t segments = (blocks + kSegmentBlocks - 1) / kSegmentBlocks;
  const std::int64_t element = dtype_bytes(args.dtype);
  const std::int64_t grain =
      std::max<std::int64_t>(1, kGrainElements / std::min(args.columns, 16 * kSegmentBlocks));
  Faults faults;
  pool.run(args.rows * segments, grain, [&](int, std::int64_t begin, std::int64_t end) noexcept {
    float factors[kSegmentBlocks];
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const std::int64_t row = unit / segments;
      const std::int64_t first = unit % segments * kSegmentBlocks;
      const std::int64_t count = std::min(kSegmentBlocks, blocks - first);
      const float global_scale =
          args.global_scales[args.global_scale_kind == NVFP4J_GLOBAL_SCALE_ROW ? row : 0];
      std::int64_t bad = -1;
      for (std::int64_t b = 0; b < count; ++b) {
        const std::uint8_t scale =
            args.scales[scale_offset(args.scale_layout, blocks, row, first + b)];
        factors[b] = table.value[scale] * global_scale;
        if (scale >= 0x7F && bad < 0) bad = b;
      }
      if (bad >= 0) [[unlikely]]
        faults.report(NVFP4J_CAUSE_BAD_BLOCK_SCALE, row, 16 * (first + bad));
      std::uint8_t* out = static_cast<std::uint8_t*>(args.output) +
                          (row * args.output_stride + 16 * first) * element;
      decode(args.codes + row * (args.columns / 2) + 8 * first, factors, count, out, args.dtype);
    }
  });
  faults.publish(status, NVFP4J_OP_DEQUANTIZE);
}

const char* dequantize_cpu_path() {
  static constexpr const char* paths[kCpuIsaCount] = {
      "cpu: dequantize_cpu, x86-64 baseline (no AVX2)", "cpu: dequantize_cpu, x86-64-v3 (AVX2)",
      "cpu: dequantize_cpu, x86-64-v4 (AVX-512)"};
  return paths[static_cast<int>(cpu_isa())];
}

}  // namespace nvfp4j
