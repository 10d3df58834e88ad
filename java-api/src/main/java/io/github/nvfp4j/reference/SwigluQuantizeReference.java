// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.Recipe;
import io.github.nvfp4j.SwigluColumns;
import io.github.nvfp4j.ZeroScale;
import org.jspecify.annotations.Nullable;

/// SwiGLU, then quantisation of the value rounded to the input's type: [SwigluReference] and
/// [QuantizeReference] in turn, which [io.github.nvfp4j.SwigluQuantize] equals bit for bit.
///
/// Non-finite elements are those of SwiGLU's result.
public final class SwigluQuantizeReference {
  private SwigluQuantizeReference() {}

  /// Quantises SwiGLU's result with global scales computed from it.
  ///
  /// @param gateUp `[rows, 2 * columns]`, gate and up as `layout` says
  /// @param rows T
  /// @param columns I, a multiple of 16
  /// @param weight null, or a factor per row `[rows]`
  /// @param layout how gate and up share a row
  /// @param limit L; 0 = no clamp
  /// @param dtype [DType#F32] or [DType#BF16]: the type of `gateUp`
  /// @param globalScale one global scale for the matrix, or one per row
  /// @param recipe the arithmetic
  /// @param zeroScale read by [Recipe#EXACT] only
  /// @return `[rows, columns]`
  /// @throws IllegalArgumentException as the two ops in turn
  public static Nvfp4Matrix dynamic(
      float[] gateUp,
      int rows,
      int columns,
      float @Nullable [] weight,
      SwigluColumns layout,
      float limit,
      DType dtype,
      GlobalScale globalScale,
      Recipe recipe,
      ZeroScale zeroScale) {
    float[] y = SwigluReference.swiglu(gateUp, rows, columns, weight, layout, limit, dtype);
    return QuantizeReference.dynamic(y, rows, columns, globalScale, recipe, zeroScale);
  }

  /// Quantises SwiGLU's result with global scales that are given.
  ///
  /// @param gateUp `[rows, 2 * columns]`, gate and up as `layout` says
  /// @param rows T
  /// @param columns I, a multiple of 16
  /// @param weight null, or a factor per row `[rows]`
  /// @param layout how gate and up share a row
  /// @param limit L; 0 = no clamp
  /// @param dtype [DType#F32] or [DType#BF16]: the type of `gateUp`
  /// @param globalScale one global scale for the matrix, or one per row
  /// @param globalScales the multipliers: 1, or T of them
  /// @param recipe the arithmetic
  /// @param zeroScale read by [Recipe#EXACT] only
  /// @return `[rows, columns]`
  /// @throws IllegalArgumentException as the two ops in turn
  public static Nvfp4Matrix given(
      float[] gateUp,
      int rows,
      int columns,
      float @Nullable [] weight,
      SwigluColumns layout,
      float limit,
      DType dtype,
      GlobalScale globalScale,
      float[] globalScales,
      Recipe recipe,
      ZeroScale zeroScale) {
    float[] y = SwigluReference.swiglu(gateUp, rows, columns, weight, layout, limit, dtype);
    return QuantizeReference.given(y, rows, columns, globalScale, globalScales, recipe, zeroScale);
  }
}
