// SPDX-License-Identifier: Apache-2.0
#include "common/overlap_checks.hpp"

namespace nvfp4j {

void check_pairs(const char* op, std::span<const Buffer* const> outputs,
                 std::span<const Buffer* const> inputs) {
  const auto check = [op](const Buffer* a, const Buffer* b) {
    if (a != nullptr && b != nullptr) check_disjoint(op, *a, *b);
  };
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    for (const Buffer* input : inputs) check(outputs[i], input);
    for (const Buffer* other : outputs.subspan(i + 1)) check(outputs[i], other);
  }
}

}  // namespace nvfp4j
