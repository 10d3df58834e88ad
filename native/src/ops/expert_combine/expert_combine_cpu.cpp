// SPDX-License-Identifier: Apache-2.0
#include "ops/expert_combine/expert_combine_cpu.hpp"

#include <algorithm>

#include "common/faults.hpp"
#include "nvfp4j/experts.h"
#include "ops/expert_combine/expert_combine_kernels.hpp"

namespace nvfp4j {
namespace {

constexpr std::int64_t kSegment = 4096;
// Products that are worth waking a thread.
constexpr std::int64_t kGrainElements = 65536;

}  // namespace

void expert_combine_cpu(CpuPool& pool, DeviceStatus& status, const ExpertCombineArgs& args) {
  const ExpertCombineKernel kernel = expert_combine_kernels[static_cast<int>(cpu_isa())];
  const std::int64_t columns = args.columns;
  const std::int64_t segments = (columns + kSegment - 1) / kSegment;
  const std::int64_t grain =
      std::max<std::int64_t>(1, kGrainElements / (args.k * std::min(columns, kSegment)));
  Faults faults;
  pool.run(args.tokens * segments, grain, [&](int, std::int64_t begin, std::int64_t end) noexcept {
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const std::int64_t token = unit / segments;
      const std::int64_t from = unit % segments * kSegment;
      kernel(args, token, from, std::min(kSegment, columns - from));
      if (from != 0) continue;
      for (int j = 0; j < args.k; ++j) {
        const std::int32_t position = args.positions[token * args.positions_stride + j];
        if (position < -1 || position >= args.rows)
          faults.report(NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, token, j);
      }
    }
  });
  faults.publish(status, NVFP4J_OP_EXPERT_COMBINE);
}

const char* expert_combine_cpu_path() {
  static constexpr const char* paths[kCpuIsaCount] = {
      "cpu: expert_combine_cpu, x86-64 baseline (no AVX2)",
      "cpu: expert_combine_cpu, x86-64-v3 (AVX2)", "cpu: expert_combine_cpu, x86-64-v4 (AVX-512)"};
  return paths[static_cast<int>(cpu_isa())];
}

}  // namespace nvfp4j
