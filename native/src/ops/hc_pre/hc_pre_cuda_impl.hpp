// SPDX-License-Identifier: Apache-2.0
// Between the files of hc_pre's CUDA implementation.
#pragma once
#include "ops/hc_pre/hc_pre_cuda.hpp"
#include "ops/hc_pre/hc_pre_plan.hpp"

namespace nvfp4j {

int hc_pre_generic(const CudaLaunch& launch, const HcPreArgs& args, const HcPrePlan& plan);
int hc_pre_generic_warm_up();

int hc_pre_split(const CudaLaunch& launch, const HcPreArgs& args, const HcPrePlan& plan);
int hc_pre_split_warm_up(const CudaDeviceProperties& device);

int hc_pre_wgmma(const CudaLaunch& launch, const HcPreArgs& args, const HcPrePlan& plan);
int hc_pre_wgmma_warm_up(const CudaDeviceProperties& device);

}  // namespace nvfp4j
