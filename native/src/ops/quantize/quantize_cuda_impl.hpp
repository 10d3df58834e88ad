// SPDX-License-Identifier: Apache-2.0
// Between the .cu files of quantize.
#pragma once
#include "ops/quantize/quantize_cuda.hpp"
#include "ops/quantize/quantize_plan.hpp"

namespace nvfp4j {

int quantize_generic(const CudaLaunch& launch, const QuantizeArgs& args, const QuantizePlan& plan);
int quantize_generic_warm_up(const CudaDeviceProperties& device);

// kRowsBulk and kTensorRing.
int quantize_sm90(const CudaLaunch& launch, const QuantizeArgs& args, const QuantizePlan& plan);
int quantize_sm90_warm_up(const CudaDeviceProperties& device);

}  // namespace nvfp4j
