// SPDX-License-Identifier: Apache-2.0
// What the parts of one CPU op found wrong in its data. The details kept are those of the fault
// that comes first in row-major order, so that a report does not depend on the number of
// threads.
#pragma once
#include <cstdint>
#include <mutex>

#include "common/device_status.hpp"

namespace nvfp4j {

class Faults {
 public:
  /// Thread-safe. Row and column are -1 where there is none.
  void report(std::int32_t cause, std::int64_t row, std::int64_t column) noexcept {
    const std::lock_guard lock(mutex_);
    const bool first = causes_ == 0 || row < row_ || (row == row_ && column < column_) ||
                       (row == row_ && column == column_ && cause < cause_);
    causes_ |= std::uint64_t{1} << cause;
    if (first) {
      cause_ = cause;
      row_ = row;
      column_ = column;
    }
  }

  /// Adds what was found to the context's record; called once, when all parts are done.
  void publish(DeviceStatus& status, std::int32_t op) const noexcept {
    if (causes_ == 0) return;
    status.causes[op] |= causes_;
    if (status.claimed != 0) return;
    status.claimed = 1;
    status.first_op = op;
    status.first_cause = cause_;
    status.first_row = row_;
    status.first_column = column_;
  }

 private:
  std::mutex mutex_;
  std::uint64_t causes_ = 0;
  std::int32_t cause_ = 0;
  std::int64_t row_ = 0;
  std::int64_t column_ = 0;
};

}  // namespace nvfp4j
