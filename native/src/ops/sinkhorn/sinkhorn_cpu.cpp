// SPDX-License-Identifier: Apache-2.0
#include "ops/sinkhorn/sinkhorn_cpu.hpp"

#include <algorithm>

#include "common/faults.hpp"
#include "common/float_formats.hpp"
#include "common/math.hpp"
#include "nvfp4j/sinkhorn.h"
#include "ops/sinkhorn/sinkhorn_kernels.hpp"

namespace nvfp4j {

void sinkhorn_cpu(CpuPool& pool, DeviceStatus& status, const SinkhornArgs& args) {
  const SinkhornCpuKernel kernel = sinkhorn_cpu_kernels[static_cast<int>(cpu_isa())];
  const int elements = args.n * args.n;
  const std::int64_t blocks = (args.tokens + kSinkhornLanes - 1) / kSinkhornLanes;
  // Iterations of an element that are worth waking a thread.
  constexpr std::int64_t kGrain = 8192;
  const std::int64_t grain =
      std::max<std::int64_t>(1, kGrain / (std::int64_t{elements} * args.iterations));
  Faults faults;
  pool.run(blocks, grain, [&](int, std::int64_t begin, std::int64_t end) noexcept {
    alignas(64) float c[NVFP4J_MAX_STREAMS * NVFP4J_MAX_STREAMS][kSinkhornLanes];
    for (std::int64_t block = begin; block < end; ++block) {
      const std::int64_t first = block * kSinkhornLanes;
      const int count =
          static_cast<int>(std::min<std::int64_t>(kSinkhornLanes, args.tokens - first));
      bool bad[kSinkhornLanes] = {};
      for (int l = 0; l < kSinkhornLanes; ++l) {
        for (int i = 0; i < elements; ++i) {
          const float x = l < count ? args.logits[(first + l) * args.logits_stride + i] : 0.0f;
          const bool finite = math::is_finite(x);
          if (!finite && !bad[l]) {
            bad[l] = true;
            faults.report(NVFP4J_CAUSE_NON_FINITE_INPUT, first + l, i);
          }
          c[i][l] = finite ? x : 0.0f;
        }
      }
      kernel(c, args.n, args.iterations, args.eps);
      for (int l = 0; l < count; ++l) {
        float* out = args.comb + (first + l) * args.comb_stride;
        for (int i = 0; i < elements; ++i) out[i] = bad[l] ? float_of(kNan) : c[i][l];
      }
    }
  });
  faults.publish(status, NVFP4J_OP_SINKHORN);
}

const char* sinkhorn_cpu_path() {
  static constexpr const char* paths[kCpuIsaCount] = {
      "cpu: sinkhorn_cpu, x86-64 baseline (no AVX2)", "cpu: sinkhorn_cpu, x86-64-v3 (AVX2)",
      "cpu: sinkhorn_cpu, x86-64-v4 (AVX-512)"};
  return paths[static_cast<int>(cpu_isa())];
}

}  // namespace nvfp4j
