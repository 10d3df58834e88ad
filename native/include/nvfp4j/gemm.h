/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NVFP4J_GEMM_H
#define NVFP4J_GEMM_H
/**
 * @file gemm.h
 * @brief Matrix products with NVFP4 weights: gemm, grouped_gemm and batched_gemm, and the two ops that put their operands in order.
 *
 * D = alpha * (A W^T), A [M, K] of activations, W [N, K] of weights as a checkpoint has them. N is a positive multiple of 8, of 16 with `swiglu`; N and the number of groups are at most 2^31 - 1, as M is; K is at most 2^30, and a row of A has at most 2^31 - 1 columns.
 * @code
 *   acc(m, n)  = sum over k of a(m, k) * w(n, k)         // w = e2m1(code) * e4m3(block scale); a likewise, or BF16
 *   alpha      = a_gs * w_gs                             // F32, rounded once; a_gs of the tensor or of row m, 1 for BF16; w_gs of the tensor, the group, or the half of N that n is in
 *   d(m, n)    = F32, or rounded to BF16, of  alpha * acc
 * @endcode
 * The products are exact and so is every operand in 16 bits: global scales never enter the sum. The sum is F32, in an order that depends on the implementation and the shape; two runs give the same bits. With
 * absmax(m, n) = sum over k of |a * w|:
 * - NVFP4 A: where absmax < 2^24 * Q, Q = 2^-2 ulp(smallest block scale of a, not 0) ulp(the same of w), every order gives the exact sum: the same bits on every device. (ulp of an E4M3 number: 2^(e-10)
 *   for exponent e, at least 2^-9.) It is always so up to K = 512 when the scales lie in one binade.
 * - Otherwise |d - exact| <= gamma * |alpha| * absmax + rounding of d, gamma = (K/16) * 10.5 * 2^-24 on tensor cores (which truncate), K * 2^-24 on the CPU. With BF16 A there is a floor of K * 2^-139 * |alpha| besides: smaller sums are subnormal on the way.
 *
 * A block scale that is NaN or has its sign bit set counts as NaN and is reported as BAD_BLOCK_SCALE, for its column of D (row -1) or its row (column -1). A result that is NaN or infinite in F32 is reported as
 * NON_FINITE_RESULT, and written.
 *
 * With `swiglu` W is [w1|w3], gate and up: its N rows are the two halves, and D [M, N/2] BF16 is the clamped SwiGLU (swiglu.h, in the same F32 operations) of the F32 products alpha * acc, times row_weight[m], rounded once.
 *
 * Source: the NVFP4 linear layer of NVIDIA Model Optimizer's checkpoints; Expert.forward of DeepSeek-V4's reference model.
 */
#include "nvfp4j/context.h"
#include "nvfp4j/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** @name Implementations of a matrix product, for nvfp4j_gemm_options::path */
/**@{*/
/** The library chooses: by shape and kinds, and by whether rows of a BF16 or PACKED A start at multiples of 16 bytes. */
#define NVFP4J_GEMM_PATH_AUTO 0
/** Any shape, any card from compute capability 8.0 on. */
#define NVFP4J_GEMM_PATH_GENERIC 1
/** Hopper, few rows of A: weights streamed once. */
#define NVFP4J_GEMM_PATH_DECODE 2
/** Hopper: weights decoded for the warpgroup tensor cores. */
#define NVFP4J_GEMM_PATH_WGMMA 3
/**@}*/

/** @name Kinds of A, for nvfp4j_gemm_path */
/**@{*/
#define NVFP4J_GEMM_A_BF16 0
#define NVFP4J_GEMM_A_NVFP4 1
#define NVFP4J_GEMM_A_PACKED 2
/**@}*/

