// SPDX-License-Identifier: Apache-2.0
// Where the rows of a ring go, on the CPU and on CUDA devices.
#pragma once
#include <cstdint>

#include "common/math.hpp"

namespace nvfp4j {

// The slot of the first row that is written: (position + skipped) mod slots. Remainders are added, so that nothing overflows at any position up to 2^63 - 1.
NVFP4J_HD inline std::uint32_t first_slot(std::int64_t position, std::uint32_t skipped,
                                          std::uint32_t slots) {
  const auto p = static_cast<std::uint64_t>(position);
  // A division of 32 bits, where it is enough, takes a fraction of the time.
  const std::uint32_t remainder =
      p >> 32 == 0 ? static_cast<std::uint32_t>(p) % slots : static_cast<std::uint32_t>(p % slots);
  const std::uint32_t slot = remainder + skipped;  // below 2^32: both are below slots
  return slot < slots ? slot : slot - slots;
}

// That of the i-th of those rows, i below slots.
NVFP4J_HD inline std::int64_t slot_of(std::uint32_t first, std::int64_t i, std::uint32_t slots) {
  const std::uint32_t slot = first + static_cast<std::uint32_t>(i);
  return slot < slots ? slot : slot - slots;
}

}  // namespace nvfp4j
