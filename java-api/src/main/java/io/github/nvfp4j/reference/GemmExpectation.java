// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import java.util.Locale;
import org.jspecify.annotations.Nullable;

/// What a matrix product may have written to D: where the tolerance is 0, one value, bit for bit;
/// elsewhere a number that close to the exact one. The arrays are not copied.
///
/// @param values the reference's own result
/// @param exact the result without rounding
/// @param tolerances how far from `exact` an element may be; 0: it is `values`
public record GemmExpectation(float[] values, double[] exact, double[] tolerances) {
  /// The largest finite number of BF16: a result near it may have become infinite.
  private static final double LARGE = 0x1.fep127;

  /// Whether a result is one of those that it may be. Where NaN is expected, every NaN is good.
  public boolean allows(int index, float actual) {
    if (Float.isNaN(values[index]) || Double.isNaN(exact[index])) {
      return Float.isNaN(actual);
    }
    if (Double.isInfinite(exact[index])) {
      return actual == exact[index];
    }
    double tolerance = tolerances[index];
    if (tolerance == 0) {
      return Float.floatToRawIntBits(actual) == Float.floatToRawIntBits(values[index]);
    }
    if (Float.isInfinite(actual) && Math.abs(exact[index]) + tolerance >= LARGE) {
      return actual > 0 == exact[index] > 0;
    }
    return Math.abs(actual - exact[index]) <= tolerance;
  }

  /// The first difference in words; null when there is none.
  ///
  /// @throws IllegalArgumentException if `actual` has another size
  public @Nullable String difference(float[] actual) {
    if (actual.length != values.length) {
      throw new IllegalArgumentException(
          "difference: actual has " + actual.length + " elements, expected " + values.length);
    }
    int wrong = 0;
    int first = -1;
    for (int i = 0; i < actual.length; i++) {
      if (!allows(i, actual[i])) {
        first = wrong++ == 0 ? i : first;
      }
    }
    return wrong == 0
        ? null
        : String.format(
            Locale.ROOT,
            "%d of %d values differ, the first at %d: %s (%08x), expected %s (%08x)%s",
            wrong,
            actual.length,
            first,
            actual[first],
            Float.floatToRawIntBits(actual[first]),
            values[first],
            Float.floatToRawIntBits(values[first]),
            tolerances[first] == 0 ? "" : " within " + tolerances[first]);
  }
}