/** How to multiply. */
typedef struct nvfp4j_gemm_options {
  /** sizeof(nvfp4j_gemm_options), set by the caller. */
  int32_t struct_size;
  /** 1: the bits of a row of D depend on that row of A, on W and on N and K, not on M or the other rows. (A per-tensor global scale of A that was computed from the batch depends on it by itself.) On compute capability 9.0, with N a multiple of 16 (of 32 with `swiglu`) and K of 256, a call is refused (NOT_SUPPORTED) whose rows of a BF16 or PACKED A do not start at multiples of 16 bytes, or whose groups and tiles of 256 rows of A are more than 1024 together, or tiles of 256 rows times N / 16 (of all groups of a batch) 2^31, or whose rows of a LINEAR NVFP4 A have more than 2^24 columns: what takes those adds up in another order. So is `path` DECODE. */
  int32_t batch_invariant;
  /** 1: W is [w1|w3] and D = SwiGLU of the product. Not for batched_gemm. */
  int32_t swiglu;
  /** The clamp of SwiGLU; 0 = no clamp. Finite, not negative. Without effect unless `swiglu` is 1. */
  float limit;
  /** NVFP4J_GEMM_PATH_AUTO. Another one is for benchmarks and tests: the call is refused where that implementation cannot take the shape. The CPU knows AUTO only. */
  int32_t path;
  /** 1: a promise. No work that is enqueued before this call, or comes before it in the same graph, and has not ended when the call is made (replayed: when the graph is launched) writes the codes or block scales of W. Then a kernel may read them while the one before it in the stream still runs; today those for at most 16 rows of A do, of gemm and batched_gemm on compute capability 9.0 and on a stream of the context's own. Weights that were loaded and waited for once are such; those that a call just before prepares, copies or quantises are not: with 1 their old bytes may be read. W's global scales are always waited for. The CPU does without. */
  int32_t weights_settled;
} nvfp4j_gemm_options;

/**
 * D = alpha * (A W^T), optionally with SwiGLU.
 *
 * One launch on a CUDA device; asynchronous there, done on return on the CPU. Deterministic. On compute capability 9.0 a LINEAR `a_nvfp4` takes a small launch before it where nvfp4j_gemm_path() says "after gemm_pack_tokens" (with `batch_invariant`, else with more than 16 rows to a matrix of W, mostly): it decodes A into the context's workspace, once instead of in every thread block; nvfp4j_workspace_bytes() of M and A's columns is what that takes, and what does not fit 32 MiB is done in parts, two launches each. A graph that was captured on a context uses that context's workspace: it outlives the graph, and its calls and launches follow each other. A PACKED one is multiplied as it is.
 * @param[in] context not NULL.
 * @param[in] a BF16 [M, K], any row stride >= K; NULL when `a_nvfp4` is given. Exactly one of the two is.
 * @param[in] a_nvfp4 NVFP4 [M, K], scale layout LINEAR or PACKED, global scales TENSOR or ROW; or NULL.
 * @param[in] w [N, K], scale layout LINEAR or PREPARED, global scales TENSOR or HALVES; N a positive multiple of 8, of 16 with `swiglu`.
 * @param[in] row_weight NULL, or F32 [M] contiguous: a factor per row of the SwiGLU. Only with `swiglu`.
 * @param[in] options not NULL.
 * @param[out] d [M, N] F32 or BF16, or [M, N/2] BF16 with `swiglu`; any row stride >= its columns. Overlaps no input. M from 0 to 2^31 - 1.
 * @param[out] error may be NULL.
 * Reports BAD_BLOCK_SCALE, NON_FINITE_RESULT.
 */
NVFP4J_API int32_t nvfp4j_gemm(nvfp4j_context* context, const nvfp4j_tensor* a,
                               const nvfp4j_nvfp4_tensor* a_nvfp4, const nvfp4j_nvfp4_tensor* w,
                               const nvfp4j_tensor* row_weight, const nvfp4j_gemm_options* options,
                               const nvfp4j_tensor* d, nvfp4j_error* error);

/**
 * The matrix products of E experts: rows offsets[e] to offsets[e+1]-1 of A are multiplied by W[e]. One launch (with the exception of nvfp4j_gemm) whatever the distribution; an expert without rows costs nothing. Rows before offsets[0] and from offsets[E] on belong
 * to no expert: D keeps them. The host never reads the offsets.
 * @param[in] context,a,a_nvfp4,row_weight,options,d,error as for nvfp4j_gemm; the rows of A are sorted by expert.
 * @param[in] w [E, N, K], global scales TENSOR (one for all), GROUP or HALVES.
 * @param[in] offsets I32 [E+1], contiguous, on the context's device; offsets that are not monotonic, negative or beyond M are reported as BAD_OFFSETS, and nothing is written.
 * Reports BAD_OFFSETS, BAD_BLOCK_SCALE, NON_FINITE_RESULT.
 */
NVFP4J_API int32_t nvfp4j_grouped_gemm(nvfp4j_context* context, const nvfp4j_tensor* a,
                                       const nvfp4j_nvfp4_tensor* a_nvfp4,
                                       const nvfp4j_nvfp4_tensor* w, const nvfp4j_tensor* offsets,
                                       const nvfp4j_tensor* row_weight,
                                       const nvfp4j_gemm_options* options, const nvfp4j_tensor* d,
                                       nvfp4j_error* error);

