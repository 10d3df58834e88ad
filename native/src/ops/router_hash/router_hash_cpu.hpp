// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "common/cpu_pool.hpp"
#include "common/device_status.hpp"
#include "ops/router_hash/router_hash_args.hpp"

namespace nvfp4j {

/// A validated call with work to do.
void router_hash_cpu(CpuPool& pool, DeviceStatus& status, const RouterHashArgs& args);

const char* router_hash_cpu_path();

}  // namespace nvfp4j
