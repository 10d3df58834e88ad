/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NVFP4J_EXPERTS_H
#define NVFP4J_EXPERTS_H
/**
 * @file experts.h
 * @brief expert_dispatch and expert_combine: a token's way to its experts and back, the same bits on every device.
 *
 * expert_dispatch sorts the T*k choices of the tokens by expert; those of one expert keep their order (token by token, slot by slot). grouped_gemm (gemm.h) takes the offsets, quantize (quantize.h) the list
 * of rows: it gathers and quantises straight from the tokens, so that sorted rows of activations never exist. expert_combine adds up what the experts gave.
 *
 * The weights can come in at either end. DeepSeek multiplies them in before w2: dispatch sorts them to `row_weights`, swiglu, swiglu_quantize or grouped_gemm with SwiGLU take them as their weight of a row, and combine is called with weights
 * NULL. Or combine multiplies them in.
 *
 * Source: MoE.forward of DeepSeek-V4's reference model.
 */
#include "nvfp4j/router.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Sorts choices by expert.
 * @code
 *   offsets[e]      = number of choices (t, j) with 0 <= indices[t,j] < e, for e = 0 .. E                    // offsets[E]: of all that are in range
 *   positions[t,j]  = offsets[e] + number of choices before (t, j), in row-major order, with the same e      // e = indices[t,j]
 *   rows[positions[t,j]] = t ; row_weights[positions[t,j]] = weights[t,j]
 * @endcode
 * An id outside [0, E) goes nowhere and is reported: its position is -1. What is then left of `rows` and `row_weights`, from offsets[E] on, is -1 and 0.
 *
 * One launch on a CUDA device; asynchronous there, done on return on the CPU. Deterministic.
 * @param[in] context not NULL.
 * @param[in] indices [T, k] I32, any row stride >= k; k from 1 to 16, T*k up to 2^31 - 1. T may be 0: offsets are zeros then.
 * @param[in] weights NULL, or [T, k] F32, any row stride >= k.
 * @param[out] offsets [E+1] I32 contiguous, E from 1 to 1024.
 * @param[out] rows [T*k] I32 contiguous.
 * @param[out] positions [T, k] I32, any row stride >= k.
 * @param[out] row_weights [T*k] F32 contiguous; NULL exactly where `weights` is.
 * @param[out] error may be NULL.
 * Outputs overlap neither inputs nor each other.
 * Reports INDEX_OUT_OF_RANGE (row: the token, column: j).
 */
NVFP4J_API int32_t nvfp4j_expert_dispatch(nvfp4j_context* context, const nvfp4j_tensor* indices,
                                          const nvfp4j_tensor* weights,
                                          const nvfp4j_tensor* offsets, const nvfp4j_tensor* rows,
                                          const nvfp4j_tensor* positions,
                                          const nvfp4j_tensor* row_weights, nvfp4j_error* error);

/**
 * Adds up what the experts gave for each token.
 * @code
 *   acc = +0 ; for j = 0 .. k-1, where p = positions[t,j] is not -1: acc = fma(weights[t,j], f32(y[p,d]), acc)     // weights NULL: acc = acc + y[p,d]
 *   if (shared) acc = acc + f32(shared[t,d])
 *   out[t,d] = acc, rounded to the type of out once
 * @endcode
 * In IEEE binary32, each operation rounded to nearest even. A position of -1 contributes nothing (dispatch reported it), whatever its weight; any other outside [0, R) is reported, and contributes nothing. A NaN result is 0x7FC0 (BF16) or 0x7FC00000 (F32).
 *
 * One launch on a CUDA device; asynchronous there, done on return on the CPU. Deterministic.
 * @param[in] context not NULL.
 * @param[in] y [R, D] BF16 or F32, rows sorted by expert, any row stride >= D; R may be 0, D up to 2^31 - 1. With D = 0 nothing is done, and nothing reported.
 * @param[in] positions [T, k] I32, any row stride >= k; k from 1 to 16. T may be 0.
 * @param[in] weights NULL, or [T, k] F32, any row stride >= k.
 * @param[in] shared NULL, or [T, D], type of y, any row stride >= D: what the shared expert gave.
 * @param[out] out [T, D] BF16 or F32, any row stride >= D. Overlaps no input, except that it may be `shared` itself (the same memory, type and strides).
 * @param[out] error may be NULL.
 * Reports INDEX_OUT_OF_RANGE (row: the token, column: j).
 */
NVFP4J_API int32_t nvfp4j_expert_combine(nvfp4j_context* context, const nvfp4j_tensor* y,
                                         const nvfp4j_tensor* positions,
                                         const nvfp4j_tensor* weights, const nvfp4j_tensor* shared,
                                         const nvfp4j_tensor* out, nvfp4j_error* error);

#ifdef __cplusplus
}
#endif
#endif
