// SPDX-License-Identifier: Apache-2.0
// Memory that the tensors of one call must not share. Throws an Error (error.hpp).
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "common/tensor_checks.hpp"

namespace nvfp4j {

/// The first address of buffers, and the one behind their last; without those that have none.
template <std::size_t N>
struct Ranges {
  std::uint64_t begin[N];
  std::uint64_t end[N];
  std::size_t count = 0;
  explicit Ranges(const Buffer* const (&buffers)[N]) {
    for (const Buffer* b : buffers) {
      if (b == nullptr || b->bytes == 0) continue;
      begin[count] = b->begin;
      end[count++] = b->begin + b->bytes;
    }
  }
  /// Whether one from number `first` on meets [from, to).
  bool meets(std::uint64_t from, std::uint64_t to, std::size_t first) const {
    bool any = false;
    // (The compiler does not see that there are N at most.)
    for (std::size_t i = first; i < N && i < count; ++i) any |= (begin[i] < to) & (from < end[i]);
    return any;
  }
};

/// What check_apart() does when ranges meet: buffers may still be apart, as column ranges of one matrix are.
void check_pairs(const char* op, std::span<const Buffer* const> outputs,
                 std::span<const Buffer* const> inputs);

/// check_disjoint() of each of `outputs` with all of `inputs`, and with the outputs behind it; nullptr: there is no such buffer. There are many pairs, and a call is to be cheap.
template <std::size_t OUTPUTS, std::size_t INPUTS>
void check_apart(const char* op, const Buffer* const (&outputs)[OUTPUTS],
                 const Buffer* const (&inputs)[INPUTS]) {
  const Ranges<OUTPUTS> written(outputs);
  const Ranges<INPUTS> read(inputs);
  bool any = false;
  for (std::size_t i = 0; i < written.count; ++i) {
    any |= read.meets(written.begin[i], written.end[i], 0);
    any |= written.meets(written.begin[i], written.end[i], i + 1);
  }
  if (any) [[unlikely]]
    check_pairs(op, outputs, inputs);
}

}  // namespace nvfp4j
