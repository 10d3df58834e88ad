/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NVFP4J_INDEXER_H
#define NVFP4J_INDEXER_H
/**
 * @file indexer.h
 * @brief indexer_topk: DeepSeek-V4's lightning indexer: the k compressed rows of the cache that matter most to each query.
 *
 * @code
 *   dot[s,h,t]  = sum over i of q[s,h,i] * keys[t,i]                          // F32 or better; products of BF16 are exact
 *   score[s,t]  = sum over h of weights[s,h] * max(dot[s,h,t], 0)            // for t < valid[s]; -infinity for the others
 *   indices[s,0..k-1] = the t < valid[s] with the highest scores, descending; of equal ones the lowest t first; then -1
 * @endcode
 * With absmax[s,t] = sum over h of |weights[s,h]| * sum over i of |q[s,h,i] * keys[t,i]|: |score - exact score| <= 2^-24 * (4 * (d/16) + H + 8) * absmax. Order of sums: the implementation's and the shape's;
 * two runs on one device give the same bits. Weights may be negative, and scores negative or exactly 0 (+0 and -0 are equal): these are ordinary. A score that is NaN or infinite is reported; NaN comes behind all others that are valid.
 * max(NaN, 0) is NaN. A NaN result is 0x7FC00000.
 *
 * Source: Indexer.forward of DeepSeek-V4's reference model; ties as in DeepSeek's TileKernels.
 */
#include "nvfp4j/context.h"
#include "nvfp4j/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Highest k of indexer_topk. */
#define NVFP4J_MAX_INDEXER_TOPK 2048
/** Highest number of heads H. */
#define NVFP4J_MAX_INDEXER_HEADS 128
/** Highest number of columns d of a head, a multiple of 16. */
#define NVFP4J_MAX_INDEXER_COLUMNS 256

/**
 * Scores the rows of a cache for each query and takes the best.
 *
 * One launch on a CUDA device of 8 multiprocessors or more for T <= 8 and C <= 65536; otherwise as many as the context's workspace needs: it holds the best rows that thread blocks send each other, of some queries at a time, at least of one.
 * nvfp4j_workspace_bytes() of T rows and C columns is what is needed; with less the call is refused, by name and size. Asynchronous there, done on return on the CPU. Deterministic.
 * @param[in] context not NULL.
 * @param[in] q [T, H, d] BF16 or F32, d a multiple of 16 up to 256, H from 1 to 128; heads at any stride >= d, queries at any stride that keeps them apart. T may be 0.
 * @param[in] keys [C, d], type of q, any row stride >= d; C from 0 to 2^20.
 * @param[in] weights [T, H] F32, any row stride >= H: those of the heads, with all scaling in them.
 * @param[in] valid [T] I32 contiguous: rows 0 .. valid[s]-1 are visible to query s. Read on the device. Outside [0, C] it is reported, and counts as 0.
 * @param[out] indices [T, k] I32, any row stride >= k; k from 1 to 2048.
 * @param[out] scores NULL, or [T, C] F32, any row stride >= C.
 * @param[out] error may be NULL.
 * Outputs overlap neither inputs nor each other.
 * Reports INDEX_OUT_OF_RANGE (row: the query, column -1) and NON_FINITE_RESULT (row: the query, column: t).
 */
NVFP4J_API int32_t nvfp4j_indexer_topk(nvfp4j_context* context, const nvfp4j_tensor* q,
                                       const nvfp4j_tensor* keys, const nvfp4j_tensor* weights,
                                       const nvfp4j_tensor* valid, const nvfp4j_tensor* indices,
                                       const nvfp4j_tensor* scores, nvfp4j_error* error);

#ifdef __cplusplus
}
#endif
#endif
