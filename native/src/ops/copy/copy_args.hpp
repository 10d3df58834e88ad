// SPDX-License-Identifier: Apache-2.0
// A validated copy, as rows of bytes.
#pragma once
#include <cstdint>

namespace nvfp4j {

struct CopyArgs {
  const void* source;
  void* destination;
  std::int64_t rows;
  std::int64_t row_bytes;
  std::int64_t source_pitch;       // bytes
  std::int64_t destination_pitch;  // bytes
};

}  // namespace nvfp4j
