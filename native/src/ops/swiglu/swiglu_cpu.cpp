// SPDX-License-Identifier: Apache-2.0
#include "ops/swiglu/swiglu_cpu.hpp"

#include <algorithm>

#include "common/names.hpp"
#include "ops/swiglu/swiglu_kernels.hpp"

namespace nvfp4j {
namespace {

constexpr std::int64_t kSegment = 4096;
constexpr std::int64_t kGrainElements = 16384;

}  // namespace

void swiglu_cpu(CpuPool& pool, DeviceStatus&, const SwigluArgs& args) {
  const SwigluKernel kernel = swiglu_kernels[static_cast<int>(cpu_isa())];
  const std::int64_t columns = args.input.columns;
  const std::int64_t segments = (columns + kSegment - 1) / kSegment;
  const std::int64_t element = dtype_bytes(args.input.dtype);
  const std::int64_t grain =
      std::max<std::int64_t>(1, kGrainElements / std::min(columns, kSegment));
  pool.run(
      args.input.rows * segments, grain, [&](int, std::int64_t begin, std::int64_t end) noexcept {
        for (std::int64_t unit = begin; unit < end; ++unit) {
          const std::int64_t row = unit / segments;
          const std::int64_t from = unit % segments * kSegment;
          std::uint8_t* out =
              static_cast<std::uint8_t*>(args.output) + (row * args.output_stride + from) * element;
          kernel(args.input, row, from, std::min(kSegment, columns - from), out, false);
        }
      });
}

const char* swiglu_cpu_path() {
  static constexpr const char* paths[kCpuIsaCount] = {"cpu: swiglu_cpu, x86-64 baseline (no AVX2)",
                                                      "cpu: swiglu_cpu, x86-64-v3 (AVX2)",
                                                      "cpu: swiglu_cpu, x86-64-v4 (AVX-512)"};
  return paths[static_cast<int>(cpu_isa())];
}

}  // namespace nvfp4j
