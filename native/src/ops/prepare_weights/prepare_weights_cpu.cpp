// SPDX-License-Identifier: Apache-2.0
#include "ops/prepare_weights/prepare_weights_cpu.hpp"

#include <algorithm>
#include <cstring>

#include "common/faults.hpp"

namespace nvfp4j {
namespace {

constexpr std::int64_t kGrainBytes = 65536;

}  // namespace

void prepare_weights_cpu(CpuPool& pool, DeviceStatus& status, const PrepareWeightsArgs& args) {
  const std::int64_t blocks = args.k / 16;
  const std::int64_t grain = std::max<std::int64_t>(1, kGrainBytes / (9 * blocks));
  Faults faults;
  pool.run(args.groups * args.n, grain, [&](int, std::int64_t begin, std::int64_t end) noexcept {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t group = row / args.n;
      const std::int64_t n = row % args.n;
      std::uint8_t* codes = args.prepared + group * args.n * 9 * blocks;
      std::uint8_t* scales = codes + args.n * 8 * blocks;
      const std::uint8_t* from = args.scales + row * blocks;
      std::memcpy(codes + n * 8 * blocks, args.codes + row * 8 * blocks,
                  static_cast<std::size_t>(8 * blocks));
      std::memcpy(scales + n * blocks, from, static_cast<std::size_t>(blocks));
      const std::uint8_t* bad =
          std::find_if(from, from + blocks, [](std::uint8_t scale) { return scale >= 0x7F; });
      if (bad != from + blocks) [[unlikely]]
        faults.report(NVFP4J_CAUSE_BAD_BLOCK_SCALE, row, 16 * (bad - from));
    }
  });
  std::memcpy(args.prepared_global_scales, args.global_scales,
              static_cast<std::size_t>(args.global_scales_count) * 4);
  faults.publish(status, NVFP4J_OP_PREPARE_WEIGHTS);
}

const char* prepare_weights_cpu_path() {
  return "cpu: prepare_weights_cpu, a group's scales behind its codes";
}

}  // namespace nvfp4j
