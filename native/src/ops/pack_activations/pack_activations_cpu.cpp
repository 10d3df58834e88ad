// SPDX-License-Identifier: Apache-2.0
#include "ops/pack_activations/pack_activations_cpu.hpp"

#include <algorithm>
#include <cstring>

#include "common/faults.hpp"
#include "common/float_formats.hpp"
#include "nvfp4j/tensor.h"
#include "ops/dequantize/dequantize_cpu.hpp"

namespace nvfp4j {
namespace {

constexpr std::int64_t kSegmentBlocks = 256;
constexpr std::int64_t kGrainElements = 32768;

// As the matrix products count them: what is no positive number is NaN.
struct ScaleTable {
  float value[256];
  ScaleTable() {
    for (std::uint32_t i = 0; i < 256; ++i)
      value[i] = i < 0x7F ? e4m3_magnitude_to_f32(i) : float_of(kNan);
  }
};

}  // namespace

void pack_activations_cpu(CpuPool& pool, DeviceStatus& status, const PackActivationsArgs& args) {
  static const ScaleTable table;
  // A block scale without the global one as its factor: the products are exact in BF16.
  const DequantizeKernel decode = dequantize_kernels[static_cast<int>(cpu_isa())];
  const std::int64_t blocks = args.k / 16;
  const std::int64_t segments = (blocks + kSegmentBlocks - 1) / kSegmentBlocks;
  const std::int64_t grain =
      std::max<std::int64_t>(1, kGrainElements / std::min(args.k, 16 * kSegmentBlocks));
  Faults faults;
  pool.run(args.m * segments, grain, [&](int, std::int64_t begin, std::int64_t end) noexcept {
    float factors[kSegmentBlocks];
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const std::int64_t row = unit / segments;
      const std::int64_t first = unit % segments * kSegmentBlocks;
      const std::int64_t count = std::min(kSegmentBlocks, blocks - first);
      const std::int64_t at = row * blocks + first;
      std::int64_t bad = -1;
      for (std::int64_t b = 0; b < count; ++b) {
        const std::uint8_t scale = args.scales[at + b];
        factors[b] = table.value[scale];
        if (scale >= 0x7F && bad < 0) bad = b;
      }
      if (bad >= 0) [[unlikely]]
        faults.report(NVFP4J_CAUSE_BAD_BLOCK_SCALE, row, 16 * (first + bad));
      decode(args.codes + 8 * at, factors, count, args.packed + 16 * at, NVFP4J_DTYPE_BF16);
    }
  });
  std::memcpy(args.packed_global_scales, args.global_scales,
              static_cast<std::size_t>(args.global_scales_count) * 4);
  faults.publish(status, NVFP4J_OP_PACK_ACTIVATIONS);
}

const char* pack_activations_cpu_path() {
  static constexpr const char* paths[kCpuIsaCount] = {
      "cpu: pack_activations_cpu, x86-64 baseline (no AVX2)",
      "cpu: pack_activations_cpu, x86-64-v3 (AVX2)",
      "cpu: pack_activations_cpu, x86-64-v4 (AVX-512)"};
  return paths[static_cast<int>(cpu_isa())];
}

}  // namespace nvfp4j
