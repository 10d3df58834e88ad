// SPDX-License-Identifier: Apache-2.0
// For the files that instantiate gemm_wgmma.cuh.
#pragma once
#include "ops/gemm/gemm_cuda_impl.hpp"
#include "ops/gemm/gemm_wgmma.cuh"

namespace nvfp4j {

template <class C, bool GROUPED, bool SWIGLU>
WgmmaKernel wgmma_kernel_of() {
  static_assert(C::bytes(GROUPED) <= 227 * 1024, "what a thread block may have on Hopper");
  return {reinterpret_cast<const void*>(&device::gemm_wgmma_kernel<C, GROUPED, SWIGLU>),
          C::kThreads, C::bytes(GROUPED)};
}

// Of linear weights: of groups the basic configurations.
template <int CONFIG, class C>
WgmmaKernel wgmma_kernel_of_linear(bool grouped, bool swiglu) {
  if constexpr (CONFIG < kWgmmaBasicConfigs) {
    if (grouped)
      return swiglu ? wgmma_kernel_of<C, true, true>() : wgmma_kernel_of<C, true, false>();
  }
  if constexpr (wgmma_takes_linear(CONFIG)) {
    if (!grouped)
      return swiglu ? wgmma_kernel_of<C, false, true>() : wgmma_kernel_of<C, false, false>();
  }
  return {};
}

}  // namespace nvfp4j
