/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NVFP4J_SWIZZLE_H
#define NVFP4J_SWIZZLE_H
/**
 * @file swizzle.h
 * @brief swizzle and unswizzle: block scales between the linear [M, K/16] and the 128x4 tiled layout (tensor.h).
 *
 * Source: cuBLASLt's VEC16_UE4M3 layout, the same as CUTLASS' Sm1xxBlockScaledConfig.
 */
#include "nvfp4j/context.h"
#include "nvfp4j/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Linear to swizzled; padding is zeroed.
 * @param[in] context not NULL.
 * @param[in] linear U8 [M, K/16], any row stride >= K/16.
 * @param[out] swizzled U8 [ceil(M/128)*128 * ceil(K/64)*4], contiguous, 16-byte aligned. Does not overlap `linear`.
 * @param[out] error may be NULL.
 */
NVFP4J_API int32_t nvfp4j_swizzle(nvfp4j_context* context, const nvfp4j_tensor* linear,
                                  const nvfp4j_tensor* swizzled, nvfp4j_error* error);

/**
 * Swizzled to linear; padding is dropped.
 * @param[in] context not NULL.
 * @param[in] swizzled U8 [ceil(M/128)*128 * ceil(K/64)*4], contiguous, 16-byte aligned, for the M and K/16 of `linear`.
 * @param[out] linear U8 [M, K/16], any row stride >= K/16. Does not overlap `swizzled`.
 * @param[out] error may be NULL.
 */
NVFP4J_API int32_t nvfp4j_unswizzle(nvfp4j_context* context, const nvfp4j_tensor* swizzled,
                                    const nvfp4j_tensor* linear, nvfp4j_error* error);

#ifdef __cplusplus
}
#endif
#endif
