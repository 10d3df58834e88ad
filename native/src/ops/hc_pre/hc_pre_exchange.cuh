// SPDX-License-Identifier: Apache-2.0
// Words that thread blocks of one cooperative grid send each other through global memory. A word carries its tag: the data is its own flag, and nothing is fenced. A word is read and written at once (.b128, .b64), and is the last to leave L2: where streams have pushed it out, the next that is written to its place waits for memory. (So some MiB of L2 stay taken behind a launch; what that is to the kernels behind has not been measured.)
// Of a word with parts that nobody uses ptxas loads the others one by one: then the tag may be new and the data old. So who receives a word uses all of it.
#pragma once
#include <cstdint>

#include "device/ptx.cuh"

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
      "{\n\t.reg .b128 w;\n\tmov.b128 w, {%1, %2};\n\t"
      "st.relaxed.gpu.global.L2::cache_hint.b128 [%0], w, %3;\n\t}" ::"l"(p),
      "l"(low), "l"(high), "l"(policy_evict_last())
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

// Words of two numbers: the tag is there twice, so that all is used.
__device__ __forceinline__ void send_pair(void* p, float a, float b, std::uint32_t tag) {
  send(p, a, b, __uint_as_float(tag), tag);
}
__device__ __forceinline__ bool is_pair(const Word16& w, std::uint32_t tag) {
  return w.tag == tag && __float_as_uint(w.v[2]) == tag;
}

// Words of one number, 8 bytes.
__device__ __forceinline__ void send_one(void* p, float a, std::uint32_t tag) {
  asm volatile("st.relaxed.gpu.global.L2::cache_hint.u64 [%0], %1, %2;" ::"l"(p),
               "l"(static_cast<std::uint64_t>(tag) << 32 | __float_as_uint(a)),
               "l"(policy_evict_last())
               : "memory");
}

}  // namespace nvfp4j::device
