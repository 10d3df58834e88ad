// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "common/cpu_pool.hpp"
#include "common/device_status.hpp"
#include "ops/quantize/quantize_args.hpp"

namespace nvfp4j {

/// A validated call with at least one element.
void quantize_cpu(CpuPool& pool, DeviceStatus& status, const QuantizeArgs& args);

const char* quantize_cpu_path();

}  // namespace nvfp4j
