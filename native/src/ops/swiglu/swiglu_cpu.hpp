// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "common/cpu_pool.hpp"
#include "common/device_status.hpp"
#include "ops/swiglu/swiglu_args.hpp"

namespace nvfp4j {

/// A validated call with at least one element.
void swiglu_cpu(CpuPool& pool, DeviceStatus& status, const SwigluArgs& args);

const char* swiglu_cpu_path();

}  // namespace nvfp4j
