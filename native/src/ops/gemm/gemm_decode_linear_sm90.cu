// SPDX-License-Identifier: Apache-2.0
// The kernels of gemm_decode.cuh for linear weights.
#include "ops/gemm/gemm_decode_kernels.cuh"

namespace nvfp4j {

DecodeKernel decode_kernel_linear(int config, const GemmVariant& variant) {
  switch (config) {
#define NVFP4J_CASE(i, ...) \
  case i:                   \
    return decode_kernel_of<__VA_ARGS__, true>(variant);
    NVFP4J_GEMM_DECODE_CONFIGS(NVFP4J_CASE)
#undef NVFP4J_CASE
    default:
      return {};
  }
}

}  // namespace nvfp4j
