// SPDX-License-Identifier: Apache-2.0
// Values that sample compares, on the CPU.
#pragma once
#include <cstdint>

#include "common/cpu_isa.hpp"
#include "ops/sample/philox.hpp"

namespace nvfp4j {

/// Columns that a kernel takes at a time; a multiple of 4.
inline constexpr int kSampleChunk = 1024;

struct SampleKernels {
  /// The logits of `count` columns as binary32; `dtype` is F32 or BF16.
  void (*widen)(const void* logits, std::int32_t dtype, int count, float* v);
  /// v / temperature - log(E), with E of `noise`, whose values are positive and finite.
  void (*given)(float* v, const float* noise, float temperature, int count);
  /// The same with noise of Philox's; the counter is that of the first column, `count` at most kSampleChunk.
  void (*drawn)(float* v, PhiloxWords counter, PhiloxKey key, float temperature, int count);
};

/// Indexed by CpuIsa; calling a version that the machine does not have ends the process.
extern const SampleKernels sample_kernels[kCpuIsaCount];

}  // namespace nvfp4j
