// SPDX-License-Identifier: Apache-2.0
// A validated cache_append_window call, as the CPU and CUDA implementations get it.
#pragma once
#include "ops/cache_append/cache_args.hpp"

namespace nvfp4j {

struct CacheAppendWindowArgs {
  CacheRows copy;  // of the last `written` rows
  std::int64_t written;
  std::uint32_t skipped;  // rows before those, modulo slots
  std::uint32_t slots;    // 1 to 2^31 - 1
  CacheCounter position;  // of the first row, those before included
};

}  // namespace nvfp4j
