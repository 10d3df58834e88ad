// SPDX-License-Identifier: Apache-2.0
// Scores of the indexer on the CPU.
#pragma once
#include "common/cpu_isa.hpp"

namespace nvfp4j {

/// The score of one row: weights [heads], q [heads, columns] and key [columns], all F32 and without gaps. Products and sums are in F64, and the sum over heads is rounded to F32.
using IndexerCpuKernel = float (*)(const float* q, const float* weights, const float* key,
                                   int heads, int columns);

/// Indexed by CpuIsa; calling a version that the machine does not have ends the process.
extern const IndexerCpuKernel indexer_cpu_kernels[kCpuIsaCount];

}  // namespace nvfp4j
