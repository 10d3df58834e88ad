// SPDX-License-Identifier: Apache-2.0
// A validated cache_append call, as the CPU and CUDA implementations get it.
#pragma once
#include "ops/cache_append/cache_args.hpp"

namespace nvfp4j {

struct CacheAppendArgs {
  CacheRows copy;
  std::int64_t tokens;
  std::int64_t capacity;  // of an I32 length, at most what it can say
  CacheCounter length;
};

}  // namespace nvfp4j
