// SPDX-License-Identifier: Apache-2.0
#include "ops/hc_post/hc_post_cpu.hpp"

#include <algorithm>

#include "ops/hc_post/hc_post_row.hpp"

namespace nvfp4j {

void hc_post_cpu(CpuPool& pool, DeviceStatus&, const HcPostArgs& args) {
  constexpr std::int64_t kGrainElements = 65536;
  const HcKernels& kernels = hc_kernels[static_cast<int>(cpu_isa())];
  const std::int64_t columns = args.shape.columns;
  const std::int64_t segments = (columns + kHcSegment - 1) / kHcSegment;
  const std::int64_t grain = std::max<std::int64_t>(
      1, kGrainElements / (args.shape.n * std::min<std::int64_t>(columns, kHcSegment)));
  pool.run(
      args.shape.tokens * segments, grain, [&](int, std::int64_t begin, std::int64_t end) noexcept {
        for (std::int64_t unit = begin; unit < end; ++unit) {
          const std::int64_t from = unit % segments * kHcSegment;
          hc_post_columns(kernels, args, unit / segments, from,
                          static_cast<int>(std::min<std::int64_t>(kHcSegment, columns - from)));
        }
      });
}

const char* hc_post_cpu_path() {
  static constexpr const char* paths[kCpuIsaCount] = {"cpu: hc_post_cpu, x86-64 baseline (no AVX2)",
                                                      "cpu: hc_post_cpu, x86-64-v3 (AVX2)",
                                                      "cpu: hc_post_cpu, x86-64-v4 (AVX-512)"};
  return paths[static_cast<int>(cpu_isa())];
}

}  // namespace nvfp4j
