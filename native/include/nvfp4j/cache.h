/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NVFP4J_CACHE_H
#define NVFP4J_CACHE_H
/**
 * @file cache.h
 * @brief cache_append_window and cache_append: rows into the caches of attention, at a place that is read on the device, so that a captured graph advances. Bits are copied as they are, the same on every device.
 *
 * Source: the window of 128 rows (slot = position mod 128) and the compressed rows of DeepSeek-V4's attention.
 */
#include "nvfp4j/context.h"
#include "nvfp4j/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Writes rows into a ring: row i of `rows` is that of position p + i and goes to slot (p + i) mod W; of more than W rows only the last W are written, so that no slot is written twice.
 *
 * One launch on a CUDA device; asynchronous there, done on return on the CPU. Deterministic.
 * @param[in] context not NULL.
 * @param[in,out] cache [W, d] F32, BF16, F16 or U8, any row stride >= d; W from 1 to 2^31 - 1, d at least 1. Slots that get no row keep theirs.
 * @param[in] rows [T, d], type of cache, any row stride >= d. T may be 0. Overlaps the cache nowhere.
 * @param[in] position [1] I32 or I64: p, of the first row. Read on the device, and left as it is. Negative, it is reported, and nothing is written.
 * @param[out] error may be NULL.
 * Reports INDEX_OUT_OF_RANGE (row -1, column -1).
 */
NVFP4J_API int32_t nvfp4j_cache_append_window(nvfp4j_context* context, const nvfp4j_tensor* cache,
                                              const nvfp4j_tensor* rows,
                                              const nvfp4j_tensor* position, nvfp4j_error* error);

/**
 * Appends rows to a linear cache: row i goes to row n + i, and the length becomes n + T.
 *
 * One launch on a CUDA device; asynchronous there, done on return on the CPU. Deterministic.
 * @param[in] context not NULL.
 * @param[in,out] cache [C, d] F32, BF16, F16 or U8, any row stride >= d; d at least 1. Other rows keep theirs.
 * @param[in] rows [T, d], type of cache, any row stride >= d. T may be 0. Overlaps the cache nowhere.
 * @param[in,out] length [1] I32 or I64: n, read and written on the device. Of a cache with more than 2^31 - 1 rows it is I64; I32 is refused. Overlaps neither cache nor rows.
 * @param[out] error may be NULL.
 * Reports CACHE_OVERFLOW (row: C) where n + T > C, and INDEX_OUT_OF_RANGE (row -1) where n is negative or greater than C; either way nothing is written, the length included.
 */
NVFP4J_API int32_t nvfp4j_cache_append(nvfp4j_context* context, const nvfp4j_tensor* cache,
                                       const nvfp4j_tensor* rows, const nvfp4j_tensor* length,
                                       nvfp4j_error* error);

#ifdef __cplusplus
}
#endif
#endif
