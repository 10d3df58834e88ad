// SPDX-License-Identifier: Apache-2.0
// The routers' scores on the CPU.
#pragma once
#include "common/cpu_isa.hpp"

namespace nvfp4j {

/// scores[e] = router_score(logits[e]). Indexed by CpuIsa; calling a version that the machine does not have ends the
/// process.
using RouterScoresKernel = void (*)(const float* logits, int count, float* scores);
extern const RouterScoresKernel router_scores_kernels[kCpuIsaCount];

}  // namespace nvfp4j
