// SPDX-License-Identifier: Apache-2.0
#include "ops/quantize/quantize_kernels.hpp"

#include <cstring>

#include "common/float_formats.hpp"
#include "nvfp4j/quantize.h"

namespace nvfp4j {
namespace {

namespace baseline {
#include "ops/quantize/quantize_kernels.inl"
}  // namespace baseline

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace v3 {
#include "ops/quantize/quantize_kernels.inl"
}  // namespace v3
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
namespace v4 {
#include "ops/quantize/quantize_kernels.inl"
}  // namespace v4
#pragma GCC pop_options

constexpr float kLargest = 3.402823466e38f;

float encode_scale(std::uint32_t maximum) {
  if (maximum == 0) return 1.0f;
  const float quotient = 2688.0f / float_of(maximum);
  const float scale = quotient < kLargest ? quotient : kLargest;
  return scale == 0.0f ? 1.0f : scale;
}

}  // namespace

const QuantizeKernels quantize_kernels[kCpuIsaCount] = {
    {baseline::maximum, baseline::encode}, {v3::maximum, v3::encode}, {v4::maximum, v4::encode}};

float dynamic_global_scale(int recipe, std::uint32_t maximum) {
  if (recipe == NVFP4J_RECIPE_TE_EXACT) return 1.0f / encode_scale(maximum);
  const float scale = float_of(maximum) / 2688.0f;
  return scale == 0.0f ? 1.0f : scale;
}

bool usable_global_scale(float scale) { return scale > 0.0f && scale <= kLargest; }

BlockScaling block_scaling(const QuantizeRecipe& recipe, float global_scale, bool dynamic,
                           std::uint32_t maximum) {
  if (recipe.recipe == NVFP4J_RECIPE_TE_EXACT) {
    const float inverse = 1.0f / global_scale;
    const float scale = dynamic ? encode_scale(maximum) : (inverse < kLargest ? inverse : kLargest);
    return BlockScaling{global_scale, scale * (1.0f / 6.0f), true, 0};
  }
  return BlockScaling{
      global_scale, 6.0f * global_scale, false,
      static_cast<std::uint8_t>(recipe.zero_scale == NVFP4J_ZERO_SCALE_MIN ? 1 : 0)};
}

}  // namespace nvfp4j
