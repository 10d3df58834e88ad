// SPDX-License-Identifier: Apache-2.0
// Words by which thread blocks of a launch tell each other what they found. Each carries the launch's tag in its upper half and what it says in its lower one: the data is its own flag, and nothing is fenced.
//
// A launch's tag is one more than the last one, and never 0, which is that of words that nobody has written. One thread makes it the last tag when words of every thread block have come, hence after each has read the one before.
// So the words are reusable after every launch, also by other ops and in other layouts, and in graph replays; all zeros is a valid start. (Launches on one workspace are ordered: a context is one stream.)
#pragma once
#include <cstdint>

#include "device/ptx.cuh"
#include "device/tagged_words_layout.hpp"

namespace nvfp4j::device {

// Of x, which is laid out as TaggedWords says.
__device__ __forceinline__ std::uint64_t* last_tag(char* x) {
  return reinterpret_cast<std::uint64_t*>(x + TaggedWords::kLastTag);
}
__device__ __forceinline__ std::uint64_t* tagged_words(char* x) {
  return reinterpret_cast<std::uint64_t*>(x + TaggedWords::kWords);
}

// Of this launch, in every thread block alike.
__device__ __forceinline__ std::uint32_t next_tag(char* x) {
  const std::uint32_t next = static_cast<std::uint32_t>(load_shared_word(last_tag(x))) + 1u;
  return next == 0u ? 1u : next;
}

// By one thread of the grid, when words of every thread block have come.
__device__ __forceinline__ void end_tag(char* x, std::uint32_t tag) {
  store_shared_word(last_tag(x), tag);
}

__device__ __forceinline__ std::uint64_t tagged_word(std::uint32_t tag, std::uint32_t value) {
  return static_cast<std::uint64_t>(tag) << 32 | value;
}
__device__ __forceinline__ bool has_tag(std::uint64_t word, std::uint32_t tag) {
  return upper_word(word) == tag;
}

}  // namespace nvfp4j::device
