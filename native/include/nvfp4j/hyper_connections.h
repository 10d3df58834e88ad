/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NVFP4J_HYPER_CONNECTIONS_H
#define NVFP4J_HYPER_CONNECTIONS_H
/**
 * @file hyper_connections.h
 * @brief hc_pre, hc_post, hc_head and hc_post_pre: DeepSeek-V4's manifold-constrained hyper-connections.
 *
 * The residual has n streams of D columns a token, x [T, n, D]. A module (attention or experts) has `fn` [n(n+2), n*D], `base` [n(n+2)], whose rows are
 * n of pre, n of post, n*n of comb (j*n + k), and `scale` [3] = pre, post, comb. Per token:
 * @code
 *   r         = 1 / sqrt(mean over all n*D values of x^2 + rms_eps)
 *   m[i]      = (sum over c of fn[i,c] * x[c]) * r              // c = stream * D + column; x as it is, not normalised
 *   pre[i]    = sigmoid(m[i] * scale[0] + base[i]) + hc_eps
 *   post[i]   = 2 * sigmoid(m[n+i] * scale[1] + base[n+i])      // no eps
 *   L[j,k]    = m[2n+j*n+k] * scale[2] + base[2n+j*n+k]
 *   comb      = sinkhorn(L, iterations, hc_eps)                 // nvfp4j/sinkhorn.h
 *   collapsed[d] = pre[0] * x[0,d], then fma(pre[i], x[i,d], .) for i = 1 .. n-1, rounded to x's type
 * @endcode
 * and behind the module, whose result is `sub` [T, D]:
 * @code
 *   out[k,d]  = post[k] * sub[d], then fma(comb[j,k], x[j,d], .) for j = 0 .. n-1, rounded to x's type    // comb is used transposed
 * @endcode
 * All in binary32, mixes of `fn` and sums of squares at least as accurate: |m - exact m| <= 5e-8 * r * sum over c of |fn[i,c] * x[c]| + 2^-22 * |m|. sigmoid(z) = 1 / (1 + exp(-z)) with this project's exp.
 * hc_post has the same bits on every device; the others have the same bits in every run on one device, and agree between devices within that bound. A NaN result is 0x7FC0 (BF16) or 0x7FC00000 (F32).
 *
 * Tensors of the residual, [T, n, D]: BF16 or F32, n from 1 to 16, D a positive multiple of 8 up to 2^24, columns contiguous, streams at any stride >= D, tokens at any stride that keeps them apart. [T, D]: the
 * type of x, any row stride >= D. post [T, n] and comb [T, n, n]: F32, a token's elements contiguous, tokens at any stride that keeps them apart. T may be 0. Outputs overlap neither inputs nor each other,
 * but for `out` where it says so.
 *
 * Source: Block.hc_pre, Block.hc_post and the head of DeepSeek-V4's reference model; the post step in F32 with one rounding, as there.
 */
#include "nvfp4j/quantize.h"
#include "nvfp4j/sinkhorn.h"

