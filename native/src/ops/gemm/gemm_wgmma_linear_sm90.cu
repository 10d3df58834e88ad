// SPDX-License-Identifier: Apache-2.0
// The kernels of gemm_wgmma.cuh for linear weights.
#include "ops/gemm/gemm_wgmma_kernels.cuh"

namespace nvfp4j {

WgmmaKernel wgmma_kernel_linear(int config, bool grouped, bool swiglu) {
  switch (config) {
#define NVFP4J_CASE(i, ...) \
  case i:                   \
    return wgmma_kernel_of_linear<i, LinearWeights<WgmmaConfig<__VA_ARGS__>>>(grouped, swiglu);
    NVFP4J_GEMM_WGMMA_CONFIGS(NVFP4J_CASE)
#undef NVFP4J_CASE
    default:
      return {};
  }
}

}  // namespace nvfp4j
