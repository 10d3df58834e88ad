// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "common/cpu_pool.hpp"
#include "common/device_status.hpp"
#include "ops/copy/copy_args.hpp"

namespace nvfp4j {

/// A validated copy of at least one byte.
void copy_cpu(CpuPool& pool, DeviceStatus& status, const CopyArgs& args);

const char* copy_cpu_path();

}  // namespace nvfp4j
