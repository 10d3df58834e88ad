// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "common/cpu_pool.hpp"
#include "common/device_status.hpp"
#include "ops/cache_append_window/cache_append_window_args.hpp"

namespace nvfp4j {

/// A validated call with work to do.
void cache_append_window_cpu(CpuPool& pool, DeviceStatus& status,
                             const CacheAppendWindowArgs& args);

const char* cache_append_window_cpu_path();

}  // namespace nvfp4j
