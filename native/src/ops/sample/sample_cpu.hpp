// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "common/cpu_pool.hpp"
#include "common/device_status.hpp"
#include "ops/sample/sample_args.hpp"

namespace nvfp4j {

/// A validated call with work to do.
void sample_cpu(CpuPool& pool, DeviceStatus& status, const SampleArgs& args);

const char* sample_cpu_path();

}  // namespace nvfp4j
