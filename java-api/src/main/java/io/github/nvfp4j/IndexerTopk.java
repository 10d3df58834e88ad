// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// indexer_topk: DeepSeek-V4's lightning indexer, which finds the k compressed rows of the cache
/// that matter most to each query.
///
/// ```
/// dot[s,h,t]  = sum over i of q[s,h,i] * keys[t,i]            in F32 or better; products of BF16 are exact
/// score[s,t]  = sum over h of weights[s,h] * max(dot[s,h,t], 0)   for t < valid[s]; -infinity for the others
/// indices[s]  = the t < valid[s] with the k highest scores, descending; of equal ones the lowest t
///               first; then -1
/// ```
///
/// The order of sums is the implementation's, so that devices may differ in the last bits of a
/// score: |score - exact score| <= 2^-24 * (4 * (d/16) + H + 8) * the sum over h of |weights[s,h]|
/// times the sum over i of |q[s,h,i] * keys[t,i]|. Indices are exactly those that the device's own
/// scores make, so devices agree on a selection where scores differ by more than that. Two runs on
/// one device give the same bits. Weights may be negative, and scores negative or exactly 0: +0 and
/// -0 are equal, and are written as +0.
///
/// A score that is NaN or infinite is reported ([Cause#NON_FINITE_RESULT], row: the query, column:
/// t); a NaN (0x7FC00000) comes behind all other rows that are visible. max(NaN, 0) is NaN. What is
/// outside `[0, C]` in `valid` is reported ([Cause#INDEX_OUT_OF_RANGE], row: the query, column -1)
/// and counts as 0.
///
/// One launch on a CUDA device of 8 multiprocessors or more for few queries (T up to 8, C up to
/// 65536), otherwise several where the stream's workspace does not hold what all queries need;
/// asynchronous there, done on return on the CPU. Deterministic, allocates nothing, can be
/// captured.
///
/// Source: `Indexer.forward` of DeepSeek-V4's reference model; ties as in DeepSeek's TileKernels.
public final class IndexerTopk {
  private IndexerTopk() {}

  /// Scores the rows of a cache for each query and takes the best.
  ///
  /// @param stream where to run
  /// @param q BF16 or F32 `[T, H, d]`: d a multiple of 16 up to 256, H from 1 to 128; heads at any
  ///   stride of at least d, queries at any stride that keeps them apart. T may be 0
  /// @param keys `[C, d]`, type of `q`, any row stride of at least d; C from 0 to 2^20
  /// @param weights F32 `[T, H]`, any row stride of at least H: those of the heads, with all
  ///   scaling in them
  /// @param valid I32 `[T]`, contiguous: rows 0 to `valid[s]` - 1 are visible to query s. Read on
  ///   the device
  /// @param indices written: I32 `[T, k]`, any row stride of at least k; k from 1 to 2048
  /// @param scores written: F32 `[T, C]`, any row stride of at least C; or null
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(
      Stream stream,
      Tensor q,
      Tensor keys,
      Tensor weights,
      Tensor valid,
      Tensor indices,
      @Nullable Tensor scores) {
    stream.enter("indexer_topk");
    try {
      stream.reads(Op.INDEXER_TOPK, "q", q);
      stream.reads(Op.INDEXER_TOPK, "keys", keys);
      stream.reads(Op.INDEXER_TOPK, "weights", weights);
      stream.reads(Op.INDEXER_TOPK, "valid", valid);
      stream.writes(Op.INDEXER_TOPK, "indices", indices);
      if (scores != null) {
        stream.writes(Op.INDEXER_TOPK, "scores", scores);
      }
      int status =
          Nvfp4jNative.indexerTopk(
              stream.context(),
              q.descriptor,
              keys.descriptor,
              weights.descriptor,
              valid.descriptor,
              indices.descriptor,
              scores == null ? MemorySegment.NULL : scores.descriptor,
              stream.error());
      if (status != 0) {
        throw stream.raise(
            Op.INDEXER_TOPK,
            status,
            Shapes.of(
                "q", q, "keys", keys, "weights", weights, "valid", valid, "indices", indices,
                "scores", scores));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, q, keys, weights, valid, indices, scores));
      }
    } finally {
      stream.exit();
    }
  }
}
