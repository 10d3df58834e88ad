/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NVFP4J_COPY_H
#define NVFP4J_COPY_H
/**
 * @file copy.h
 * @brief copy: between host and device, or within either, row by row.
 */
#include "nvfp4j/context.h"
#include "nvfp4j/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Copies a tensor bit for bit. Any two memory kinds on a CUDA context; host memory only on a CPU context.
 *
 * Asynchronous between DEVICE and PINNED memory; with pageable HOST memory on either side it returns when the copy is done (and is refused while the stream is being captured).
 * @param[in] context not NULL.
 * @param[in] source rank <= 2 with any row stride, or any rank contiguous.
 * @param[out] destination the same dtype and shape; rank <= 2 with any row stride, or any rank contiguous. Does not overlap `source`.
 * @param[out] error may be NULL.
 */
NVFP4J_API int32_t nvfp4j_copy(nvfp4j_context* context, const nvfp4j_tensor* source,
                               const nvfp4j_tensor* destination, nvfp4j_error* error);

#ifdef __cplusplus
}
#endif
#endif
