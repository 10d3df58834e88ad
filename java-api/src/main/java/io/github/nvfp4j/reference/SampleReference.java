// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import org.jspecify.annotations.Nullable;

/// The next token from logits, the definition that [io.github.nvfp4j.Sample] equals token for
/// token. In binary32, each operation rounded:
///
/// ```
/// temperature == 0:  v[t,i] = logits[t,i]
/// else:              v[t,i] = logits[t,i] / max(temperature, 1e-5) - log(E[t,i])   // MathReference
/// token[t] = the lowest i among those with the highest v[t,i]
///
/// E[t,i] = noise[t,i], or
/// E[t,i] = -log(u), u = (floor(r / 512) + 0.5) * 2^-23
/// r      = word i mod 4 of Philox with key (seed mod 2^32, seed / 2^32)
///          and counter (i / 4, t, offset mod 2^32, offset / 2^32)
/// ```
///
/// A row with a logit that is NaN, with noise that is not positive and finite, or with nothing but
/// -infinity has no token: -1.
///
/// Source: `sample` of DeepSeek-V4's reference model, in its Gumbel form.
public final class SampleReference {
  /// Lower temperatures, other than 0, count as this.
  private static final float LOWEST_TEMPERATURE = 1e-5f;

  private static final int NO_TOKEN = -1;

  private SampleReference() {}

  /// Draws one token a row.
  ///
  /// @param logits `[rows, columns]`
  /// @param rows T
  /// @param columns V, 1 or more
  /// @param noise null, or E `[rows, columns]`; not read at temperature 0
  /// @param temperature finite, 0 or more
  /// @param seed key of Philox; any bits
  /// @param offset upper half of its counters; any bits
  /// @return `[rows]`
  /// @throws IllegalArgumentException if shapes and arrays disagree, or for another temperature
  public static int[] sample(
      float[] logits,
      int rows,
      int columns,
      float @Nullable [] noise,
      float temperature,
      long seed,
      long offset) {
    if (rows < 0 || columns < 1) {
      throw new IllegalArgumentException(
          "sample: rows, columns are "
              + rows
              + ", "
              + columns
              + ", expected 0 or more, and 1 or more");
    }
    check("logits", logits, rows, columns);
    if (noise != null) {
      check("noise", noise, rows, columns);
    }
    if (!(temperature >= 0 && temperature <= Float.MAX_VALUE)) {
      throw new IllegalArgumentException(
          "sample: temperature is " + temperature + ", expected a finite number, not negative");
    }
    int[] tokens = new int[rows];
    for (int t = 0; t < rows; t++) {
      tokens[t] = token(logits, noise, t, columns, temperature, seed, offset);
    }
    return tokens;
  }

  private static int token(
      float[] logits,
      float @Nullable [] noise,
      int row,
      int columns,
      float temperature,
      long seed,
      long offset) {
    boolean anyAbove = false;
    int token = 0;
    float highest = 0;
    for (int i = 0; i < columns; i++) {
      float logit = logits[row * columns + i];
      float v = logit;
      if (temperature != 0) {
        float e = noise != null ? noise[row * columns + i] : exponential(seed, offset, row, i);
        if (!(e > 0 && e <= Float.MAX_VALUE)) {
          return NO_TOKEN;
        }
        v = logit / Math.max(temperature, LOWEST_TEMPERATURE) - MathReference.log(e);
      }
      if (Float.isNaN(logit)) {
        return NO_TOKEN;
      }
      anyAbove = anyAbove || logit != Float.NEGATIVE_INFINITY;
      if (i == 0 || v > highest) {
        token = i;
        highest = v;
      }
    }
    return anyAbove ? token : NO_TOKEN;
  }

  /// The noise of one element: of the exponential distribution with mean 1, from 2^-24 to 16.7.
  ///
  /// @param seed key of Philox; any bits
  /// @param offset upper half of its counters; any bits
  /// @param row t
  /// @param column i, 0 or more
  public static float exponential(long seed, long offset, int row, int column) {
    int[] words =
        Philox.words(
            new int[] {column / 4, row, (int) offset, (int) (offset >>> 32)},
            new int[] {(int) seed, (int) (seed >>> 32)});
    return -MathReference.log(uniform(words[column % 4]));
  }

  /// (floor(r / 512) + 0.5) * 2^-23 of an unsigned word: exact, and strictly between 0 and 1.
  ///
  /// @param word r
  public static float uniform(int word) {
    return ((word >>> 9) + 0.5f) * 0x1p-23f;
  }

  private static void check(String name, float[] array, int rows, int columns) {
    if (array.length != (long) rows * columns) {
      throw new IllegalArgumentException(
          "sample: "
              + name
              + " has "
              + array.length
              + " elements, expected "
              + (long) rows * columns);
    }
  }
}
