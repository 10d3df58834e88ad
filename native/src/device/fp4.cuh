// SPDX-License-Identifier: Apache-2.0
// NVFP4 of a block of 16 elements: its scale under a global scale, then its codes.
#pragma once
#include "device/block.cuh"
#include "device/e2m1.cuh"
#include "device/fp8.cuh"
#include "nvfp4j/quantize.h"

namespace nvfp4j::device {

// What all blocks under one global scale share.
struct GlobalScale {
  float gs;
  float divisor;     // EXACT: 6 gs. TE_EXACT: the factor S_enc * fl(1/6) of a block's amax
  float reciprocal;  // EXACT: of the divisor, refined
  bool
      plain;  // EXACT: gs is so ordinary that no range needs to be checked for a block whose scale is not 0
};

template <int RECIPE>
__device__ __forceinline__ GlobalScale global_scale_of(float gs, float enc) {
  GlobalScale g;
  g.gs = gs;
  if constexpr (RECIPE == NVFP4J_RECIPE_EXACT) {
    g.divisor = __fmul_rn(6.0f, gs);
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(g.reciprocal) : "f"(g.divisor));
    g.reciprocal = __fmaf_rn(__fmaf_rn(-g.divisor, g.reciprocal, 1.0f), g.reciprocal, g.reciprocal);
    g.plain = gs >= 0x1p-60f && gs <= 0x1p60f;
  } else {
    g.divisor = __fmul_rn(enc, __uint_as_float(0x3E2AAAABu));
    g.reciprocal = 0.0f;
    g.plain = false;
  }
  return g;
}

// From the largest finite magnitude A.
template <int RECIPE>
__device__ __forceinline__ GlobalScale dynamic_global_scale(float amax) {
  if constexpr (RECIPE == NVFP4J_RECIPE_EXACT) {
    float gs = __fdiv_rn(amax, 2688.0f);
    if (gs == 0.0f) gs = 1.0f;
    return global_scale_of<RECIPE>(gs, 0.0f);
  } else {
    float enc = amax == 0.0f ? 1.0f : fminf(__fdiv_rn(2688.0f, amax), 3.402823466e+38f);
    if (enc == 0.0f) enc = 1.0f;
    return global_scale_of<RECIPE>(__fdiv_rn(1.0f, enc), enc);
  }
}

// From a supplied one. The caller reports a bad one.
__device__ __forceinline__ bool global_scale_is_good(float gs) {
  return gs > 0.0f && gs <= 3.402823466e+38f;
}
template <int RECIPE>
__device__ __forceinline__ GlobalScale given_global_scale(float gs) {
  if (!global_scale_is_good(gs)) gs = 1.0f;
  const float enc =
      RECIPE == NVFP4J_RECIPE_EXACT ? 0.0f : fminf(__fdiv_rn(1.0f, gs), 3.402823466e+38f);
  return global_scale_of<RECIPE>(gs, enc);
}

// RN(a / divisor) for a >= 0 and a plain scale, exact where it decides anything: division's own sequence (refined reciprocal, quotient, one correction) without its range checks, which a divisor
// within [2^-58, 2^63] makes needless for every quotient that rounds to a scale other than 0. A quotient from 448 on is 448, as e4m3 makes it, also where the sequence overflows.
__device__ __forceinline__ float scale_quotient(float a, const GlobalScale& g) {
  float q = __fmul_rn(a, g.reciprocal);
  q = __fmaf_rn(__fmaf_rn(-q, g.divisor, a), g.reciprocal, q);
  return fminf(q, 448.0f);  // of a NaN: 448
}

struct EncodedBlock {
  uint2 codes;
  std::uint32_t scale;
};

// EXACT for any global scale and any block, by division. Cold: blocks of zeros, scales that round to 0, NaNs and infinities, and global scales that are not plain.
template <typename T>
__device__ __noinline__ EncodedBlock encode_any(Block<T> x, std::uint32_t amax, float gs,
                                                float divisor, bool flush) {
  EncodedBlock r;
  r.scale = e4m3_from_f32(__fdiv_rn(Block<T>::magnitude(amax), divisor));
  if (r.scale == 0u && amax != 0u && !flush) r.scale = 1u;
  r.codes = codes_by_division<T>(x, __fmul_rn(f32_from_e4m3(r.scale), gs));
  return r;
}

// A block's scale and codes. `amax` as amax_bits() gave it.
// `finite` is asked only for a block with a NaN or infinity: it reports that and gives the largest finite magnitude.
template <typename T, int RECIPE, typename Finite>
__device__ __forceinline__ EncodedBlock encode_block(const Block<T>& x, std::uint32_t amax,
                                                     const GlobalScale& g, bool flush,
                                                     Finite finite) {
  EncodedBlock r;
  if constexpr (RECIPE == NVFP4J_RECIPE_EXACT) {
    r.scale = e4m3_from_f32(scale_quotient(Block<T>::magnitude(amax), g));
    if (amax >= T::kInfinity || r.scale == 0u || !g.plain) {
      Block<T> y = x;
      if (amax >= T::kInfinity) {
        amax = finite(x);
        y = without_negative_nans<T>(x);
      }
      return encode_any<T>(y, amax, g.gs, g.divisor, flush);
    }
    // A scale of 2^-9 to 448 and a plain gs: d is within [2^-69, 2^69].
    r.codes = codes_under<T>(x, __fmul_rn(f32_from_e4m3(r.scale), g.gs), Block<T>::magnitude(amax));
  } else {
    if (amax >= T::kInfinity) amax = finite(x);
    r.scale =
        e4m3_from_f32(fminf(__fmul_rn(Block<T>::magnitude(amax), g.divisor), 3.402823466e+38f));
    const float c =
        fminf(__fdiv_rn(1.0f, __fmul_rn(f32_from_e4m3(r.scale), g.gs)), 3.402823466e+38f);
    r.codes = codes_by_multiplication<T>(x, c);
  }
  return r;
}

}  // namespace nvfp4j::device
