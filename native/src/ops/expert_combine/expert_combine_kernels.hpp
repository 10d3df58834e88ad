// SPDX-License-Identifier: Apache-2.0
// The loop of expert_combine on the CPU: a run of consecutive results of one token.
#pragma once
#include <cstdint>

#include "common/cpu_isa.hpp"
#include "ops/expert_combine/expert_combine_args.hpp"

namespace nvfp4j {

/// Results [from, from + n) of a token. Positions out of range are passed over.
using ExpertCombineKernel = void (*)(const ExpertCombineArgs& args, std::int64_t token,
                                     std::int64_t from, std::int64_t n);

/// Indexed by CpuIsa; calling a version that the machine does not have ends the process.
extern const ExpertCombineKernel expert_combine_kernels[kCpuIsaCount];

}  // namespace nvfp4j
