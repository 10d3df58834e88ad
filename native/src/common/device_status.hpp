// SPDX-License-Identifier: Apache-2.0
// The status record as kernels see it: one per context, in device memory (CPU contexts: in host memory).
// Host code turns it into the nvfp4j_status_record of the ABI; src/device/status.cuh writes it from kernels.
#pragma once
#include <cstdint>

#include "nvfp4j/context.h"

namespace nvfp4j {

struct DeviceStatus {
  unsigned long long causes[NVFP4J_STATUS_WORDS];
  unsigned int claimed;  // 0 until one reporter owns the fields below
  std::int32_t first_op;
  std::int32_t first_cause;
  std::int32_t reserved;
  long long first_row;
  long long first_column;
};

}  // namespace nvfp4j
