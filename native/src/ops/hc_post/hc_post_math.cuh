// SPDX-License-Identifier: Apache-2.0
// The new residual of some neighbouring columns, bit-equal to nvfp4j/hyper_connections.h.
#pragma once
#include "device/packet.cuh"

namespace nvfp4j::device {

// post[k] * f + sum over j of comb[j,k] * x[j], as fused multiply-adds in the order of j. `weights` has post(k) and comb(j, k). N >= n, n compile-time where they are equal.
template <typename T, int N, int WORDS, typename Weights>
__device__ __forceinline__ void post_values(const std::uint32_t (&x)[N][WORDS],
                                            const std::uint32_t (&f)[WORDS], int k, int n,
                                            const Weights& weights,
                                            float (&y)[WORDS * 4 / T::kBytes]) {
  constexpr int kColumns = WORDS * 4 / T::kBytes;
  unpack<T, WORDS>(f, y);
  const float p = weights.post(k);
#pragma unroll
  for (int i = 0; i < kColumns; ++i) y[i] = __fmul_rn(p, y[i]);
#pragma unroll
  for (int j = 0; j < N; ++j) {
    if (j < n) {
      float v[kColumns];
      unpack<T, WORDS>(x[j], v);
      const float c = weights.comb(j, k);
#pragma unroll
      for (int i = 0; i < kColumns; ++i) y[i] = __fmaf_rn(c, v[i], y[i]);
    }
  }
}

// out[k]: the same, rounded.
template <typename T, int N, int WORDS, typename Weights>
__device__ __forceinline__ void post_columns(const std::uint32_t (&x)[N][WORDS],
                                             const std::uint32_t (&f)[WORDS], int k, int n,
                                             const Weights& weights, std::uint32_t (&out)[WORDS]) {
  float y[WORDS * 4 / T::kBytes];
  post_values<T, N, WORDS>(x, f, k, n, weights, y);
  pack<T, WORDS>(y, out);
}

}  // namespace nvfp4j::device
