// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "common/cpu_pool.hpp"
#include "common/device_status.hpp"
#include "ops/cache_append/cache_append_args.hpp"

namespace nvfp4j {

/// A validated call with work to do.
void cache_append_cpu(CpuPool& pool, DeviceStatus& status, const CacheAppendArgs& args);

const char* cache_append_cpu_path();

}  // namespace nvfp4j
