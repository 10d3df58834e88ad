// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "common/cpu_pool.hpp"
#include "common/device_status.hpp"
#include "ops/sinkhorn/sinkhorn_args.hpp"

namespace nvfp4j {

/// A validated call with at least one token.
void sinkhorn_cpu(CpuPool& pool, DeviceStatus& status, const SinkhornArgs& args);

const char* sinkhorn_cpu_path();

}  // namespace nvfp4j
