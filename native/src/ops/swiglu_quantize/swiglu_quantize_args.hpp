// SPDX-License-Identifier: Apache-2.0
// A validated swiglu_quantize call, as the CPU and CUDA implementations get it.
#pragma once
#include "ops/quantize/quantize_args.hpp"
#include "ops/swiglu/swiglu_args.hpp"

namespace nvfp4j {

struct SwigluQuantizeArgs {
  SwigluInput input;
  QuantizeRecipe recipe;
  QuantizeOutput output;
};

}  // namespace nvfp4j
