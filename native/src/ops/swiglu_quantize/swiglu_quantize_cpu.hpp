// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "common/cpu_pool.hpp"
#include "common/device_status.hpp"
#include "ops/swiglu_quantize/swiglu_quantize_args.hpp"

namespace nvfp4j {

/// A validated call with at least one element. A dynamic scale computes SwiGLU twice: no buffer
/// for its results exists.
void swiglu_quantize_cpu(CpuPool& pool, DeviceStatus& status, const SwigluQuantizeArgs& args);

const char* swiglu_quantize_cpu_path();

}  // namespace nvfp4j
