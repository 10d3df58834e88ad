// SPDX-License-Identifier: Apache-2.0
// The kernels of gemm_wgmma.cuh with SwiGLU, for BF16 tokens of one matrix.
#include "ops/gemm/gemm_wgmma_kernels.cuh"

namespace nvfp4j {
namespace {

// Three warpgroups with the sums of 128 tokens have no registers left for a second set beside what gate and up need; it changes no bit.
template <int BM, int WGN, int WGK, int CK, int A_STAGES, int W_STAGES, int SETS>
using SwigluConfig =
    WgmmaConfig<BM, WGN, WGK, CK, A_STAGES, W_STAGES, (WGN * WGK > 2 && CK == 1) ? 1 : SETS>;

}  // namespace

WgmmaKernel wgmma_kernel_swiglu(int config) {
  switch (config) {
#define NVFP4J_CASE(i, ...) \
  case i:                   \
    return wgmma_kernel_of<SwigluConfig<__VA_ARGS__>, false, true>();
    NVFP4J_GEMM_WGMMA_CONFIGS(NVFP4J_CASE)
#undef NVFP4J_CASE
    default:
      return {};
  }
}

}  // namespace nvfp4j
