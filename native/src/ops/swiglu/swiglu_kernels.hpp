// SPDX-License-Identifier: Apache-2.0
// The loop of SwiGLU on the CPU: a run of consecutive results of one row. Also used by
// swiglu_quantize.
#pragma once
#include <cstdint>

#include "common/cpu_isa.hpp"
#include "ops/swiglu/swiglu_args.hpp"

namespace nvfp4j {

/// Results [from, from + n) of a row, rounded to the input's dtype, as F32 where `as_f32`, else
/// as the input's dtype.
using SwigluKernel = void (*)(const SwigluInput& input, std::int64_t row, std::int64_t from,
                              std::int64_t n, void* out, bool as_f32);

/// Indexed by CpuIsa; calling a version that the machine does not have ends the process.
extern const SwigluKernel swiglu_kernels[kCpuIsaCount];

}  // namespace nvfp4j
