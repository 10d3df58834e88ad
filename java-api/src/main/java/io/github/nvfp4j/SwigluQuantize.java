// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// swiglu_quantize: [Swiglu], then [Quantize] of the value rounded to the input's type, in one
/// launch; bit-equal to the two in turn, and the same bits on every device. Formulas and sources
/// are theirs.
///
/// Asynchronous on a CUDA device, done on return on the CPU. Deterministic, allocates nothing, can
/// be captured. A NaN or infinity in SwiGLU's result is reported ([Cause#NON_FINITE_INPUT]).
public final class SwigluQuantize {
  private SwigluQuantize() {}

  /// Applies SwiGLU row by row and quantises the result.
  ///
  /// @param stream where to run
  /// @param gateUp BF16 or F32 `[T, 2I]`, any row stride of at least 2I, I a multiple of 16
  /// @param weight null, or F32 `[T]` contiguous: a factor per row, such as a routing weight
  /// @param out `[T, I]`; overlaps no input
  /// @param swigluOptions how to apply SwiGLU
  /// @param quantizeOptions how to quantise
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(
      Stream stream,
      Tensor gateUp,
      @Nullable Tensor weight,
      Nvfp4Tensor out,
      Swiglu.Options swigluOptions,
      Quantize.Options quantizeOptions) {
    stream.enter("swiglu_quantize");
    try {
      stream.reads(Op.SWIGLU_QUANTIZE, "gate_up", gateUp);
      if (weight != null) {
        stream.reads(Op.SWIGLU_QUANTIZE, "weight", weight);
      }
      stream.writes(Op.SWIGLU_QUANTIZE, "output", out);
      int status =
          Nvfp4jNative.swigluQuantize(
              stream.context(),
              gateUp.descriptor,
              weight == null ? MemorySegment.NULL : weight.descriptor,
              swigluOptions.struct,
              quantizeOptions.struct,
              out.descriptor,
              stream.error());
      if (status != 0) {
        throw stream.raise(
            Op.SWIGLU_QUANTIZE,
            status,
            Shapes.of("gate_up", gateUp, "weight", weight, "output", out));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, gateUp, weight, out, swigluOptions, quantizeOptions));
      }
    } finally {
      stream.exit();
    }
  }
}
