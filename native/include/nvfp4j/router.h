/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NVFP4J_ROUTER_H
#define NVFP4J_ROUTER_H
/**
 * @file router.h
 * @brief router_dense and router_hash: which experts a token goes to, and with what weights, as DeepSeek-V4 chooses them.
 *
 * x [T, D] of activations, the gate weight W [E, D], or NVFP4 with one global scale. Per token, for the experts e that count:
 * @code
 *   z[e] = sum over d of x[d] * W[e,d]                       // in F32 or better, in an order that depends on the implementation and the shape
 *   s[e] = sqrt(z[e] > 20 ? z[e] : log1p(exp(z[e])))         // this project's exp and log1p: native/src/common/math.hpp
 *   b[e] = s[e] + bias[e]                                    // router_dense: for the selection only
 *   i[0..k-1] = the k experts with the highest b, descending; of equal ones the lowest e first        // router_dense
 *   i[0..k-1] = table[id, 0..k-1]                                                                      // router_hash
 *   sum  = s[i[0]], then + s[i[1]], ..., + s[i[k-1]]         // the unbiased scores, in this order
 *   w[j] = s[i[j]] / (sum + 1e-20) * scale                   // scale once
 * @endcode
 * Each operation behind z is IEEE binary32 rounded to nearest even, the same on every device. Products of BF16, and of BF16 and NVFP4 codes, are exact;
 * |z - exact z| <= (D/64 + 32) * 2^-24 * sum over d of |x[d] * W[e,d]| (random data stayed below a sixth of that). Two runs on one device give the same bits.
 * A logit z that is NaN or infinite is reported as NON_FINITE_RESULT (row: the token, column: the expert); b that is NaN comes behind every other one, and weights are what the formulas give.
 * A NaN result is 0x7FC00000.
 *
 * Source: Gate.forward of DeepSeek-V4's reference model (F32 logits), with 1e-20 in the division as transformers has it, and the tie rule of DeepSeek's TileKernels.
 */
#include "nvfp4j/context.h"
#include "nvfp4j/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Highest number of experts E of router_dense, router_hash and expert_dispatch. */
#define NVFP4J_MAX_EXPERTS 1024
/** Highest number k of experts a token goes to. */
#define NVFP4J_MAX_TOPK 16

/** How to weigh, and what a kernel may read early. */
typedef struct nvfp4j_router_options {
  /** sizeof(nvfp4j_router_options), set by the caller. */
  int32_t struct_size;
  /** The routed scaling factor, finite and > 0. DeepSeek-V4 Flash: 1.5, Pro: 2.5. */
  float scale;
  /** 1: a promise. No work that is enqueued before this call, or comes before it in the same graph, and has not ended when the call is made (replayed: when the graph is launched) writes W (its rows, or its codes and block scales) or the table of router_hash. Then a kernel may read them while the one before it in the stream still runs; today that of router_hash for at most two tokens a multiprocessor does, where x is BF16 and W BF16 or NVFP4, with rows that start at multiples of 16 bytes, on compute capability 9.0 or later and on a stream of the context's own; router_dense always reads W behind the wait. Weights and tables that were loaded and waited for once are such; those that a call just before copies or quantises are not: with 1 their old bytes may be read. bias, x, ids and W's global scale are always waited for. The CPU does without. */
  int32_t weights_settled;
} nvfp4j_router_options;

/**
 * Chooses k of E experts for each token by their gate logits.
 *
 * One launch on a CUDA device; asynchronous there, done on return on the CPU. Deterministic. (Where T is more than 64 and compute capability 9.0 has no kernel for the types, E or alignment, and on other cards, logits lie in the context's workspace meanwhile, unless they are asked for; 16 MiB of them take a launch.)
 * @param[in] context not NULL.
 * @param[in] x [T, D] BF16 or F32, any row stride >= D; D from 1 to 2^24. T may be 0.
 * @param[in] weight W [E, D] BF16 or F32, any row stride >= D, E from 1 to 1024; NULL when `weight_nvfp4` is given. Exactly one of the two is.
 * @param[in] weight_nvfp4 W [E, D] NVFP4, D a multiple of 16, scale layout LINEAR, global scale TENSOR; z is the sum of x[d] * (code * block scale), exact products, times the global scale; or NULL.
 * @param[in] bias [E] F32 contiguous; may be infinite (an expert that is never or always chosen).
 * @param[in] options not NULL.
 * @param[out] indices [T, k] I32, k from 1 to the lesser of 16 and E, any row stride >= k.
 * @param[out] weights [T, k] F32, any row stride >= k.
 * @param[out] logits NULL, or [T, E] F32, any row stride >= E: receives z.
 * @param[out] error may be NULL.
 * Outputs overlap neither inputs nor each other.
 * Reports NON_FINITE_RESULT; BAD_BLOCK_SCALE (row: the expert, column: of W) for an NVFP4 block scale that is NaN or has its sign bit set, which counts as NaN; BAD_GLOBAL_SCALE (row -1) for a global scale that is not finite or not positive, used as it is.
 */
NVFP4J_API int32_t nvfp4j_router_dense(nvfp4j_context* context, const nvfp4j_tensor* x,
                                       const nvfp4j_tensor* weight,
                                       const nvfp4j_nvfp4_tensor* weight_nvfp4,
                                       const nvfp4j_tensor* bias,
                                       const nvfp4j_router_options* options,
                                       const nvfp4j_tensor* indices, const nvfp4j_tensor* weights,
                                       const nvfp4j_tensor* logits, nvfp4j_error* error);

/**
 * Looks up the experts of each token by its id, and computes their weights: of the k rows of W that were chosen, not of all E.
 *
 * One launch on a CUDA device; asynchronous there, done on return on the CPU. Deterministic.
 * @param[in] context not NULL.
 * @param[in] x [T, D] as for router_dense.
 * @param[in] weight W as for router_dense, or NULL.
 * @param[in] weight_nvfp4 W as for router_dense, or NULL.
 * @param[in] table [V, k] I32 or I64 contiguous, k from 1 to 16, V from 1 to 2^31 - 1: the experts of each token id.
 * @param[in] ids [T] I32 or I64 contiguous.
 * @param[in] options not NULL.
 * @param[out] indices [T, k] I32, any row stride >= k.
 * @param[out] weights [T, k] F32, any row stride >= k.
 * @param[out] error may be NULL.
 * Outputs overlap neither inputs nor each other.
 * Reports what router_dense does, and INDEX_OUT_OF_RANGE: for a token id outside [0, V) (row: the token, column -1) all k indices are -1 and all weights 0; for an entry of the table outside [0, E) (column: j) index j is -1 and
 * weight j is 0, and the others are weighed without it. W's block scales are looked at in the rows that are read only.
 */
NVFP4J_API int32_t nvfp4j_router_hash(nvfp4j_context* context, const nvfp4j_tensor* x,
                                      const nvfp4j_tensor* weight,
                                      const nvfp4j_nvfp4_tensor* weight_nvfp4,
                                      const nvfp4j_tensor* table, const nvfp4j_tensor* ids,
                                      const nvfp4j_router_options* options,
                                      const nvfp4j_tensor* indices, const nvfp4j_tensor* weights,
                                      nvfp4j_error* error);

#ifdef __cplusplus
}
#endif
#endif
