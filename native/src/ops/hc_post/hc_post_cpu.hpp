// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "common/cpu_pool.hpp"
#include "common/device_status.hpp"
#include "ops/hc_pre/hc_args.hpp"

namespace nvfp4j {

/// A validated call with at least one token.
void hc_post_cpu(CpuPool& pool, DeviceStatus& status, const HcPostArgs& args);

const char* hc_post_cpu_path();

}  // namespace nvfp4j
