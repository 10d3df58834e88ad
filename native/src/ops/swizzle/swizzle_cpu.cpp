// SPDX-License-Identifier: Apache-2.0
#include "ops/swizzle/swizzle_cpu.hpp"

#include <algorithm>
#include <cstring>

#include "common/tensor_checks.hpp"

namespace nvfp4j {
namespace {

constexpr int kLayout = NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4;
constexpr std::int64_t kGrainBytes = 65536;

std::int64_t grain(const SwizzleArgs& args) {
  return std::max<std::int64_t>(1, kGrainBytes / (128 * args.blocks));
}

}  // namespace

void swizzle_cpu(CpuPool& pool, DeviceStatus&, const SwizzleArgs& args) {
  // One item is a tile of 128 rows, padding rows included.
  pool.run(
      (args.rows + 127) / 128, grain(args),
      [&](int, std::int64_t begin, std::int64_t end) noexcept {
        for (std::int64_t m = 128 * begin; m < 128 * end; ++m) {
          const std::uint8_t* row = m < args.rows ? args.linear + m * args.linear_stride : nullptr;
          for (std::int64_t s = 0; s < args.blocks; s += 4) {
            std::uint8_t group[4] = {};
            if (row != nullptr)
              std::memcpy(group, row + s,
                          static_cast<std::size_t>(std::min<std::int64_t>(4, args.blocks - s)));
            std::memcpy(args.swizzled + scale_offset(kLayout, args.blocks, m, s), group, 4);
          }
        }
      });
}

void unswizzle_cpu(CpuPool& pool, DeviceStatus&, const SwizzleArgs& args) {
  pool.run(args.rows, std::max<std::int64_t>(1, 128 * grain(args)),
           [&](int, std::int64_t begin, std::int64_t end) noexcept {
             for (std::int64_t m = begin; m < end; ++m) {
               std::uint8_t* row = args.linear + m * args.linear_stride;
               for (std::int64_t s = 0; s < args.blocks; s += 4) {
                 std::memcpy(row + s, args.swizzled + scale_offset(kLayout, args.blocks, m, s),
                             static_cast<std::size_t>(std::min<std::int64_t>(4, args.blocks - s)));
               }
             }
           });
}

const char* swizzle_cpu_path() { return "cpu: swizzle_cpu, four bytes at a time"; }
const char* unswizzle_cpu_path() { return "cpu: unswizzle_cpu, four bytes at a time"; }

}  // namespace nvfp4j
