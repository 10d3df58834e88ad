// SPDX-License-Identifier: Apache-2.0
// Between the .cu files of swiglu_quantize.
#pragma once
#include "ops/quantize/quantize_plan.hpp"
#include "ops/swiglu_quantize/swiglu_quantize_cuda.hpp"

namespace nvfp4j {

// kRowsBulk.
int swiglu_quantize_sm90(const CudaLaunch& launch, const SwigluQuantizeArgs& args,
                         const QuantizePlan& plan);
int swiglu_quantize_sm90_warm_up(const CudaDeviceProperties& device);

}  // namespace nvfp4j
