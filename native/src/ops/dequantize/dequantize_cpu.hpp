// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "common/cpu_isa.hpp"
#include "common/cpu_pool.hpp"
#include "common/device_status.hpp"
#include "ops/dequantize/dequantize_args.hpp"

namespace nvfp4j {

/// A validated call with at least one element.
void dequantize_cpu(CpuPool& pool, DeviceStatus& status, const DequantizeArgs& args);

const char* dequantize_cpu_path();

/// Decodes `blocks` consecutive blocks of a row: 8 bytes of codes and one factor d = f32(S) *
/// gs each, to elements of `dtype`. Indexed by CpuIsa.
using DequantizeKernel = void (*)(const std::uint8_t* codes, const float* factors,
                                  std::int64_t blocks, void* out, int dtype);
extern const DequantizeKernel dequantize_kernels[kCpuIsaCount];

}  // namespace nvfp4j