/**
 * G products at once, each of its own slice of A's rows: D[m, g*N + n] = alpha * sum over k of A[m, g*K + k] * W[g, n, k]. (DeepSeek-V4's o_a: 8 or 16 groups of 4096 -> 1024.)
 * @param[in] context,error as for nvfp4j_gemm.
 * @param[in] a BF16 [M, G*K], or NULL.
 * @param[in] a_nvfp4 NVFP4 [M, G*K], LINEAR or PACKED, global scales TENSOR or ROW; or NULL.
 * @param[in] w [G, N, K], LINEAR or PREPARED, global scales TENSOR (one for all) or GROUP.
 * @param[in] options not NULL, without `swiglu`.
 * @param[out] d [M, G*N] F32 or BF16, any row stride >= G*N. Overlaps no input.
 * Reports BAD_BLOCK_SCALE, NON_FINITE_RESULT.
 */
NVFP4J_API int32_t nvfp4j_batched_gemm(nvfp4j_context* context, const nvfp4j_tensor* a,
                                       const nvfp4j_nvfp4_tensor* a_nvfp4,
                                       const nvfp4j_nvfp4_tensor* w,
                                       const nvfp4j_gemm_options* options, const nvfp4j_tensor* d,
                                       nvfp4j_error* error);

/**
 * Puts weights in the order in which the matrix products read them; once, when a model is loaded. The order is the same on every device. Products with prepared weights are equal to those with linear ones within the bounds above, and on the CPU bit for bit.
 * @param[in] context not NULL.
 * @param[in] w [G, N, K], scale layout LINEAR, any kind of global scales but ROW; N a positive multiple of 8.
 * @param[out] prepared the same shape and kind of global scales, scale layout PREPARED; its global scales are copied from w. Overlaps no buffer of w.
 * @param[out] error may be NULL.
 * Reports BAD_BLOCK_SCALE (row: of the G*N rows of w; column: of the block's first element); such a scale stays bad.
 */
NVFP4J_API int32_t nvfp4j_prepare_weights(nvfp4j_context* context, const nvfp4j_nvfp4_tensor* w,
                                          const nvfp4j_nvfp4_tensor* prepared, nvfp4j_error* error);

/**
 * Unpacks NVFP4 activations to the products code * block scale in BF16, which are exact: for several products with the same A, or one with many columns.
 * @param[in] context not NULL.
 * @param[in] a [M, K], scale layout LINEAR, global scales TENSOR or ROW.
 * @param[out] packed [M, K], scale layout PACKED, the same kind of global scales, which are copied from a. Overlaps no buffer of a.
 * @param[out] error may be NULL.
 * Reports BAD_BLOCK_SCALE; such a block becomes NaN.
 */
NVFP4J_API int32_t nvfp4j_pack_activations(nvfp4j_context* context, const nvfp4j_nvfp4_tensor* a,
                                           const nvfp4j_nvfp4_tensor* packed, nvfp4j_error* error);

/**
 * Which implementation a matrix product gets on a device, and why: it depends on nothing but what is named here (and on A and D being 16-byte aligned in every row, which is assumed).
 * @param[in] op NVFP4J_OP_GEMM, _GROUPED_GEMM or _BATCHED_GEMM.
 * @param[in] device NVFP4J_DEVICE_CPU, or a CUDA ordinal.
 * @param[in] groups G or E; 1 for gemm.
 * @param[in] m,n,k rows of A, rows of W of one group, columns of W.
 * @param[in] a_kind one of NVFP4J_GEMM_A_*.
 * @param[in] w_layout NVFP4J_SCALE_LAYOUT_LINEAR or _PREPARED.
 * @param[in] options not NULL.
 * @param[out] text caller-owned buffer for a NUL-terminated string, for example `decode: gemm_decode_sm90, m <= 16`.
 * @param[in] text_bytes its size, at least 1; a longer text is cut.
 * @param[out] error may be NULL.
 * @return as nvfp4j_path.
 */
NVFP4J_API int32_t nvfp4j_gemm_path(int32_t op, int32_t device, int64_t groups, int64_t m,
                                    int64_t n, int64_t k, int32_t a_kind, int32_t w_layout,
                                    const nvfp4j_gemm_options* options, char* text,
                                    int64_t text_bytes, nvfp4j_error* error);

#ifdef __cplusplus
}
#endif
#endif
