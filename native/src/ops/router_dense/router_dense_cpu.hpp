// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "common/cpu_pool.hpp"
#include "common/device_status.hpp"
#include "ops/router_dense/router_dense_args.hpp"

namespace nvfp4j {

/// A validated call with work to do.
void router_dense_cpu(CpuPool& pool, DeviceStatus& status, const RouterDenseArgs& args);

const char* router_dense_cpu_path();

}  // namespace nvfp4j
