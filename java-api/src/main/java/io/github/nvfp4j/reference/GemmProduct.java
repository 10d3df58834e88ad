// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.SwigluColumns;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// What [GemmReference] knows of a product `[M, N]`, before it is rounded to the type of D. The
/// arrays are not copied.
///
/// @param rows M
/// @param columns N
/// @param depth K
/// @param values `alpha * f32(acc)`, each rounded to F32: the bits of D where `certain`
/// @param exact `alpha * acc`
/// @param magnitudes `|alpha| * absmax`
/// @param certain where every order of summation gives the same bits
public record GemmProduct(
    int rows,
    int columns,
    int depth,
    float[] values,
    double[] exact,
    double[] magnitudes,
    boolean[] certain) {
  /// The largest slope of SiLU is 1.0998.
  private static final double SILU_SLOPE = 1.1;

  static GemmProduct of(int rows, int columns, int depth) {
    int count = Math.multiplyExact(rows, columns);
    return new GemmProduct(
        rows,
        columns,
        depth,
        new float[count],
        new double[count],
        new double[count],
        new boolean[count]);
  }

  GemmProduct fill(double value) {
    Arrays.fill(values, (float) value);
    Arrays.fill(exact, value);
    Arrays.fill(magnitudes, value);
    return this;
  }

  /// Another product at a place in this one.
  void put(GemmProduct part, int row, int column) {
    for (int m = 0; m < part.rows; m++) {
      int from = m * part.columns;
      int to = (row + m) * columns + column;
      System.arraycopy(part.values, from, values, to, part.columns);
      System.arraycopy(part.exact, from, exact, to, part.columns);
      System.arraycopy(part.magnitudes, from, magnitudes, to, part.columns);
      System.arraycopy(part.certain, from, certain, to, part.columns);
    }
  }

  /// Whether every element is certain.
  public boolean allCertain() {
    for (boolean one : certain) {
      if (!one) {
        return false;
      }
    }
    return true;
  }

  /// What D may be.
  ///
  /// @param dtype [DType#F32] or [DType#BF16]
  /// @param gamma of the device's sums: [GemmReference#gammaOfCpu] or
  ///   [GemmReference#gammaOfTensorCores] of K
  public GemmExpectation expect(DType dtype, double gamma) {
    float[] rounded = new float[values.length];
    double[] tolerances = new double[values.length];
    for (int i = 0; i < rounded.length; i++) {
      rounded[i] = DequantizeReference.round(values[i], dtype);
      tolerances[i] = certain[i] ? 0 : tolerance(i, dtype, gamma);
    }
    return new GemmExpectation(rounded, exact.clone(), tolerances);
  }

  /// What D may be with SwiGLU: of gate, the first half of the columns, and up, the second, in
  /// BF16.
  ///
  /// @param weight null, or a factor per row
  /// @param limit the clamp; 0 = none
  /// @param gamma as for [#expect]
  /// @throws IllegalArgumentException as [SwigluReference#swiglu]
  public GemmExpectation expectSwiglu(float @Nullable [] weight, float limit, double gamma) {
    int width = columns / 2;
    float[] rounded =
        SwigluReference.swiglu(
            values, rows, width, weight, SwigluColumns.HALVES, limit, DType.BF16);
    double[] ideal = new double[rounded.length];
    double[] tolerances = new double[rounded.length];
    for (int i = 0; i < rounded.length; i++) {
      int g = i / width * columns + i % width;
      int u = g + width;
      double gate = clamp(exact[g], Double.NEGATIVE_INFINITY, limit);
      double up = clamp(exact[u], -limit, limit);
      double silu = gate / (1 + Math.exp(-gate));
      double factor = weight == null ? 1 : weight[i / width];
      ideal[i] = silu * up * factor;
      if (!certain[g] || !certain[u]) {
        double gateError = tolerance(g, DType.F32, gamma);
        double upError = tolerance(u, DType.F32, gamma);
        double error =
            Math.abs(factor)
                * (SILU_SLOPE * gateError * (Math.abs(up) + upError) + Math.abs(silu) * upError);
        // Six roundings in F32 (and exp's 0.9 ulp), then that to BF16; below a gate of -88.7 exp
        // overflows and the result is -0.
        double size = Math.abs(ideal[i]) + error;
        double underflow = 0x1p-120 * (1 + Math.abs(up)) * (1 + Math.abs(factor));
        tolerances[i] = error + size * (0x1p-8 + 0x1p-20) + 0x1p-133 + underflow;
      }
    }
    return new GemmExpectation(rounded, ideal, tolerances);
  }

  private static double clamp(double x, double low, double limit) {
    return limit > 0 ? Math.min(Math.max(x, low), limit) : x;
  }

  /// How far a result may be from the exact one: the sum, its product with alpha, and the rounding
  /// to the type, half a unit of its smallest subnormal included.
  private double tolerance(int i, DType dtype, double gamma) {
    // BF16 activations: the sum in double is not exact either.
    double sum = (gamma + depth * 0x1p-52) * magnitudes[i];
    double relative = 0x1p-23 + (dtype == DType.BF16 ? 0x1p-8 : 0);
    double least = dtype == DType.BF16 ? 0x1p-134 : 0x1p-150;
    return sum + relative * (Math.abs(exact[i]) + sum) + least + 0x1p-149;
  }
}
