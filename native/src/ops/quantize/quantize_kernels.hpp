// SPDX-License-Identifier: Apache-2.0
// The loops of quantize on the CPU: a run of consecutive elements of one row, its block scales
// and its codes. Also used by swiglu_quantize.
#pragma once
#include <cstdint>

#include "common/cpu_isa.hpp"
#include "ops/quantize/quantize_args.hpp"

namespace nvfp4j {

/// Elements that a caller hands to a kernel at a time, so that scales fit a buffer on the stack.
inline constexpr std::int64_t kQuantizeSegment = 4096;

/// What the scales of a row's blocks are computed from.
struct BlockScaling {
  float global_scale;  // gs: finite, > 0
  // By which a block's maximum is divided (EXACT: 6 * gs), or multiplied (TE_EXACT: E * fl(1/6)).
  float block_factor;
  bool te_exact;
  std::uint8_t minimum;  // of the scale of a block that is not all zero: 0x01 or 0x00
};

/// Magnitudes as bit patterns, which order as the magnitudes do.
struct Maximum {
  std::uint32_t finite = 0;  // of the finite elements
  std::uint32_t any = 0;     // of all; from 0x7F800000 on when one is not finite
};

struct QuantizeKernels {
  /// `n` a multiple of 16.
  Maximum (*maximum)(const void* x, int dtype, std::int64_t n);
  /// Writes n/2 bytes of codes and n/16 scales. True when an element is not finite.
  bool (*encode)(const void* x, int dtype, std::int64_t n, const BlockScaling& scaling,
                 std::uint8_t* codes, std::uint8_t* scales);
};

/// Indexed by CpuIsa; calling a version that the machine does not have ends the process.
extern const QuantizeKernels quantize_kernels[kCpuIsaCount];

/// The dynamic global scale of a maximum (its bit pattern), as the recipe defines it.
float dynamic_global_scale(int recipe, std::uint32_t maximum);

/// Finite and > 0.
bool usable_global_scale(float scale);

/// `dynamic`: whether global_scale came from dynamic_global_scale(recipe, maximum).
BlockScaling block_scaling(const QuantizeRecipe& recipe, float global_scale, bool dynamic,
                           std::uint32_t maximum);

}  // namespace nvfp4j
