// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "common/cpu_pool.hpp"
#include "common/device_status.hpp"
#include "ops/expert_dispatch/expert_dispatch_args.hpp"

namespace nvfp4j {

/// A validated call, which may have no token.
void expert_dispatch_cpu(CpuPool& pool, DeviceStatus& status, const ExpertDispatchArgs& args);

const char* expert_dispatch_cpu_path();

}  // namespace nvfp4j
