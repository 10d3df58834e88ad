// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.SwigluColumns;
import org.jspecify.annotations.Nullable;

/// The clamped SwiGLU of DeepSeek-V4's experts, the definition that [io.github.nvfp4j.Swiglu]
/// equals bit for bit. In binary32, each operation rounded, with L the limit:
///
/// ```
/// if (L > 0) { if (g > L) g = L ; if (u > L) u = L ; if (u < -L) u = -L }   // NaN stays NaN
/// e = exp(-g)                                                               // MathReference
/// h = (g / (1 + e)) * u
/// if (weight) h = h * weight[t]
/// y = h rounded to the input's type
/// ```
///
/// The clamp acts before SiLU: above on the gate, on both sides of the up projection. SiLU of
/// negative infinity is NaN, as -inf / inf is.
///
/// Source: `Expert.forward` of DeepSeek-V4's reference model.
public final class SwigluReference {
  private SwigluReference() {}

  /// Applies SwiGLU to every row.
  ///
  /// @param gateUp `[rows, 2 * columns]`, gate and up as `layout` says
  /// @param rows T
  /// @param columns I, columns of the result
  /// @param weight null, or a factor per row `[rows]`
  /// @param layout how gate and up share a row
  /// @param limit L; 0 = no clamp
  /// @param dtype [DType#F32] or [DType#BF16]: the type of `gateUp`, which the result is rounded to
  /// @return `[rows, columns]`
  /// @throws IllegalArgumentException if shapes and arrays disagree, the limit is negative or not
  ///   finite, or for another type
  public static float[] swiglu(
      float[] gateUp,
      int rows,
      int columns,
      float @Nullable [] weight,
      SwigluColumns layout,
      float limit,
      DType dtype) {
    if (rows < 0 || columns < 0 || gateUp.length != 2L * rows * columns) {
      throw new IllegalArgumentException(
          "swiglu: gateUp has " + gateUp.length + " elements, expected " + 2L * rows * columns);
    }
    if (weight != null && weight.length != rows) {
      throw new IllegalArgumentException(
          "swiglu: weight has " + weight.length + " elements, expected " + rows);
    }
    if (!(limit >= 0) || Float.isInfinite(limit)) {
      throw new IllegalArgumentException(
          "swiglu: limit is " + limit + ", expected a finite number, not negative");
    }
    if (dtype != DType.F32 && dtype != DType.BF16) {
      throw new IllegalArgumentException("swiglu: dtype is " + dtype + ", expected F32 or BF16");
    }
    float[] y = new float[rows * columns];
    for (int t = 0; t < rows; t++) {
      for (int i = 0; i < columns; i++) {
        int row = t * 2 * columns;
        boolean halves = layout == SwigluColumns.HALVES;
        float gate = gateUp[halves ? row + i : row + 2 * i];
        float up = gateUp[halves ? row + columns + i : row + 2 * i + 1];
        float h = swiglu(gate, up, limit);
        if (weight != null) {
          h = h * weight[t];
        }
        y[t * columns + i] = DequantizeReference.round(h, dtype);
      }
    }
    return y;
  }

  /// One element, before weight and rounding; NaN is `0x7fc00000`.
  ///
  /// @param gate g
  /// @param up u
  /// @param limit L; 0 = no clamp
  public static float swiglu(float gate, float up, float limit) {
    float g = gate;
    float u = up;
    if (limit > 0) {
      g = g > limit ? limit : g;
      u = u > limit ? limit : u;
      u = u < -limit ? -limit : u;
    }
    float e = MathReference.exp(-g);
    float h = g / (1f + e) * u;
    return Float.isNaN(h) ? Float.NaN : h;
  }
}
