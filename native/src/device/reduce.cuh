// SPDX-License-Identifier: Apache-2.0
// Maxima of magnitudes. A magnitude's bits, read as an unsigned integer, order as the magnitude does, so that every order of reduction gives the same bits.
#pragma once
#include <cstdint>

namespace nvfp4j::device {

__device__ __forceinline__ std::uint32_t warp_max(std::uint32_t v) {
  return __reduce_max_sync(0xffffffffu, v);
}

// Maximum over a thread block of up to 1024 threads (a multiple of 32), in every thread. `scratch` has 32 words; a second use needs a barrier in between.
__device__ __forceinline__ std::uint32_t block_max(std::uint32_t v, std::uint32_t* scratch) {
  const std::uint32_t lane = threadIdx.x & 31u;
  const std::uint32_t warps = blockDim.x >> 5;
  v = warp_max(v);
  if (lane == 0u) scratch[threadIdx.x >> 5] = v;
  __syncthreads();
  return warp_max(lane < warps ? scratch[lane] : 0u);
}

}  // namespace nvfp4j::device
