// SPDX-License-Identifier: Apache-2.0
// For the files that instantiate gemm_decode.cuh.
#pragma once
#include "ops/gemm/gemm_cuda_impl.hpp"
#include "ops/gemm/gemm_decode.cuh"

namespace nvfp4j {

template <class C, bool GROUPED, bool SWIGLU>
DecodeKernel decode_kernel_of() {
  static_assert((C::bytes(C::kTokens, GROUPED) + 1024) * C::kBlocks <= 228 * 1024, "fits an SM");
  return {reinterpret_cast<const void*>(&device::gemm_decode_kernel<C, GROUPED, SWIGLU>),
          C::kThreads, &C::bytes};
}

// An odd number of tiles is not for gate and up. Linear weights have one slot a ring (more made them slower) and take the registers of two thread blocks.
template <int WN, int WK, int CK, int NT, int STAGES, int PIECES, int BLOCKS, bool LINEAR>
DecodeKernel decode_kernel_of(const GemmVariant& v) {
  using B =
      DecodeConfig<WN, WK, CK, NT, LINEAR ? 1 : STAGES, PIECES, LINEAR ? 1 : BLOCKS, false, LINEAR>;
  using N =
      DecodeConfig<WN, WK, CK, NT, LINEAR ? 1 : STAGES, PIECES, LINEAR ? 1 : BLOCKS, true, LINEAR>;
  if constexpr (takes_groups({WN, WK, CK, NT, STAGES, PIECES, BLOCKS})) {
    if constexpr (WN % 2 == 0) {
      if (v.grouped && v.swiglu)
        return v.nvfp4 ? decode_kernel_of<N, true, true>() : decode_kernel_of<B, true, true>();
    }
    if (v.grouped && !v.swiglu)
      return v.nvfp4 ? decode_kernel_of<N, true, false>() : decode_kernel_of<B, true, false>();
  }
  if constexpr (WN % 2 == 0) {
    if (v.swiglu && !v.grouped)
      return v.nvfp4 ? decode_kernel_of<N, false, true>() : decode_kernel_of<B, false, true>();
  }
  if (v.grouped || v.swiglu) return {};
  return v.nvfp4 ? decode_kernel_of<N, false, false>() : decode_kernel_of<B, false, false>();
}

}  // namespace nvfp4j
