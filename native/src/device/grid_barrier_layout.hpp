// SPDX-License-Identifier: Apache-2.0
// The workspace of device/grid_barrier.cuh, for host code too.
#pragma once
#include <cstdint>

namespace nvfp4j {

// Copies of the slots, so that the thread blocks that wait do not all read the same few lines.
inline constexpr std::int64_t kGridExchangeCopies = 8;

struct GridExchange {
  std::uint64_t epoch;
  std::uint64_t unused[31];
  std::uint64_t slots
      [1];  // kGridExchangeCopies times one per thread block, each copy a multiple of 128 bytes
};

constexpr std::int64_t grid_exchange_stride(std::int64_t blocks) { return (blocks + 15) / 16 * 16; }
constexpr std::int64_t grid_exchange_bytes(std::int64_t blocks) {
  return 256 + 8 * kGridExchangeCopies * grid_exchange_stride(blocks);
}

}  // namespace nvfp4j
