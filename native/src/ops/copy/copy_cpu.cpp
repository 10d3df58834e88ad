// SPDX-License-Identifier: Apache-2.0
#include "ops/copy/copy_cpu.hpp"

#include <algorithm>
#include <cstring>

namespace nvfp4j {

void copy_cpu(CpuPool& pool, DeviceStatus&, const CopyArgs& args) {
  // A piece is at most this long, so that one long row is shared out too.
  constexpr std::int64_t kPiece = std::int64_t{1} << 20;
  const std::int64_t pieces = (args.row_bytes + kPiece - 1) / kPiece;
  const std::int64_t grain = std::max<std::int64_t>(1, kPiece / std::min(args.row_bytes, kPiece));
  pool.run(args.rows * pieces, grain, [&](int, std::int64_t begin, std::int64_t end) noexcept {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t row = i / pieces;
      const std::int64_t from = i % pieces * kPiece;
      std::memcpy(
          static_cast<std::uint8_t*>(args.destination) + row * args.destination_pitch + from,
          static_cast<const std::uint8_t*>(args.source) + row * args.source_pitch + from,
          static_cast<std::size_t>(std::min(kPiece, args.row_bytes - from)));
    }
  });
}

const char* copy_cpu_path() { return "cpu: copy_cpu, memcpy row by row"; }

}  // namespace nvfp4j
