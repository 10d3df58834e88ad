// SPDX-License-Identifier: Apache-2.0
// Who uses which part of a context's workspace. Its calls follow each other, so that each part has one user at a time.
#pragma once
#include <cstdint>

namespace nvfp4j {

// The beginning is of grid exchanges (device/grid_barrier_layout.hpp: at most grid_exchange_bytes() of as many thread blocks as a device has multiprocessors, so up to a thousand), which expect it as the last one left it: nothing else is written there.
inline constexpr std::int64_t kWorkspaceGridBytes = 64 << 10;

// Behind it, under the same rule: the exchanges of hyper-connections (ops/hc_pre/hc_pre_layout.hpp and hc_pre_wgmma_layout.hpp).
inline constexpr std::int64_t kWorkspaceHcBytes = 10 << 20;

// What follows both is anybody's for the length of a call.
inline constexpr std::int64_t kWorkspaceExchangeBytes = kWorkspaceGridBytes + kWorkspaceHcBytes;

}  // namespace nvfp4j
