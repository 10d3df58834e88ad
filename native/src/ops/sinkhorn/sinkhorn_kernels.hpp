// SPDX-License-Identifier: Apache-2.0
// Sinkhorn on the CPU, several tokens side by side. Also used by the hyper-connection ops.
#pragma once
#include <cstdint>

#include "common/cpu_isa.hpp"

namespace nvfp4j {

/// Tokens that a kernel takes at a time.
inline constexpr int kSinkhornLanes = 16;

/// c[i][lane], i = j*n + k: finite logits, then the result. Lanes without a token are zeros.
using SinkhornCpuKernel = void (*)(float (*c)[kSinkhornLanes], int n, int iterations, float eps);

/// Indexed by CpuIsa; calling a version that the machine does not have ends the process.
extern const SinkhornCpuKernel sinkhorn_cpu_kernels[kCpuIsaCount];

}  // namespace nvfp4j
