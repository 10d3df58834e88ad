// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "common/cpu_pool.hpp"
#include "common/device_status.hpp"
#include "ops/pack_activations/pack_activations_args.hpp"

namespace nvfp4j {

/// A validated call with at least one row.
void pack_activations_cpu(CpuPool& pool, DeviceStatus& status, const PackActivationsArgs& args);

const char* pack_activations_cpu_path();

}  // namespace nvfp4j
