/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NVFP4J_QUANTIZE_H
#define NVFP4J_QUANTIZE_H
/**
 * @file quantize.h
 * @brief quantize and dequantize: [M, K] BF16, F16 or F32 to NVFP4 and back; the same bits on every device.
 *
 * The EXACT recipe, in IEEE binary32 with round-to-nearest-even and nothing else (2688 = 6 * 448):
 * @code
 *   A  = max over finite |x|                     // of the tensor, or of each row
 *   gs = A / 2688 ; if (gs == 0) gs = 1          // or supplied
 *   g6 = 6 * gs
 *   per block of 16: ab = max over finite |x| ; S = e4m3_rn_satfinite(ab / g6)
 *                    if (S == 0 && ab > 0) S = 0x01             // zero_scale = MIN; FLUSH leaves 0
 *                    d = f32(S) * gs
 *   per element:     q = d > 0 ? e2m1_rn_satfinite(x / d) : signbit(x) << 3
 *   a NaN or infinite element is coded e2m1_rn_satfinite(x) whatever d is (7 for NaN, 7 or 15 for infinities), and reported.
 *   dequantize:      y = e2m1(q) * d ; BF16 and F16 outputs round that to nearest even
 * @endcode
 * Source: the two-level NVFP4 scaling of NVIDIA Model Optimizer, whose weights this equals code for code; it differs only where that gives NaN (an all-zero tensor), in the scale byte of an all-zero block (0x00
 * against 0x38) and in keeping the sign of -0.0.
 *
 * The TE_EXACT recipe equals NVIDIA Transformer Engine's default kernels and FlashInfer with fast math disabled:
 * @code
 *   E = A == 0 ? 1 : min(2688 / A, FLT_MAX) ; if (E == 0) E = 1 ; gs = 1 / E          // supplied gs: E = min(1 / gs, FLT_MAX)
 *   per block: S = e4m3_rn_satfinite(min(ab * (E * fl(1/6)), FLT_MAX)) ; c = min(1 / (f32(S) * gs), FLT_MAX)
 *   per element: q = e2m1_rn_satfinite(fma(x, c, +0)) ; a NaN or infinite element is coded and reported as EXACT does
 * @endcode
 * It leaves no zero-scale policy to choose: `zero_scale` must be valid and has no effect.
 */
#include "nvfp4j/context.h"
#include "nvfp4j/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** @name Where the global scale comes from */
/**@{*/
/** Computed from the input and written to the output: one for the tensor, or one per row, as the output's global_scale_kind says. */
#define NVFP4J_GLOBAL_SCALE_DYNAMIC 0
/** Read from the output's global_scales (finite and > 0, else reported and 1 is used). */
#define NVFP4J_GLOBAL_SCALE_GIVEN 1
/**@}*/

/** @name Recipes */
/**@{*/
#define NVFP4J_RECIPE_EXACT 0
#define NVFP4J_RECIPE_TE_EXACT 1
/**@}*/

/** @name What becomes of a block scale that rounds to zero while the block is not all zero */
/**@{*/
/** It becomes 0x01, the smallest: the block keeps what it can. */
#define NVFP4J_ZERO_SCALE_MIN 0
/** It stays 0: the block decodes to zeros. */
#define NVFP4J_ZERO_SCALE_FLUSH 1
/**@}*/

/** How to quantise. */
typedef struct nvfp4j_quantize_options {
  /** sizeof(nvfp4j_quantize_options), set by the caller. */
  int32_t struct_size;
  /** NVFP4J_GLOBAL_SCALE_DYNAMIC or _GIVEN. */
  int32_t global_scale;
  /** One of NVFP4J_RECIPE_*. */
  int32_t recipe;
  /** One of NVFP4J_ZERO_SCALE_*. */
  int32_t zero_scale;
} nvfp4j_quantize_options;

/**
 * Quantises a matrix, or gathered rows of it.
 *
 * One launch on a CUDA device; asynchronous there, done on return on the CPU. Deterministic.
 * @param[in] context not NULL.
 * @param[in] input [T, K] BF16, F16 or F32, any row stride >= K, K a multiple of 16.
 * @param[in] rows NULL, or I32 [R] contiguous: output row i is the quantised input row rows[i]. An id outside [0, T) is reported; its row becomes zeros (codes and scales 0, dynamic per-row global scale 1).
 *   A is the maximum over the rows that are gathered.
 * @param[in] options not NULL.
 * @param[in,out] output [T, K], or [R, K] with `rows`. Overlaps no input. Padding of a swizzled layout is zeroed. Global scales are written when they are dynamic, and only read when they are given. With no
 *   rows nothing is written at all.
 * @param[out] error may be NULL.
 * Reports NON_FINITE_INPUT, BAD_GLOBAL_SCALE, INDEX_OUT_OF_RANGE.
 */
NVFP4J_API int32_t nvfp4j_quantize(nvfp4j_context* context, const nvfp4j_tensor* input,
                                   const nvfp4j_tensor* rows,
                                   const nvfp4j_quantize_options* options,
                                   const nvfp4j_nvfp4_tensor* output, nvfp4j_error* error);

/**
 * Decodes an NVFP4 tensor: y = e2m1(q) * (f32(S) * gs), both products rounded to nearest even in f32, then to the output's type.
 * @param[in] context not NULL.
 * @param[in] input [M, K].
 * @param[in] output [M, K] F32, BF16 or F16; any row stride >= K. Overlaps no buffer of the input.
 * @param[out] error may be NULL.
 * Reports BAD_BLOCK_SCALE. Global scales are used as they are. A NaN result is 0x7FC00000 (F32), 0x7FC0 (BF16) or 0x7E00 (F16) on every device.
 */
NVFP4J_API int32_t nvfp4j_dequantize(nvfp4j_context* context, const nvfp4j_nvfp4_tensor* input,
                                     const nvfp4j_tensor* output, nvfp4j_error* error);

#ifdef __cplusplus
}
#endif
#endif
