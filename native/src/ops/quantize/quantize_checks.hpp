// SPDX-License-Identifier: Apache-2.0
// The part of quantize's validation that swiglu_quantize shares.
#pragma once
#include "common/tensor_checks.hpp"
#include "nvfp4j/quantize.h"
#include "ops/quantize/quantize_args.hpp"

namespace nvfp4j {

/// `name` is the options' name in sentences.
inline QuantizeRecipe check_recipe(const char* op, const char* name,
                                   const nvfp4j_quantize_options* options) {
  check_struct(op, name, options);
  check_choice(op, name, "global_scale", options->global_scale, 2, "DYNAMIC, GIVEN");
  check_choice(op, name, "recipe", options->recipe, 2, "EXACT, TE_EXACT");
  check_choice(op, name, "zero_scale", options->zero_scale, 2, "MIN, FLUSH");
  return QuantizeRecipe{options->global_scale, options->recipe, options->zero_scale};
}

inline QuantizeOutput quantize_output(const nvfp4j_nvfp4_tensor& output) {
  return QuantizeOutput{
      static_cast<std::uint8_t*>(output.codes), static_cast<std::uint8_t*>(output.scales),
      static_cast<float*>(output.global_scales), output.scale_layout, output.global_scale_kind};
}

inline void check_disjoint(const char* op, const Nvfp4Buffers& output, const Buffer& input) {
  check_disjoint(op, output.codes, input);
  check_disjoint(op, output.scales, input);
  check_disjoint(op, output.global_scales, input);
}

}  // namespace nvfp4j
