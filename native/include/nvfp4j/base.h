/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NVFP4J_BASE_H
#define NVFP4J_BASE_H
/**
 * @file base.h
 * @brief Status codes, errors, and what the library says about itself.
 *
 * Conventions of the whole C ABI:
 * - Every function that can fail returns an `int32_t` status (`NVFP4J_OK` is 0) and takes an
 *   `nvfp4j_error*` as its last parameter. The error is owned by the caller and may be NULL; there is no
 *   thread-local state.
 * - A call validates all its arguments first, then looks at the device, then launches. A refused call
 *   has changed nothing.
 * - No C++ exception leaves the library.
 * - Only `stdint` types, pointers and plain structs that start with `struct_size` are used.
 */
#include <stdint.h>

#if defined(_WIN32)
#error "nvfp4j supports Linux on x86-64 only"
#endif
#if defined(NVFP4J_BUILDING)
#define NVFP4J_API __attribute__((visibility("default")))
#else
#define NVFP4J_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** @name ABI version: raised when a struct, a signature or a constant changes its meaning. */
/**@{*/
#define NVFP4J_ABI_VERSION 2
/**@}*/

/** @name Status codes */
/**@{*/
/** The call succeeded (for an op on a CUDA device: it was enqueued). */
#define NVFP4J_OK 0
/** An argument is wrong; the message names it, its value, and what was expected. */
#define NVFP4J_ERROR_INVALID_ARGUMENT 1
/** The call is not possible now: the context is in use by another thread, is capturing, and so on. */
#define NVFP4J_ERROR_INVALID_STATE 2
/** The device has no implementation of this op; the message says why. There is no other path. */
#define NVFP4J_ERROR_NOT_SUPPORTED 3
/** Host or device memory is exhausted. */
#define NVFP4J_ERROR_OUT_OF_MEMORY 4
/** A CUDA runtime call failed; `cuda_error` has its code. */
#define NVFP4J_ERROR_CUDA 5
/** A sticky CUDA error happened earlier on this device: the process must be restarted to use it again. */
#define NVFP4J_ERROR_DEVICE_FAILED 6
/** A kernel reported a fault in its data (see nvfp4j_status_record). */
#define NVFP4J_ERROR_REPORTED 7
/** A defect of this library. */
#define NVFP4J_ERROR_INTERNAL 8
/**@}*/

/** Bytes of nvfp4j_error::message, the terminating NUL included. */
#define NVFP4J_ERROR_MESSAGE_BYTES 496

/** What went wrong in a call. Owned by the caller; written only when the call fails. */
typedef struct nvfp4j_error {
  /** sizeof(nvfp4j_error), set by the caller. */
  int32_t struct_size;
  /** One of NVFP4J_ERROR_*. */
  int32_t status;
  /** The cudaError_t behind it, or 0. */
  int32_t cuda_error;
  /** Zero. */
  int32_t reserved;
  /** One sentence in UTF-8, NUL-terminated: `op: argument is X, expected Y`. */
  char message[NVFP4J_ERROR_MESSAGE_BYTES];
} nvfp4j_error;

/** @name Ops, in the order of their introduction */
/**@{*/
#define NVFP4J_OP_QUANTIZE 0
#define NVFP4J_OP_DEQUANTIZE 1
#define NVFP4J_OP_SWIZZLE 2
#define NVFP4J_OP_UNSWIZZLE 3
#define NVFP4J_OP_SWIGLU 4
#define NVFP4J_OP_SWIGLU_QUANTIZE 5
#define NVFP4J_OP_COPY 6
#define NVFP4J_OP_GEMM 7
#define NVFP4J_OP_GROUPED_GEMM 8
#define NVFP4J_OP_BATCHED_GEMM 9
#define NVFP4J_OP_PREPARE_WEIGHTS 10
#define NVFP4J_OP_PACK_ACTIVATIONS 11
#define NVFP4J_OP_SINKHORN 12
#define NVFP4J_OP_HC_PRE 13
#define NVFP4J_OP_HC_POST 14
#define NVFP4J_OP_HC_HEAD 15
#define NVFP4J_OP_HC_POST_PRE 16
#define NVFP4J_OP_ROUTER_DENSE 17
#define NVFP4J_OP_ROUTER_HASH 18
#define NVFP4J_OP_EXPERT_DISPATCH 19
#define NVFP4J_OP_EXPERT_COMBINE 20
#define NVFP4J_OP_INDEXER_TOPK 21
#define NVFP4J_OP_CACHE_APPEND_WINDOW 22
#define NVFP4J_OP_CACHE_APPEND 23
#define NVFP4J_OP_SAMPLE 24
/** Number of ops of this version. */
#define NVFP4J_OP_COUNT 25
/**@}*/

/** The device number of the CPU device, wherever a function takes a device. */
#define NVFP4J_DEVICE_CPU (-1)

/** @return NVFP4J_ABI_VERSION of the built library. */
NVFP4J_API int32_t nvfp4j_abi_version(void);

/**
 * What was built: one JSON object with the keys `version`, `revision`, `compiler`, `cuda` (null when built without), `architectures`
 * (for example ["sm_90a","sm_90","compute_80"]) and `build_type`.
 * @return a static NUL-terminated string; never NULL.
 */
NVFP4J_API const char* nvfp4j_build_info(void);

/**
 * The name of an op: "quantize", "swiglu_quantize", ...; the same name in every layer.
 * @param[in] op one of NVFP4J_OP_*.
 * @return a static string, or NULL when there is no such op.
 */
NVFP4J_API const char* nvfp4j_op_name(int32_t op);

/**
 * Which implementation of an op a device gets.
 *
 * On success `text` holds the implementation and its reason, for example `sm_90: quantize_sm90, compute capability 9.0`. When the device has none, the status is NVFP4J_ERROR_NOT_SUPPORTED and the
 * error's message is the reason. What a matrix product of one shape gets, nvfp4j_gemm_path says.
 * @param[in] op one of NVFP4J_OP_*.
 * @param[in] device NVFP4J_DEVICE_CPU, or a CUDA ordinal.
 * @param[out] text caller-owned buffer for a NUL-terminated string.
 * @param[in] text_bytes its size, at least 1; a longer text is cut.
 * @param[out] error may be NULL.
 * @return NVFP4J_OK, _INVALID_ARGUMENT, _NOT_SUPPORTED or _CUDA.
 */
NVFP4J_API int32_t nvfp4j_path(int32_t op, int32_t device, char* text, int64_t text_bytes,
                               nvfp4j_error* error);

#ifdef __cplusplus
}
#endif
#endif
