/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NVFP4J_SAMPLE_H
#define NVFP4J_SAMPLE_H
/**
 * @file sample.h
 * @brief sample: the next token from logits, greedy or drawn from softmax(logits / temperature); the same tokens on every device.
 *
 * @code
 *   temperature == 0:  v[t,i] = f32(logits[t,i])
 *   else:              v[t,i] = f32(logits[t,i]) / max(temperature, 1e-5) - log(E[t,i])
 *   token[t] = the lowest i among those with the highest v[t,i]
 *
 *   E[t,i] = noise[t,i]                                                     // the caller's, of the exponential distribution with mean 1
 *   E[t,i] = -log(u), u = (floor(r / 512) + 0.5) * 2^-23                    // without noise; u is exact, and neither 0 nor 1
 *   r      = word i mod 4 of Philox4x32-10 with key (seed mod 2^32, seed / 2^32) and counter (i / 4, t mod 2^32, o mod 2^32, o / 2^32)    // quotients rounded down; o = offset + offset[0], modulo 2^64
 * @endcode
 * In IEEE binary32, each operation rounded to nearest even; log is this project's (native/src/common/math.hpp). argmax(l - log E) is a draw from softmax(l) (exponential race), as argmax(p / E) is.
 * Each call needs another offset: draws with the same seed, offset and row are the same.
 *
 * A row with a logit that is NaN, or with noise that is not positive and finite, is reported and its token is -1. So is a row whose logits are all -infinity. Each fault of a row is reported. Logits of +infinity, and of -infinity beside others, are ordinary.
 *
 * Source: sample() of DeepSeek-V4's reference model, in its Gumbel form. Philox: Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3 (2011).
 */
#include "nvfp4j/context.h"
#include "nvfp4j/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** How to draw. */
typedef struct nvfp4j_sample_options {
  /** sizeof(nvfp4j_sample_options), set by the caller. */
  int32_t struct_size;
  /** Finite, 0 or more; 0: the most likely token. */
  float temperature;
  /** Key of the random numbers; any bits. */
  uint64_t seed;
  /** Which numbers of that key; any bits. */
  uint64_t offset;
} nvfp4j_sample_options;

/**
 * Draws one token a row.
 *
 * One launch on a CUDA device; asynchronous there, done on return on the CPU. Deterministic.
 * @param[in] context not NULL.
 * @param[in] logits [T, V] F32 or BF16, any row stride >= V; V from 1 to 2^31 - 1. T may be 0.
 * @param[in] noise NULL, or [T, V] F32, any row stride >= V: E. Not read at temperature 0.
 * @param[in] offset NULL, or [1] I64: added to options.offset; read on the device, so that a captured graph draws anew. Left as it is.
 * @param[in] options not NULL. seed and offset have no effect where noise is given, or at temperature 0.
 * @param[out] tokens [T] I32 contiguous. Overlaps no input.
 * @param[out] error may be NULL.
 * Reports NON_FINITE_INPUT (row t; column: of a NaN), BAD_NOISE (row t, column i) and NON_FINITE_RESULT (row t, column -1: all logits of the row are -infinity).
 */
NVFP4J_API int32_t nvfp4j_sample(nvfp4j_context* context, const nvfp4j_tensor* logits,
                                 const nvfp4j_tensor* noise, const nvfp4j_tensor* offset,
                                 const nvfp4j_sample_options* options, const nvfp4j_tensor* tokens,
                                 nvfp4j_error* error);

#ifdef __cplusplus
}
#endif
#endif
