// SPDX-License-Identifier: Apache-2.0
// The kernels of gemm_wgmma.cuh for groups of rows of BF16 tokens.
#include "ops/gemm/gemm_wgmma_kernels.cuh"

namespace nvfp4j {

WgmmaKernel wgmma_kernel_grouped(int config, bool swiglu) {
  switch (config) {
#define NVFP4J_CASE(i, ...)                                                 \
  case i:                                                                   \
    return swiglu ? wgmma_kernel_of<WgmmaConfig<__VA_ARGS__>, true, true>() \
                  : wgmma_kernel_of<WgmmaConfig<__VA_ARGS__>, true, false>();
    NVFP4J_GEMM_WGMMA_BASIC(NVFP4J_CASE)
#undef NVFP4J_CASE
    default:
      return {};
  }
}

}  // namespace nvfp4j
