// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "common/cpu_pool.hpp"
#include "common/device_status.hpp"
#include "ops/hc_pre/hc_args.hpp"

namespace nvfp4j {

/// A validated call of hc_pre, hc_head or hc_post_pre with at least one token.
void hc_pre_cpu(CpuPool& pool, DeviceStatus& status, const HcPreArgs& args);

const char* hc_pre_cpu_path();
const char* hc_head_cpu_path();
const char* hc_post_pre_cpu_path();

}  // namespace nvfp4j
