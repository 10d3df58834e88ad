// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "common/cpu_pool.hpp"
#include "common/device_status.hpp"
#include "ops/gemm/gemm_args.hpp"

namespace nvfp4j {

/// gemm, grouped_gemm or batched_gemm: a validated call with at least one row. Every call is batch
/// invariant.
void gemm_cpu(CpuPool& pool, DeviceStatus& status, const GemmArgs& args);

const char* gemm_cpu_path();
const char* grouped_gemm_cpu_path();
const char* batched_gemm_cpu_path();

}  // namespace nvfp4j