#ifdef __cplusplus
extern "C" {
#endif

/** How a module mixes its streams. */
typedef struct nvfp4j_hc_options {
  /** sizeof(nvfp4j_hc_options), set by the caller. */
  int32_t struct_size;
  /** Of sinkhorn, 1 or more. DeepSeek-V4: 20. hc_head: 0. */
  int32_t iterations;
  /** Added to pre, and sinkhorn's eps: from 2^-100 to 1. DeepSeek-V4: 1e-6. */
  float hc_eps;
  /** Added to the mean of squares: from 2^-100 to 1. DeepSeek-V4: 1e-6. */
  float rms_eps;
} nvfp4j_hc_options;

/**
 * Before a module: mixing weights from the streams, and the streams collapsed to the module's input.
 *
 * One launch on a CUDA device; asynchronous there, done on return on the CPU. Deterministic.
 * @param[in] context not NULL.
 * @param[in] x [T, n, D].
 * @param[in] fn [n(n+2), n*D] F32, any row stride >= n*D.
 * @param[in] base [n(n+2)] F32 contiguous.
 * @param[in] scale [3] F32 contiguous.
 * @param[in] options not NULL.
 * @param[out] collapsed [T, D], type of x.
 * @param[out] post [T, n].
 * @param[out] comb [T, n, n].
 * @param[out] error may be NULL.
 * Reports NON_FINITE_RESULT (row: the token) where the sum of x^2, or what a sigmoid or sinkhorn gets, is NaN or infinite in F32: a non-finite input, or sums beyond F32. A token with a NaN in x has NaN for results; one with an infinity, or with such sums, has unspecified ones.
 */
NVFP4J_API int32_t nvfp4j_hc_pre(nvfp4j_context* context, const nvfp4j_tensor* x,
                                 const nvfp4j_tensor* fn, const nvfp4j_tensor* base,
                                 const nvfp4j_tensor* scale, const nvfp4j_hc_options* options,
                                 const nvfp4j_tensor* collapsed, const nvfp4j_tensor* post,
                                 const nvfp4j_tensor* comb, nvfp4j_error* error);

/**
 * Behind a module: its result and the mixed streams make the new residual.
 *
 * One launch on a CUDA device; asynchronous there, done on return on the CPU. Deterministic. Reports nothing.
 * @param[in] context not NULL.
 * @param[in] x [T, n, D]: the residual that post and comb were computed from.
 * @param[in] sub [T, D], type of x: the module's result.
 * @param[in] post [T, n].
 * @param[in] comb [T, n, n].
 * @param[out] out [T, n, D], type of x. In place is allowed: the same memory and strides as x.
 * @param[out] error may be NULL.
 */
NVFP4J_API int32_t nvfp4j_hc_post(nvfp4j_context* context, const nvfp4j_tensor* x,
                                  const nvfp4j_tensor* sub, const nvfp4j_tensor* post,
                                  const nvfp4j_tensor* comb, const nvfp4j_tensor* out,
                                  nvfp4j_error* error);

/**
 * Behind the last layer: the streams collapsed, with mixing weights of their own; `pre` alone, so `fn` has n rows.
 *
 * One launch on a CUDA device; asynchronous there, done on return on the CPU. Deterministic.
 * @param[in] context not NULL.
 * @param[in] x [T, n, D].
 * @param[in] fn [n, n*D] F32, any row stride >= n*D.
 * @param[in] base [n] F32 contiguous.
 * @param[in] scale [1] F32.
 * @param[in] options not NULL; iterations is 0.
 * @param[out] collapsed [T, D], type of x.
 * @param[out] error may be NULL.
 * Reports NON_FINITE_RESULT as hc_pre does.
 */
NVFP4J_API int32_t nvfp4j_hc_head(nvfp4j_context* context, const nvfp4j_tensor* x,
                                  const nvfp4j_tensor* fn, const nvfp4j_tensor* base,
                                  const nvfp4j_tensor* scale, const nvfp4j_hc_options* options,
                                  const nvfp4j_tensor* collapsed, nvfp4j_error* error);

/**
 * Between two modules: hc_post of one and hc_pre of the next, and on request the RMSNorm and the NVFP4 quantisation that follow, in one launch; the streams are read once and written once.
 *
 * `out` has the bits of hc_post; the rest is what hc_pre makes of it. With a norm weight g, for the collapsed row c, already rounded to x's type:
 * @code
 *   s = 1 / sqrt(mean over d of c[d]^2 + rms_eps) ; y[d] = (g[d] * c[d]) * s, rounded to x's type
 * @endcode
 * where y, before it is rounded to x's type, is off by at most 2^-21 of itself.
 *
 * One launch on a CUDA device; asynchronous there, done on return on the CPU. Deterministic.
 * @param[in] context not NULL.
 * @param[in] x [T, n, D].
 * @param[in] sub [T, D], type of x: the result of the module before.
 * @param[in] post [T, n]: of the module before.
 * @param[in] comb [T, n, n]: of the module before.
 * @param[in] fn [n(n+2), n*D] F32 of the next module, any row stride >= n*D.
 * @param[in] base [n(n+2)] F32 contiguous, of the next module.
 * @param[in] scale [3] F32 contiguous, of the next module.
 * @param[in] norm_weight NULL, or [D] F32 or BF16 contiguous: of the RMSNorm behind.
 * @param[in] options not NULL.
 * @param[in] quantize_options NULL exactly where `quantized` is; global_scale is DYNAMIC.
 * @param[out] out [T, n, D], type of x: the new residual. In place is allowed: the same memory and strides as x.
 * @param[out] collapsed [T, D], type of x; with a norm weight the normalised rows. NULL only where there is `quantized`.
 * @param[out] next_post [T, n]: of the next module.
 * @param[out] next_comb [T, n, n]: of the next module.
 * @param[out] quantized NULL, or [T, D] with a global scale per row, D a multiple of 16: what quantize makes of `collapsed`.
 * @param[out] error may be NULL.
 * Reports NON_FINITE_RESULT as hc_pre does; with quantisation also NON_FINITE_INPUT (of the row that is quantised). Where the norm takes a finite product g[d] * c[d] beyond the type's range, the row's codes, scales and global scale are unspecified.
 */
NVFP4J_API int32_t nvfp4j_hc_post_pre(
    nvfp4j_context* context, const nvfp4j_tensor* x, const nvfp4j_tensor* sub,
    const nvfp4j_tensor* post, const nvfp4j_tensor* comb, const nvfp4j_tensor* fn,
    const nvfp4j_tensor* base, const nvfp4j_tensor* scale, const nvfp4j_tensor* norm_weight,
    const nvfp4j_hc_options* options, const nvfp4j_quantize_options* quantize_options,
    const nvfp4j_tensor* out, const nvfp4j_tensor* collapsed, const nvfp4j_tensor* next_post,
    const nvfp4j_tensor* next_comb, const nvfp4j_nvfp4_tensor* quantized, nvfp4j_error* error);

#ifdef __cplusplus
}
#endif
#endif
