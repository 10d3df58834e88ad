// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// expert_combine: adds up what the experts gave for each token; the same bits on every device.
///
/// Per token t and column d, in IEEE binary32, each operation rounded to nearest even:
///
/// ```
/// acc = +0
/// for j = 0 .. k-1, where p = positions[t,j] is not -1:
///   acc = fma(weights[t,j], f32(y[p,d]), acc)         without weights: acc = acc + f32(y[p,d])
/// if (shared) acc = acc + f32(shared[t,d])
/// out[t,d] = acc, rounded to the type of out once
/// ```
///
/// A position of -1 contributes nothing, whatever its weight ([ExpertDispatch] reported it). Any
/// other outside `[0, R)` is reported ([Cause#INDEX_OUT_OF_RANGE], row: the token, column: j) and
/// contributes nothing. A NaN result is 0x7FC0 (BF16) or 0x7FC00000 (F32).
///
/// The weights can come in at either end: here, or before the down projection with the row weights
/// of [ExpertDispatch], and then there are none here.
///
/// T tokens have k slots each, k from 1 to 16; T, R and D may be 0, D is at most 2^31 - 1. All
/// tensors have contiguous columns, and rows at any stride of at least their width.
///
/// One launch on a CUDA device, asynchronous; done on return on the CPU. Deterministic, allocates
/// nothing, can be captured.
///
/// Source: `MoE.forward` of DeepSeek-V4's reference model.
public final class ExpertCombine {
  private ExpertCombine() {}

  /// Adds up.
  ///
  /// @param stream where to run
  /// @param y BF16 or F32 `[R, D]`: what the experts gave, rows sorted by expert
  /// @param positions I32 `[T, k]`, from [ExpertDispatch]
  /// @param weights null, or F32 `[T, k]`
  /// @param shared null, or `[T, D]` of the type of `y`: what the shared expert gave
  /// @param out written: BF16 or F32 `[T, D]`. In place is allowed: `shared` itself, or the same
  ///   memory with the same type and strides. Else it overlaps no input
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(
      Stream stream,
      Tensor y,
      Tensor positions,
      @Nullable Tensor weights,
      @Nullable Tensor shared,
      Tensor out) {
    stream.enter("expert_combine");
    try {
      stream.reads(Op.EXPERT_COMBINE, "y", y);
      stream.reads(Op.EXPERT_COMBINE, "positions", positions);
      if (weights != null) {
        stream.reads(Op.EXPERT_COMBINE, "weights", weights);
      }
      if (shared != null) {
        stream.reads(Op.EXPERT_COMBINE, "shared", shared);
      }
      stream.writes(Op.EXPERT_COMBINE, "out", out);
      int status =
          Nvfp4jNative.expertCombine(
              stream.context(),
              y.descriptor,
              positions.descriptor,
              weights == null ? MemorySegment.NULL : weights.descriptor,
              shared == null ? MemorySegment.NULL : shared.descriptor,
              out.descriptor,
              stream.error());
      if (status != 0) {
        throw stream.raise(
            Op.EXPERT_COMBINE,
            status,
            Shapes.of(
                "y", y, "positions", positions, "weights", weights, "shared", shared, "out", out));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, y, positions, weights, shared, out));
      }
    } finally {
      stream.exit();
    }
  }
}
