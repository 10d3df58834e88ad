// SPDX-License-Identifier: Apache-2.0
// A validated sample call, as the CPU and CUDA implementations get it.
#pragma once
#include <cstdint>

namespace nvfp4j {

enum class SampleMode {
  kGreedy,
  kPhilox,  // noise of its own
  kGiven,   // the caller's
};

struct SampleArgs {
  SampleMode mode;
  const void* logits;  // [tokens, columns]
  std::int64_t logits_stride;
  std::int32_t dtype;  // F32 or BF16
  std::int64_t tokens;
  std::int32_t columns;  // 1 or more
  const float* noise;    // of kGiven, [tokens, columns]
  std::int64_t noise_stride;
  float temperature;  // what is divided by, unless kGreedy
  std::uint64_t seed;
  std::uint64_t offset;
  const std::uint64_t* more_offset;  // of kPhilox: nullptr, or what is added to offset
  std::int32_t* out;                 // [tokens]
};

}  // namespace nvfp4j
