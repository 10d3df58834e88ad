/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NVFP4J_CONTEXT_H
#define NVFP4J_CONTEXT_H
/**
 * @file context.h
 * @brief Contexts: one CPU device, or one CUDA stream of one GPU, with its workspace and its status record.
 *
 * A context is used by one thread at a time; a call that finds another thread inside is refused with
 * NVFP4J_ERROR_INVALID_STATE (nvfp4j_context_report excepted). It may move between threads: every entry selects its own device, and gives the thread back what it had (device.h).
 * All memory that ops need is allocated at creation: no op allocates, synchronises, or reads a device value on the host.
 */
#include "nvfp4j/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** One CPU device, or one CUDA stream. Opaque. */
typedef struct nvfp4j_context nvfp4j_context;

/** A recorded sequence of ops of a CPU context. Opaque. (CUDA contexts are captured with the CUDA runtime's own graphs.) */
typedef struct nvfp4j_cpu_graph nvfp4j_cpu_graph;

/** How a context is made. */
typedef struct nvfp4j_context_options {
  /** sizeof(nvfp4j_context_options), set by the caller. */
  int32_t struct_size;
  /** NVFP4J_DEVICE_CPU or a CUDA ordinal. */
  int32_t device;
  /** CPU: threads of its pool, 0 = one per available core. CUDA: must be 0. */
  int32_t threads;
  /** CUDA: 1 = `cuda_stream` is a foreign cudaStream_t that the caller keeps alive (0 is the legacy default stream; cudaStreamPerThread is refused, since contexts change threads) and that belongs to the device's primary context, the one that the CUDA runtime uses; 0 = the context creates its own non-blocking stream. CPU: must be 0. Kernels on an own stream may be launched programmatically (compute capability 9.0): they start while the kernel before runs, and wait for its end before any access to memory; a caller's own kernel there that is launched so too must wait (griddepcontrol.wait) before it ends. On a foreign stream none is. */
  int32_t foreign_stream;
  /** The foreign cudaStream_t, or NULL. */
  void* cuda_stream;
  /** Bytes of device workspace, 0 = the default (enough for every op of this version at any shape: 44 MiB and 64 KiB on compute capability 9.0, of which 32 MiB are for the activations of a matrix product; 28 MiB and 64 KiB elsewhere). A call that needs more is refused by name; nvfp4j_workspace_bytes() tells beforehand. */
  int64_t workspace_bytes;
} nvfp4j_context_options;

/** @name Causes that a kernel can report: bit numbers in the words of nvfp4j_status_record */
/**@{*/
/** An input element is NaN or infinite (of sample: NaN): quantize codes it as its header says and leaves it out of every maximum; the headers of the other ops say what they do. */
#define NVFP4J_CAUSE_NON_FINITE_INPUT 0
/** A supplied global scale is not finite or not positive; 1 was used in its place, by a router the scale itself. */
#define NVFP4J_CAUSE_BAD_GLOBAL_SCALE 1
/** An index is out of range; what it stands for is left out: quantize writes the row as zeros, and the headers of the other ops say what they do. */
#define NVFP4J_CAUSE_INDEX_OUT_OF_RANGE 2
/** A block scale byte is NaN (0x7F) or has its sign bit set; dequantize decodes it as E4M3 says; a matrix product and a router take it for NaN. */
#define NVFP4J_CAUSE_BAD_BLOCK_SCALE 3
/** A result is NaN or infinite in F32, before it was rounded to the output's type: an operand that is, a global scale that is, or an overflow. It was written as it is; of hyper-connections it is a mixing weight or what one is made of, and their header says what a token's results are then. Of a router it is a logit, of the indexer a score; of sample it means that all logits of a row are -infinity. */
#define NVFP4J_CAUSE_NON_FINITE_RESULT 4
/** Offsets of groups are not 0 <= o[0] <= o[1] <= ... <= o[E] <= rows; no row was written. */
#define NVFP4J_CAUSE_BAD_OFFSETS 5
/** A cache has no room for the rows; nothing was written. */
#define NVFP4J_CAUSE_CACHE_OVERFLOW 6
/** A value of the noise of a draw is not positive and finite; the row's token is -1. */
#define NVFP4J_CAUSE_BAD_NOISE 7
/**@}*/

/** Words of nvfp4j_status_record::causes; room for ops to come. */
#define NVFP4J_STATUS_WORDS 64

/** What kernels reported since the last report. */
typedef struct nvfp4j_status_record {
  /** sizeof(nvfp4j_status_record), set by the caller. */
  int32_t struct_size;
  /** The op whose kernel reported first (one of several that raced), or -1 when nothing was reported. */
  int32_t first_op;
  /** Its cause, one of NVFP4J_CAUSE_*. */
  int32_t first_cause;
  /** Zero. */
  int32_t reserved;
  /** Row of the first fault, counted in the op's output rows; -1 when it has none. */
  int64_t first_row;
  /** Column of the first fault, counted in elements of that row; -1 when it has none. */
  int64_t first_column;
  /** causes[op] has bit c set when that op reported NVFP4J_CAUSE_c. */
  uint64_t causes[NVFP4J_STATUS_WORDS];
} nvfp4j_status_record;

/**
 * Creates a context. Allocates its workspace and status record (and, if asked, its stream).
 * @param[in] options not NULL.
 * @param[out] context receives the context; destroyed with nvfp4j_context_destroy.
 * @param[out] error may be NULL.
 */
