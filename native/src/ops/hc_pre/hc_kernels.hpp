// SPDX-License-Identifier: Apache-2.0
// The loops of the hyper-connection ops on the CPU: runs of consecutive columns. What is BF16 or F32
// is given by the address of a run's first element.
#pragma once
#include <cstdint>

#include "common/cpu_isa.hpp"

namespace nvfp4j {

/// Columns that a caller hands to a kernel at most.
inline constexpr int kHcSegment = 512;

/// A run of one token's columns, for the step behind a module.
struct HcPostRun {
  const void* x;
  std::int64_t x_stride;  // elements from stream to stream
  const void* sub;
  const float* post;  // [n]
  const float* comb;  // [n, n]
  void* out;
  std::int64_t out_stride;
  int n;
  int dtype;
  int count;
};

struct HcKernels {
  void (*widen)(const void* x, int dtype, int count, float* out);

  /// Of what already is a value of the type.
  void (*narrow)(const float* x, int dtype, int count, void* out);

  /// In place, too: a run's streams are read before any of it is written.
  void (*post)(const HcPostRun& run);

  /// The sum of squares, in F64.
  double (*squares)(const float* x, int count);

  /// Adds to sums[t * sums_stride + r] the products of x[t] and row r of fn, added in F64, in which a
  /// product is exact: sums of F32 products are off by more than the header allows where many have the
  /// same rounding error. `count` is a multiple of 8.
  void (*products)(const float (*x)[kHcSegment], int tokens, const float* fn,
                   std::int64_t fn_stride, int rows, int count, double* sums,
                   std::int64_t sums_stride);

  /// The sum over j of pre[j] * x[j], in that order, fused; rounded to `dtype`, as F32 where `as_f32`.
  void (*collapse)(const void* x, std::int64_t x_stride, int n, int dtype, const float* pre,
                   int count, void* out, bool as_f32);

  /// x = (weight * x) * norm, rounded to `dtype` and widened again.
  void (*normalise)(const void* weight, int weight_dtype, float norm, int count, int dtype,
                    float* x);

  /// z = 1 / (1 + exp(-z)).
  void (*sigmoid)(float* z, int count);
};

/// Indexed by CpuIsa; calling a version that the machine does not have ends the process.
extern const HcKernels hc_kernels[kCpuIsaCount];

}  // namespace nvfp4j
