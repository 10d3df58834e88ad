// SPDX-License-Identifier: Apache-2.0
// Logits divided by the temperature. It is the same for all of them: its reciprocal is made once, while the kernel before still runs, and 4 quotients take no branch between them. (Each __fdiv_rn makes a reciprocal of its own and ends in a branch, so that none overlaps the next.)
#pragma once
#include <cstdint>

namespace nvfp4j::device {

class SampleDivisor {
 public:
  __device__ __forceinline__ explicit SampleDivisor(float temperature)
      : divisor_(temperature), usual_(temperature >= 0x1p-20f && temperature <= 0x1p20f) {
    reciprocal_ = __frcp_rn(temperature);
  }

  // q = l / temperature rounded to nearest even, the bits of __fdiv_rn (but for those of a NaN).
  // Within these bounds nothing here is subnormal, infinite, or cut short: the first correction leaves a quotient within a unit in its last place, whose remainder is exact, and the second rounds it right, as the reciprocal is the right one (Markstein, Computation of Elementary Functions on the IBM RISC System/6000 Processor, 1990).
  __device__ __forceinline__ void divide(const float (&l)[4], float (&q)[4]) const {
    bool hard = !usual_;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const std::uint32_t magnitude = __float_as_uint(l[j]) << 1;
      const bool ordinary = magnitude - kLeast <= kMost - kLeast;
      // Zeros, infinities and NaN: the product is the quotient.
      const bool simple = magnitude + kBeyond <= kBeyond;
      const float product = __fmul_rn(l[j], reciprocal_);
      float quotient = product;
#pragma unroll
      for (int i = 0; i < 2; ++i)
        quotient = __fmaf_rn(__fmaf_rn(-divisor_, quotient, l[j]), reciprocal_, quotient);
      q[j] = ordinary ? quotient : product;
      hard = hard || !(ordinary || simple);
    }
    if (hard) {
#pragma unroll
      for (int j = 0; j < 4; ++j) q[j] = __fdiv_rn(l[j], divisor_);
    }
  }

 private:
  // Of bits without the sign: 2^-100, 2^100, and what is added to infinity to make 0.
  static constexpr std::uint32_t kLeast = (127u - 100u) << 24;
  static constexpr std::uint32_t kMost = (127u + 100u) << 24;
  static constexpr std::uint32_t kBeyond = 1u << 24;

  float divisor_;
  float reciprocal_;
  bool usual_;
};

}  // namespace nvfp4j::device
