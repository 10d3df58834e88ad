// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "common/cpu_pool.hpp"
#include "common/device_status.hpp"
#include "ops/swizzle/swizzle_args.hpp"

namespace nvfp4j {

/// Validated calls with at least one element.
void swizzle_cpu(CpuPool& pool, DeviceStatus& status, const SwizzleArgs& args);
void unswizzle_cpu(CpuPool& pool, DeviceStatus& status, const SwizzleArgs& args);

const char* swizzle_cpu_path();
const char* unswizzle_cpu_path();

}  // namespace nvfp4j
