// SPDX-License-Identifier: Apache-2.0
// Philox4x32-10, the counter-based random numbers of Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3 (2011): the same on the CPU, on CUDA devices and in Java (io.github.nvfp4j.reference.Philox).
#pragma once
#include <cstdint>

#include "common/math.hpp"

namespace nvfp4j {

struct PhiloxKey {
  std::uint32_t x;
  std::uint32_t y;
};

struct PhiloxWords {
  std::uint32_t x;
  std::uint32_t y;
  std::uint32_t z;
  std::uint32_t w;
};

// The four words of a counter.
NVFP4J_HD inline PhiloxWords philox(PhiloxWords counter, PhiloxKey key) {
  PhiloxWords c = counter;
#if defined(__CUDA_ARCH__)
#pragma unroll
#endif
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53u} * c.x;
    const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * c.z;
    c = {static_cast<std::uint32_t>(b >> 32) ^ c.y ^ key.x, static_cast<std::uint32_t>(b),
         static_cast<std::uint32_t>(a >> 32) ^ c.w ^ key.y, static_cast<std::uint32_t>(a)};
    key.x += 0x9E3779B9u;
    key.y += 0xBB67AE85u;
  }
  return c;
}

}  // namespace nvfp4j
