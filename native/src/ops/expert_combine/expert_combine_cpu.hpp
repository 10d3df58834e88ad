// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "common/cpu_pool.hpp"
#include "common/device_status.hpp"
#include "ops/expert_combine/expert_combine_args.hpp"

namespace nvfp4j {

/// A validated call with work to do.
void expert_combine_cpu(CpuPool& pool, DeviceStatus& status, const ExpertCombineArgs& args);

const char* expert_combine_cpu_path();

}  // namespace nvfp4j
