// SPDX-License-Identifier: Apache-2.0
// What the routers keep in the context's workspace from one launch to the next, and what they write there for the length of one. For host and device code.
#pragma once
#include <cstdint>

#include "common/workspace_layout.hpp"
#include "nvfp4j/router.h"

namespace nvfp4j {

struct RouterExchange {
  // Of router_tiles: thread blocks of each tile of tokens that have finished; zeros between launches.
  static constexpr std::int64_t kMaxTiles = 4096;
  std::uint32_t counters[kMaxTiles];
};
static_assert(sizeof(RouterExchange) <= kWorkspaceRouterBytes);

// Logits of a launch of router_tiles whose caller does not want them, behind the exchanges.
inline constexpr std::int64_t kRouterScratchBytes = 16 << 20;

}  // namespace nvfp4j
