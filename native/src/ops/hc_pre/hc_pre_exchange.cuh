// SPDX-License-Identifier: Apache-2.0
// Words that thread blocks of one cooperative grid send each other through global memory. A word carries its tag: the data is its own flag, and nothing is fenced. A 16-byte word is read and written at once (.b128).
#pragma once
#include <cstdint>

namespace nvfp4j::device {

struct Word16 {
  float v[3];
  std::uint32_t tag;
};

__device__ __forceinline__ void send(void* p, float a, float b, float c, std::uint32_t tag) {
  const std::uint64_t low =
      static_cast<std::uint64_t>(__float_as_uint(b)) << 32 | __float_as_uint(a);
  const std::uint64_t high = static_cast<std::uint64_t>(tag) << 32 | __float_as_uint(c);
  asm volatile(
      "{\n\t.reg .b128 w;\n\tmov.b128 w, {%1, %2};\n\tst.relaxed.gpu.global.b128 [%0], w;\n\t}" ::
          "l"(p),
      "l"(low), "l"(high)
      : "memory");
}

__device__ __forceinline__ Word16 receive(const void* p) {
  std::uint64_t low;
  std::uint64_t high;
  asm volatile(
      "{\n\t.reg .b128 w;\n\tld.relaxed.gpu.global.b128 w, [%2];\n\tmov.b128 {%0, %1}, w;\n\t}"
      : "=l"(low), "=l"(high)
      : "l"(p)
      : "memory");
  return {{__uint_as_float(static_cast<std::uint32_t>(low)),
           __uint_as_float(static_cast<std::uint32_t>(low >> 32)),
           __uint_as_float(static_cast<std::uint32_t>(high))},
          static_cast<std::uint32_t>(high >> 32)};
}

}  // namespace nvfp4j::device
