// SPDX-License-Identifier: Apache-2.0
// The workspace of device/tagged_words.cuh, for host code too.
#pragma once
#include <cstdint>

#include "common/workspace_layout.hpp"

namespace nvfp4j {

// From kWorkspaceTaggedAt on: offsets in bytes.
struct TaggedWords {
  // The last tag that a launch gave its words.
  static constexpr std::int64_t kLastTag = 0;
  // 8 bytes each: what they are of is the op's.
  static constexpr std::int64_t kWords = 256;
  static constexpr std::int64_t kMaxWords = (kWorkspaceTaggedBytes - kWords) / 8;
};

}  // namespace nvfp4j