NVFP4J_API int32_t nvfp4j_context_create(const nvfp4j_context_options* options,
                                         nvfp4j_context** context, nvfp4j_error* error);

/**
 * Waits for the context's work, then frees it, its workspace and its own stream. A foreign stream is left alone. NULL is allowed. No other
 * thread may be inside nvfp4j_context_report of this context.
 */
NVFP4J_API int32_t nvfp4j_context_destroy(nvfp4j_context* context, nvfp4j_error* error);

/**
 * The context's cudaStream_t, own or foreign.
 * @param[out] cuda_stream receives it; NULL for a CPU context.
 */
NVFP4J_API int32_t nvfp4j_context_stream(nvfp4j_context* context, void** cuda_stream,
                                         nvfp4j_error* error);

/**
 * Loads every kernel of the library onto the context's device, so that neither capture nor timing meets a module load. Idempotent.
 */
NVFP4J_API int32_t nvfp4j_context_warm_up(nvfp4j_context* context, nvfp4j_error* error);

/**
 * Waits for all work of the context, then reports and clears its status record.
 * @param[in,out] record receives what the kernels reported; may be NULL (the status still says so).
 * @return NVFP4J_OK, or NVFP4J_ERROR_REPORTED with a sentence that names op and cause, or a CUDA failure. Refused while the stream is being captured.
 */
NVFP4J_API int32_t nvfp4j_context_synchronize(nvfp4j_context* context, nvfp4j_status_record* record,
                                              nvfp4j_error* error);

/**
 * The non-blocking half of nvfp4j_context_synchronize: enqueues a copy of the status record into host memory of the context, followed by whatever the caller enqueues next (an event, usually), and returns.
 * Once that work is complete nvfp4j_context_report gives what the copy holds. At most one request is outstanding per context; a caller that
 * cannot wait for it after all takes it back with nvfp4j_context_cancel_report. Where the call fails nothing is outstanding and nothing is lost: the record stays for the next report.
 */
NVFP4J_API int32_t nvfp4j_context_request_report(nvfp4j_context* context, nvfp4j_error* error);

/**
 * Reports what the last nvfp4j_context_request_report copied; call it only after that copy is complete. The record was cleared in stream order, behind the copy.
 * The one call that another thread may make while a thread is inside the context; it touches only the copy. A call before the copy is complete is refused with NVFP4J_ERROR_INVALID_STATE.
 * @return as nvfp4j_context_synchronize, without waiting.
 */
NVFP4J_API int32_t nvfp4j_context_report(nvfp4j_context* context, nvfp4j_status_record* record,
                                         nvfp4j_error* error);

/**
 * Takes back a request that will not be fetched: waits until its copy is complete, and keeps what that holds for the next nvfp4j_context_synchronize or
 * nvfp4j_context_report of this context, together with what they find themselves. Nothing is lost, and a new request may be made. Does nothing when no request is outstanding.
 *
 * For what fails between nvfp4j_context_request_report and nvfp4j_context_report (an event that cannot be made, say). No other thread may be inside nvfp4j_context_report of this context.
 * @return NVFP4J_OK; NVFP4J_ERROR_INVALID_STATE when another thread is inside; NVFP4J_ERROR_DEVICE_FAILED, and nothing was done, when the device had failed before.
 * After a CUDA failure of its own the request is taken back, too: what it copied is lost, what earlier requests had kept is not.
 */
NVFP4J_API int32_t nvfp4j_context_cancel_report(nvfp4j_context* context, nvfp4j_error* error);

/**
 * Starts recording on a CPU context: until nvfp4j_cpu_capture_end, ops validate their arguments and are recorded instead of run. The caller keeps the tensors' memory alive for as long as the graph lives; descriptors are copied.
 */
NVFP4J_API int32_t nvfp4j_cpu_capture_begin(nvfp4j_context* context, nvfp4j_error* error);

/**
 * Ends recording.
 * @param[out] graph receives the recorded sequence, destroyed with nvfp4j_cpu_graph_destroy; NULL drops what was recorded.
 */
NVFP4J_API int32_t nvfp4j_cpu_capture_end(nvfp4j_context* context, nvfp4j_cpu_graph** graph,
                                          nvfp4j_error* error);

/** Runs a recorded sequence on a CPU context, in order; returns when it is done. What the ops find is reported by that context. */
NVFP4J_API int32_t nvfp4j_cpu_graph_launch(nvfp4j_context* context, nvfp4j_cpu_graph* graph,
                                           nvfp4j_error* error);

/** Frees a recorded sequence. NULL is allowed. */
NVFP4J_API int32_t nvfp4j_cpu_graph_destroy(nvfp4j_cpu_graph* graph, nvfp4j_error* error);

/**
 * The workspace that an op needs on a device for an input of the given rows and columns; of a matrix product for a LINEAR NVFP4 A (others need none).
 * @param[in] op one of NVFP4J_OP_*.
 * @param[in] device NVFP4J_DEVICE_CPU or a CUDA ordinal.
 * @param[in] rows,columns the shape of the op's first input, both >= 0.
 * @param[out] bytes receives the size.
 */
NVFP4J_API int32_t nvfp4j_workspace_bytes(int32_t op, int32_t device, int64_t rows, int64_t columns,
                                          int64_t* bytes, nvfp4j_error* error);

#ifdef __cplusplus
}
#endif
#endif
