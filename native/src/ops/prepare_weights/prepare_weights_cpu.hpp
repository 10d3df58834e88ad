// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "common/cpu_pool.hpp"
#include "common/device_status.hpp"
#include "ops/prepare_weights/prepare_weights_args.hpp"

namespace nvfp4j {

/// A validated call.
void prepare_weights_cpu(CpuPool& pool, DeviceStatus& status, const PrepareWeightsArgs& args);

const char* prepare_weights_cpu_path();

}  // namespace nvfp4j
