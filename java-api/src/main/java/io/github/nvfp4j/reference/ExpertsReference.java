// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// A token's way to its experts and back, the definition that [io.github.nvfp4j.ExpertDispatch] and
/// [io.github.nvfp4j.ExpertCombine] equal bit for bit.
///
/// ```
/// offsets[e]           = number of choices (t, j) with 0 <= indices[t,j] < e, for e = 0 .. E
/// positions[t,j]       = offsets[e] + number of choices before (t, j) with the same e = indices[t,j]
/// rows[positions[t,j]] = t ; rowWeights[positions[t,j]] = weights[t,j]
///
/// acc      = +0 ; for j = 0 .. k-1, where p = positions[t,j] is a row:
///            acc = fma(weights[t,j], y[p,d], acc)      // without weights: acc + y[p,d]
/// out[t,d] = acc + shared[t,d]                         // where there is one
/// ```
///
/// Choices of no expert have the position -1; the rows that they leave over are -1, with weight 0.
///
/// Source: `MoE.forward` of DeepSeek-V4's reference model.
public final class ExpertsReference {
  private ExpertsReference() {}

  /// Sorted choices. The arrays are not copied.
  ///
  /// @param offsets E + 1 of them
  /// @param rows the token of each sorted row, `[T * k]`
  /// @param positions the sorted row of each choice, `[T, k]`
  /// @param rowWeights the weight of each sorted row, `[T * k]`; null where choices have none
  public record Dispatch(
      int[] offsets, int[] rows, int[] positions, float @Nullable [] rowWeights) {}

  /// Sorts choices by expert.
  ///
  /// @param indices `[tokens, slots]`
  /// @param weights null, or `[tokens, slots]`
  /// @param tokens T
  /// @param slots k, 1 or more
  /// @param experts E, 1 or more
  /// @throws IllegalArgumentException if shape and arrays disagree, or a number is out of its range
  public static Dispatch dispatch(
      int[] indices, float @Nullable [] weights, int tokens, int slots, int experts) {
    checkShape("expert_dispatch", "indices", indices.length, tokens, slots);
    if (weights != null) {
      checkShape("expert_dispatch", "weights", weights.length, tokens, slots);
    }
    if (experts < 1) {
      throw new IllegalArgumentException(
          "expert_dispatch: experts is " + experts + ", expected 1 or more");
    }
    int[] offsets = new int[experts + 1];
    for (int e = 0; e < experts; e++) {
      offsets[e + 1] = offsets[e];
      for (int index : indices) {
        offsets[e + 1] += index == e ? 1 : 0;
      }
    }
    int[] rows = new int[indices.length];
    int[] positions = new int[indices.length];
    float[] rowWeights = new float[indices.length];
    Arrays.fill(rows, -1);
    Arrays.fill(positions, -1);
    int[] before = new int[experts];
    for (int t = 0; t < tokens; t++) {
      for (int j = 0; j < slots; j++) {
        int choice = t * slots + j;
        int e = indices[choice];
        if (e < 0 || e >= experts) {
          continue;
        }
        int position = offsets[e] + before[e];
        before[e]++;
        positions[choice] = position;
        rows[position] = t;
        if (weights != null) {
          rowWeights[position] = weights[choice];
        }
      }
    }
    return new Dispatch(offsets, rows, positions, weights == null ? null : rowWeights);
  }

  /// Adds up what the experts gave for each token, in F32: a result of BF16 is this, rounded. NaN
  /// is 0x7FC00000.
  ///
  /// @param y `[rows, columns]`, sorted by expert
  /// @param columns D
  /// @param positions `[tokens, slots]`; what is no row contributes nothing
  /// @param weights null, or `[tokens, slots]`
  /// @param shared null, or `[tokens, columns]`
  /// @param tokens T
  /// @param slots k, 1 or more
  /// @return `[tokens, columns]`
  /// @throws IllegalArgumentException if shape and arrays disagree
  public static float[] combine(
      float[] y,
      int columns,
      int[] positions,
      float @Nullable [] weights,
      float @Nullable [] shared,
      int tokens,
      int slots) {
    String op = "expert_combine";
    checkShape(op, "positions", positions.length, tokens, slots);
    if (weights != null) {
      checkShape(op, "weights", weights.length, tokens, slots);
    }
    if (columns < 0 || (columns == 0 ? y.length != 0 : y.length % columns != 0)) {
      throw new IllegalArgumentException(
          op + ": y has " + y.length + " elements, expected rows of " + columns);
    }
    if (shared != null && shared.length != (long) tokens * columns) {
      throw new IllegalArgumentException(
          op + ": shared has " + shared.length + " elements, expected " + (long) tokens * columns);
    }
    int rows = columns == 0 ? 0 : y.length / columns;
    float[] out = new float[Math.multiplyExact(tokens, columns)];
    for (int t = 0; t < tokens; t++) {
      for (int d = 0; d < columns; d++) {
        float acc = 0;
        for (int j = 0; j < slots; j++) {
          int p = positions[t * slots + j];
          if (p < 0 || p >= rows) {
            continue;
          }
          float term = y[p * columns + d];
          acc = weights == null ? acc + term : Math.fma(weights[t * slots + j], term, acc);
        }
        if (shared != null) {
          acc = acc + shared[t * columns + d];
        }
        out[t * columns + d] = Float.isNaN(acc) ? Float.NaN : acc;
      }
    }
    return out;
  }

  private static void checkShape(String op, String name, int length, int tokens, int slots) {
    if (tokens < 0) {
      throw new IllegalArgumentException(op + ": tokens is " + tokens + ", expected 0 or more");
    }
    if (slots < 1) {
      throw new IllegalArgumentException(op + ": slots is " + slots + ", expected 1 or more");
    }
    if (length != (long) tokens * slots) {
      throw new IllegalArgumentException(
          op + ": " + name + " has " + length + " elements, expected " + (long) tokens * slots);
    }
  }
}
