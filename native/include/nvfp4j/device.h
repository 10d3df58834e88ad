/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NVFP4J_DEVICE_H
#define NVFP4J_DEVICE_H
/**
 * @file device.h
 * @brief Selecting a GPU for calls of the CUDA runtime that the caller makes itself: memory, events, graphs.
 *
 * The functions of this library need none of this: each selects its context's device, in this same way.
 *
 * What they keep of the calling thread: the CUDA context that was current to it is current again afterwards, and a thread that had none
 * has none again, so that no GPU gets a context (memory, and time) that nobody asked for. cudaSetDevice(former) would make one: a thread
 * that has chosen nothing counts as being on device 0. The one exception is a thread without a context whose first call of the runtime would
 * choose this very device: it keeps that.
 */
#include "nvfp4j/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Makes a device's primary context current to the calling thread (of the operating system). At the first call for a device of a process
 * that context is made.
 * @param[in] device a CUDA ordinal.
 * @param[out] former receives what nvfp4j_device_leave makes current again; on the same thread, also after a failure of what was done meanwhile.
 * @param[out] error may be NULL.
 * @return NVFP4J_OK, _INVALID_ARGUMENT, _NOT_SUPPORTED (no driver, or built without CUDA), _CUDA or _DEVICE_FAILED; then nothing has changed.
 */
NVFP4J_API int32_t nvfp4j_device_enter(int32_t device, void** former, nvfp4j_error* error);

/**
 * Ends nvfp4j_device_enter.
 * @param[in] device the ordinal that was entered.
 * @param[in] former what it gave; NULL means no context.
 * @param[out] error may be NULL.
 */
NVFP4J_API int32_t nvfp4j_device_leave(int32_t device, void* former, nvfp4j_error* error);

#ifdef __cplusplus
}
#endif
#endif
