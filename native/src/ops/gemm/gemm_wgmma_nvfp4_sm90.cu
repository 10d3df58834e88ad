// SPDX-License-Identifier: Apache-2.0
// The kernels of gemm_wgmma.cuh for NVFP4 tokens.
#include "ops/gemm/gemm_wgmma_kernels.cuh"

namespace nvfp4j {
namespace {

template <class C>
WgmmaKernel kernel_of(bool grouped, bool swiglu) {
  if (grouped) return swiglu ? wgmma_kernel_of<C, true, true>() : wgmma_kernel_of<C, true, false>();
  return swiglu ? wgmma_kernel_of<C, false, true>() : wgmma_kernel_of<C, false, false>();
}

}  // namespace

WgmmaKernel wgmma_kernel_nvfp4(int config, bool grouped, bool swiglu) {
  switch (config) {
#define NVFP4J_CASE(i, ...) \
  case i:                   \
    return kernel_of<WgmmaConfig<__VA_ARGS__, true>>(grouped, swiglu);
    NVFP4J_GEMM_WGMMA_BASIC(NVFP4J_CASE)
#undef NVFP4J_CASE
    default:
      return {};
  }
}

}  // namespace nvfp4j
