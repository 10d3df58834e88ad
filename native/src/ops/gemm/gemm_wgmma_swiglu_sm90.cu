// SPDX-License-Identifier: Apache-2.0
// The kernels of gemm_wgmma.cuh with SwiGLU, for BF16 tokens of one matrix.
#include "ops/gemm/gemm_wgmma_kernels.cuh"

namespace nvfp4j {

WgmmaKernel wgmma_kernel_swiglu(int config) {
  switch (config) {
#define NVFP4J_CASE(i, ...) \
  case i:                   \
    return wgmma_kernel_of<WgmmaConfig<__VA_ARGS__>, false, true>();
    NVFP4J_GEMM_WGMMA_CONFIGS(NVFP4J_CASE)
#undef NVFP4J_CASE
    default:
      return {};
  }
}

}  // namespace nvfp4j
