// SPDX-License-Identifier: Apache-2.0
// The order of indexer_topk as unsigned integers, for host and device code: the higher, the earlier.
#pragma once
#include <cstdint>

#include "common/math.hpp"

namespace nvfp4j {

/// Highest C.
inline constexpr std::int64_t kMaxIndexerRows = std::int64_t{1} << 20;

/// Of the score of a NaN, of minus and of plus infinity.
inline constexpr std::uint32_t kIndexerNanKey = 0u;
inline constexpr std::uint32_t kIndexerLowestKey = 0x007FFFFFu;
inline constexpr std::uint32_t kIndexerHighestKey = 0xFF800000u;

/// Orders as the scores do; +0 and -0 are one, and a NaN is below everything.
NVFP4J_HD inline std::uint32_t indexer_key(float score) {
  const std::uint32_t b = math::detail::bits(score);
  if ((b & math::detail::kMagnitude) > math::detail::kInfinity) return kIndexerNanKey;
  if ((b & math::detail::kMagnitude) == 0u) return math::detail::kSign;
  return (b & math::detail::kSign) != 0u ? ~b : b | math::detail::kSign;
}

/// The score again, as it is written.
NVFP4J_HD inline float indexer_score(std::uint32_t key) {
  if (key == kIndexerNanKey) return math::detail::from_bits(math::detail::kNan);
  return math::detail::from_bits((key & math::detail::kSign) != 0u ? key & math::detail::kMagnitude
                                                                   : ~key);
}

NVFP4J_HD inline bool indexer_key_is_finite(std::uint32_t key) {
  return key > kIndexerLowestKey && key < kIndexerHighestKey;
}

/// A key with its row: no two are equal, and none is 0, which stands for no row.
NVFP4J_HD inline std::uint64_t indexer_entry(std::uint32_t key, std::uint32_t row) {
  return static_cast<std::uint64_t>(key) << 32 | (0xFFFFFFFFu - row);
}
NVFP4J_HD inline std::int32_t indexer_row(std::uint64_t entry) {
  return static_cast<std::int32_t>(0xFFFFFFFFu - static_cast<std::uint32_t>(entry));
}

}  // namespace nvfp4j
