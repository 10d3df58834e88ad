/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NVFP4J_SWIGLU_H
#define NVFP4J_SWIGLU_H
/**
 * @file swiglu.h
 * @brief swiglu and swiglu_quantize: the clamped SwiGLU of DeepSeek-V4's experts; the same bits on every device.
 *
 * In IEEE binary32, each operation rounded to nearest even, L = limit:
 * @code
 *   g = f32(gate) ; u = f32(up)
 *   if (L > 0) { if (g > L) g = L ; if (u > L) u = L ; if (u < -L) u = -L }     // NaN stays NaN
 *   e = exp(-g)                                      // this project's exp: native/src/common/math.hpp
 *   h = (g / (1 + e)) * u
 *   if (weight) h = h * weight[t]
 *   y = round to the input's type, nearest even
 * @endcode
 * The clamp acts on real values before SiLU: above on the gate, on both sides of the up projection. silu(-inf) is NaN, as -inf / inf is;
 * a NaN result is 0x7FC00000 (F32) or 0x7FC0 (BF16) on every device.
 * Source: Expert.forward of DeepSeek-V4's reference model.
 */
#include "nvfp4j/quantize.h"

#ifdef __cplusplus
extern "C" {
#endif

/** @name How gate and up share a row of 2I columns */
/**@{*/
/** [gate 0..I-1 | up 0..I-1]. */
#define NVFP4J_SWIGLU_HALVES 0
/** gate 0, up 0, gate 1, up 1, ... */
#define NVFP4J_SWIGLU_INTERLEAVED 1
/**@}*/

/** How to apply SwiGLU. */
typedef struct nvfp4j_swiglu_options {
  /** sizeof(nvfp4j_swiglu_options), set by the caller. */
  int32_t struct_size;
  /** NVFP4J_SWIGLU_HALVES or _INTERLEAVED. */
  int32_t columns;
  /** L; 0 = no clamp. Finite, not negative. */
  float limit;
  /** Zero. */
  int32_t reserved;
} nvfp4j_swiglu_options;

/**
 * y = silu(min(gate, L)) * clamp(up, -L, L) [* weight].
 * @param[in] context not NULL.
 * @param[in] gate_up [T, 2I] BF16 or F32, any row stride >= 2I, I <= 2^31 - 1.
 * @param[in] weight NULL, or F32 [T] contiguous: a factor per row (routing weight).
 * @param[in] options not NULL.
 * @param[out] output [T, I], dtype of gate_up, any row stride >= I. Overlaps no input.
 * @param[out] error may be NULL.
 */
NVFP4J_API int32_t nvfp4j_swiglu(nvfp4j_context* context, const nvfp4j_tensor* gate_up,
                                 const nvfp4j_tensor* weight, const nvfp4j_swiglu_options* options,
                                 const nvfp4j_tensor* output, nvfp4j_error* error);

/**
 * swiglu, then quantize of the value rounded to gate_up's type, in one launch: bit-equal to the two ops in turn. I must be a multiple of 16.
 * @param[in] context not NULL.
 * @param[in] gate_up [T, 2I] BF16 or F32, any row stride >= 2I, I <= 2^31 - 1.
 * @param[in] weight NULL, or F32 [T] contiguous.
 * @param[in] swiglu_options not NULL.
 * @param[in] quantize_options not NULL.
 * @param[in,out] output [T, I]. Overlaps no input.
 * @param[out] error may be NULL.
 * Reports NON_FINITE_INPUT (of the SwiGLU's result), BAD_GLOBAL_SCALE.
 */
NVFP4J_API int32_t nvfp4j_swiglu_quantize(nvfp4j_context* context, const nvfp4j_tensor* gate_up,
                                          const nvfp4j_tensor* weight,
                                          const nvfp4j_swiglu_options* swiglu_options,
                                          const nvfp4j_quantize_options* quantize_options,
                                          const nvfp4j_nvfp4_tensor* output, nvfp4j_error* error);

#ifdef __cplusplus
}
#endif
#endif
