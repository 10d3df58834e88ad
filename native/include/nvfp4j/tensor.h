/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NVFP4J_TENSOR_H
#define NVFP4J_TENSOR_H
/**
 * @file tensor.h
 * @brief Tensor descriptors, element types, and the NVFP4 format.
 *
 * NVFP4: x ~ e2m1(code) * e4m3(block scale) * global scale. A block is 16 consecutive elements of a row.
 * Byte j of a row of codes holds code[2j] in its low and code[2j+1] in its high nibble. `global scale` is always the multiplier
 * ("decode" scale, about amax / 2688), never its reciprocal.
 */
#include "nvfp4j/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** @name Element types */
/**@{*/
#define NVFP4J_DTYPE_F32 0
#define NVFP4J_DTYPE_BF16 1
#define NVFP4J_DTYPE_F16 2
/** Bytes: packed codes, block scales. */
#define NVFP4J_DTYPE_U8 3
#define NVFP4J_DTYPE_I32 4
#define NVFP4J_DTYPE_I64 5
/**@}*/

/** @name Where a tensor's memory is */
/**@{*/
/** Pageable host memory: CPU ops, and copies (which then wait). */
#define NVFP4J_MEMORY_HOST 0
/** Page-locked host memory: CPU ops, and asynchronous copies. */
#define NVFP4J_MEMORY_PINNED 1
/** Memory of a CUDA device: ops of contexts on that device, and copies. */
#define NVFP4J_MEMORY_DEVICE 2
/**@}*/

/** Highest rank of a tensor. */
#define NVFP4J_MAX_RANK 4

/** A dense tensor. Read by a call, never kept by it (a recorded CPU graph keeps a copy of the descriptor). */
typedef struct nvfp4j_tensor {
  /** sizeof(nvfp4j_tensor), set by the caller. */
  int32_t struct_size;
  /** One of NVFP4J_DTYPE_*. */
  int32_t dtype;
  /** One of NVFP4J_MEMORY_*. */
  int32_t memory;
  /** 0 to NVFP4J_MAX_RANK. */
  int32_t rank;
  /** The first element; aligned to the element size. May be NULL when a dimension is 0. */
  void* data;
  /** Elements along each dimension, outermost first; unused entries are ignored. */
  int64_t shape[NVFP4J_MAX_RANK];
  /** Distance between neighbours along each dimension, in elements. The last must be 1 unless its dimension is at most 1; an op that takes rows accepts any row stride >= the row's length. */
  int64_t stride[NVFP4J_MAX_RANK];
} nvfp4j_tensor;

/** @name Layouts of block scales */
/**@{*/
/** Row-major [M, K/16], no padding: the checkpoint and interchange layout. */
#define NVFP4J_SCALE_LAYOUT_LINEAR 0
/**
 * Tiles of 128 rows x 4 scales: offset(m, s) = ((m/128)*KP + s/4)*512 + (m%32)*16 + ((m%128)/32)*4 + s%4 with KP = ceil(K/64);
 * ceil(M/128)*128 * KP*4 bytes, padding zero.
 */
#define NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4 1
/**
 * Weights in the order in which the matrix products read them, codes and scales together in `codes` (M*K/2 + M*K/16 bytes a group, the size of the linear layout); there is no `scales` buffer. Made by
 * nvfp4j_prepare_weights and read by gemm, grouped_gemm and batched_gemm. The order is the same on every device, so that such tensors can be copied from one to another, but this version's own: never store it.
 */
#define NVFP4J_SCALE_LAYOUT_PREPARED 2
/**
 * Activations unpacked for the matrix products: `codes` holds the exact products code * block scale as BF16 [M, K], row-major (2*M*K bytes); there is no `scales` buffer. Made by nvfp4j_pack_activations
 * and read by gemm, grouped_gemm and batched_gemm.
 */
#define NVFP4J_SCALE_LAYOUT_PACKED 3
/**@}*/

/** @name What a global scale covers */
/**@{*/
/** One for the tensor: global_scales[0]. */
#define NVFP4J_GLOBAL_SCALE_TENSOR 0
/** One per row: global_scales[m]. */
#define NVFP4J_GLOBAL_SCALE_ROW 1
/** Weights: one per group: global_scales[g]. */
#define NVFP4J_GLOBAL_SCALE_GROUP 2
/** Weights: two per group: global_scales[2g] for rows 0..M/2-1, global_scales[2g+1] for rows M/2..M-1 (gate and up of a fused [w1|w3]). M is even. */
#define NVFP4J_GLOBAL_SCALE_HALVES 3
/**@}*/

/**
 * An NVFP4 tensor [M, K], or G of them stacked, [G, M, K] (the weights of G experts); K a multiple of 16. All its buffers have the same memory kind and do not overlap. Where an op does not say that it takes
 * groups, G is 1, the scale layout is LINEAR or SWIZZLED_128X4, and the global scales are TENSOR or ROW.
 */
typedef struct nvfp4j_nvfp4_tensor {
  /** sizeof(nvfp4j_nvfp4_tensor), set by the caller. */
  int32_t struct_size;
  /** One of NVFP4J_MEMORY_*. */
  int32_t memory;
  /** One of NVFP4J_SCALE_LAYOUT_*. */
  int32_t scale_layout;
  /** One of NVFP4J_GLOBAL_SCALE_*. */
  int32_t global_scale_kind;
  /** G, 1 for a matrix. */
  int64_t groups;
  /** M, K in elements. */
  int64_t rows;
  int64_t columns;
  /** Packed e2m1 codes [G, M, K/2], contiguous, 16-byte aligned; what PREPARED and PACKED hold instead is said there. */
  void* codes;
  /** Size of the buffer behind `codes`, in bytes; exactly what nvfp4j_codes_bytes says of G*M rows. */
  int64_t codes_bytes;
  /** E4M3 block scales in `scale_layout`, G times one after the other, 16-byte aligned; NULL for PREPARED and PACKED. */
  void* scales;
  /** Size of the buffer behind `scales`, in bytes; exactly what the layout needs. */
  int64_t scales_bytes;
  /** F32 global scales, 4-byte aligned. */
  void* global_scales;
  /** Number of global scales; exactly 1, M, G or 2G as `global_scale_kind` says. */
  int64_t global_scales_count;
} nvfp4j_nvfp4_tensor;

/**
 * Bytes of a buffer of codes.
 * @param[in] rows,columns shape [M, K] in elements, K a multiple of 16.
 * @param[in] scale_layout one of NVFP4J_SCALE_LAYOUT_*.
 * @param[out] bytes receives the size.
 */
NVFP4J_API int32_t nvfp4j_codes_bytes(int64_t rows, int64_t columns, int32_t scale_layout,
                                      int64_t* bytes, nvfp4j_error* error);

/**
 * Bytes of a block-scale buffer; 0 for the layouts that have none.
 * @param[in] rows,columns shape [M, K] in elements, K a multiple of 16.
 * @param[in] scale_layout one of NVFP4J_SCALE_LAYOUT_*.
 * @param[out] bytes receives the size.
 */
NVFP4J_API int32_t nvfp4j_scale_bytes(int64_t rows, int64_t columns, int32_t scale_layout,
                                      int64_t* bytes, nvfp4j_error* error);

#ifdef __cplusplus
}
#endif
#endif
