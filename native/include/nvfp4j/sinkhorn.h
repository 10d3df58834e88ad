/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NVFP4J_SINKHORN_H
#define NVFP4J_SINKHORN_H
/**
 * @file sinkhorn.h
 * @brief sinkhorn: logits to nearly doubly stochastic matrices, as DeepSeek-V4's hyper-connections use them; the same bits on every device.
 *
 * Per token, for the n x n matrix L, in IEEE binary32, each operation rounded to nearest even:
 * @code
 *   sum(v)    = v padded with +0 to the next power of two P >= n; for h = P/2, P/4, ..., 1: v[i] = v[i] + v[i+h] for i < h; v[0]
 *   a[j,k]    = exp(L[j,k] - max over k of L[j,k])              // this project's exp: native/src/common/math.hpp
 *   C[j,k]    = fma(a[j,k], 1 / sum over k of a[j,k], eps)      // softmax over the last axis, + eps
 *   C[j,k]    = C[j,k] * (1 / (sum over j of C[j,k] + eps))     // columns
 *   iterations - 1 times:
 *     C[j,k]  = C[j,k] * (1 / (sum over k of C[j,k] + eps))     // rows
 *     C[j,k]  = C[j,k] * (1 / (sum over j of C[j,k] + eps))     // columns
 * @endcode
 * 1 / s is the correctly rounded reciprocal. It ends on columns, which then sum to 1 - O(eps); rows do so only approximately where logits are peaked.
 * Where a token has a logit that is not finite, that is reported and all its results are NaN (0x7FC00000).
 * Source: hc_split_sinkhorn of DeepSeek-V4's reference model (softmax start, eps in each step).
 */
#include "nvfp4j/context.h"
#include "nvfp4j/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Highest n of `sinkhorn` and of the hyper-connection ops. */
#define NVFP4J_MAX_STREAMS 16

/** How to iterate. */
typedef struct nvfp4j_sinkhorn_options {
  /** sizeof(nvfp4j_sinkhorn_options), set by the caller. */
  int32_t struct_size;
  /** Column normalisations, 1 or more. DeepSeek-V4: 20. */
  int32_t iterations;
  /** From 2^-100 to 1. DeepSeek-V4: 1e-6. */
  float eps;
  /** Zero. */
  int32_t reserved;
} nvfp4j_sinkhorn_options;

/**
 * Normalises one n x n matrix a token.
 *
 * One launch on a CUDA device; asynchronous there, done on return on the CPU. Deterministic.
 * @param[in] context not NULL.
 * @param[in] logits [T, n, n] F32, n from 1 to 16; a token's n*n elements are contiguous, tokens have any stride >= n*n.
 * @param[in] options not NULL.
 * @param[out] comb [T, n, n] F32, strided as logits may be. Overlaps logits not at all, or is the same memory with the same strides.
 * @param[out] error may be NULL.
 * Reports NON_FINITE_INPUT (row: the token, column: j*n + k).
 */
NVFP4J_API int32_t nvfp4j_sinkhorn(nvfp4j_context* context, const nvfp4j_tensor* logits,
                                   const nvfp4j_sinkhorn_options* options,
                                   const nvfp4j_tensor* comb, nvfp4j_error* error);

#ifdef __cplusplus
}
#endif
#endif
