// SPDX-License-Identifier: Apache-2.0
// How a kernel reports a fault in its data: a bit in the context's record, and the details of the first one.
#pragma once
#include "common/device_status.hpp"

namespace nvfp4j::device {

// For code that cannot afford a call: registers that live across one go to memory.
__device__ __forceinline__ void report_here(DeviceStatus* status, int op, int cause, long long row,
                                            long long column) {
  atomicOr(&status->causes[op], 1ull << cause);
  if (atomicCAS(&status->claimed, 0u, 1u) == 0u) {
    status->first_op = op;
    status->first_cause = cause;
    status->first_row = row;
    status->first_column = column;
  }
}

// Cold by construction: kept out of line so that the clean path pays a predicate and nothing else.
__device__ __noinline__ inline void report(DeviceStatus* status, int op, int cause, long long row,
                                           long long column) {
  report_here(status, op, cause, row, column);
}

}  // namespace nvfp4j::device
