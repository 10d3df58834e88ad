// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// expert_dispatch: the choices of tokens sorted by expert, those of one expert in their order; the
/// same bits on every device.
///
/// ```
/// offsets[e]           = number of choices (t, j) with 0 <= indices[t,j] < e, for e = 0 .. E
/// positions[t,j]       = offsets[e] + number of choices before (t, j), in row-major order, with the
///                        same expert e = indices[t,j]
/// rows[positions[t,j]] = t ; rowWeights[positions[t,j]] = weights[t,j]
/// ```
///
/// [GroupedGemm] takes `offsets`, [Quantize] takes `rows`: it gathers and quantises straight from
/// the tokens. [ExpertCombine] finds what the experts gave with `positions`. `rowWeights` is for
/// what multiplies the weights in before the down projection, as DeepSeek does: the weight of a row
/// of [Swiglu], [SwigluQuantize] or [GroupedGemm] with SwiGLU.
///
/// An index outside `[0, E)` goes nowhere and is reported ([Cause#INDEX_OUT_OF_RANGE], row: the
/// token, column: j): its position is -1. What is then left of `rows` and `rowWeights`, from
/// `offsets[E]` on, is -1 and 0.
///
/// T tokens choose k experts of E each: k from 1 to 16, E from 1 to 1024, T * k up to 2^31 - 1.
/// `[T, k]` tensors have any row stride of at least k. T may be 0: the offsets are zeros then.
/// Outputs overlap neither inputs nor each other.
///
/// One launch on a CUDA device, asynchronous; done on return on the CPU. Deterministic, allocates
/// nothing, can be captured.
///
/// Source: `MoE.forward` of DeepSeek-V4's reference model.
public final class ExpertDispatch {
  private ExpertDispatch() {}

  /// Sorts choices without weights.
  ///
  /// @param stream where to run
  /// @param indices I32 `[T, k]`: the experts that tokens chose
  /// @param offsets written: I32 `[E + 1]` contiguous, which says how many experts there are
  /// @param rows written: I32 `[T * k]` contiguous, the token of each sorted row
  /// @param positions written: I32 `[T, k]`, the sorted row of each choice
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(
      Stream stream, Tensor indices, Tensor offsets, Tensor rows, Tensor positions) {
    run(stream, indices, null, offsets, rows, positions, null);
  }

  /// Sorts choices, and their weights where there are any.
  ///
  /// @param stream where to run
  /// @param indices I32 `[T, k]`: the experts that tokens chose
  /// @param weights null, or F32 `[T, k]`
  /// @param offsets written: I32 `[E + 1]` contiguous, which says how many experts there are
  /// @param rows written: I32 `[T * k]` contiguous, the token of each sorted row
  /// @param positions written: I32 `[T, k]`, the sorted row of each choice
  /// @param rowWeights written: F32 `[T * k]` contiguous, the weight of each sorted row; null
  ///   exactly where `weights` is
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(
      Stream stream,
      Tensor indices,
      @Nullable Tensor weights,
      Tensor offsets,
      Tensor rows,
      Tensor positions,
      @Nullable Tensor rowWeights) {
    stream.enter("expert_dispatch");
    try {
      stream.reads(Op.EXPERT_DISPATCH, "indices", indices);
      if (weights != null) {
        stream.reads(Op.EXPERT_DISPATCH, "weights", weights);
      }
      stream.writes(Op.EXPERT_DISPATCH, "offsets", offsets);
      stream.writes(Op.EXPERT_DISPATCH, "rows", rows);
      stream.writes(Op.EXPERT_DISPATCH, "positions", positions);
      if (rowWeights != null) {
        stream.writes(Op.EXPERT_DISPATCH, "row_weights", rowWeights);
      }
      int status =
          Nvfp4jNative.expertDispatch(
              stream.context(),
              indices.descriptor,
              weights == null ? MemorySegment.NULL : weights.descriptor,
              offsets.descriptor,
              rows.descriptor,
              positions.descriptor,
              rowWeights == null ? MemorySegment.NULL : rowWeights.descriptor,
              stream.error());
      if (status != 0) {
        throw stream.raise(
            Op.EXPERT_DISPATCH,
            status,
            Shapes.of(
                "indices",
                indices,
                "weights",
                weights,
                "offsets",
                offsets,
                "rows",
                rows,
                "positions",
                positions,
                "row_weights",
                rowWeights));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, indices, weights, offsets, rows, positions, rowWeights));
      }
    } finally {
      stream.exit();
    }
  }
}
