// SPDX-License-Identifier: Apache-2.0
// Who uses which part of a context's workspace. Its calls follow each other, so that each part has one user at a time.
#pragma once
#include <cstdint>

namespace nvfp4j {

// The beginning is of grid exchanges (device/grid_barrier_layout.hpp: at most grid_exchange_bytes() of as many thread blocks as a device has multiprocessors, so up to eight hundred), which expect it as the last one left it: nothing else is written there.
inline constexpr std::int64_t kWorkspaceGridBytes = 56 << 10;

// Behind it: words by which thread blocks of a launch tell each other what they found, and that they have arrived. They are zeros between launches: the last thread block to arrive makes them so. Each op has words of its own.
inline constexpr std::int64_t kWorkspaceCounterBytes = 8 << 10;
inline constexpr std::int64_t kWorkspaceCountersAt = kWorkspaceGridBytes;
inline constexpr std::int64_t kWorkspaceCacheAppendAt = kWorkspaceCountersAt;   // 256 bytes
inline constexpr std::int64_t kWorkspaceSampleAt = kWorkspaceCountersAt + 256;  // the rest

// Behind them, as the last one left it: the exchanges of hyper-connections (ops/hc_pre/hc_pre_layout.hpp and hc_pre_wgmma_layout.hpp).
inline constexpr std::int64_t kWorkspaceHcBytes = 10 << 20;
inline constexpr std::int64_t kWorkspaceHcAt = kWorkspaceCountersAt + kWorkspaceCounterBytes;

// Behind that, under the same rule: words that carry the tag of their launch, of router_dense and of indexer_topk alike (device/tagged_words_layout.hpp).
inline constexpr std::int64_t kWorkspaceTaggedBytes = (2 << 20) - (16 << 10);
inline constexpr std::int64_t kWorkspaceTaggedAt = kWorkspaceHcAt + kWorkspaceHcBytes;

// Behind them: the counters of router_dense (ops/router_dense/router_layout.hpp), zeros between launches.
inline constexpr std::int64_t kWorkspaceRouterBytes = 16 << 10;
inline constexpr std::int64_t kWorkspaceRouterAt = kWorkspaceTaggedAt + kWorkspaceTaggedBytes;

// What follows all of them is anybody's for the length of a call.
inline constexpr std::int64_t kWorkspaceExchangeBytes = kWorkspaceRouterAt + kWorkspaceRouterBytes;

}  // namespace nvfp4j
