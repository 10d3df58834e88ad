// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import java.util.Arrays;
import java.util.Comparator;
import java.util.stream.IntStream;

/// Scores and choices of DeepSeek-V4's lightning indexer, the definition of
/// [io.github.nvfp4j.IndexerTopk]:
///
/// ```
/// dot[s,h,t] = sum over i of q[s,h,i] * keys[t,i]
/// score[s,t] = sum over h of weights[s,h] * max(dot[s,h,t], 0)    for t < valid[s], else -infinity
/// indices[s] = the t < valid[s] with the k highest scores, descending; of equal ones the lowest t
///              first; then -1
/// ```
///
/// Here sums are in binary64, and a score is rounded once. A device's scores are within
/// [#tolerances] of the exact ones, and its indices are what [#indices] makes of its own scores.
///
/// Source: `Indexer.forward` of DeepSeek-V4's reference model; ties as in DeepSeek's TileKernels.
public final class IndexerReference {
  private static final int MAX_HEADS = 128;
  private static final int MAX_COLUMNS = 256;

  private IndexerReference() {}

  /// The score of each row of the cache for each query.
  ///
  /// @param q `[queries, heads, columns]`
  /// @param keys `[rows, columns]`
  /// @param weights `[queries, heads]`
  /// @param valid rows that each query sees; outside `[0, rows]` it counts as 0
  /// @param heads H, from 1 to 128
  /// @param columns d, a multiple of 16 from 16 to 256
  /// @return `[queries, rows]`; a NaN is 0x7FC00000, a zero +0
  /// @throws IllegalArgumentException if numbers and arrays disagree, or a number is out of its
  ///   range
  public static float[] scores(
      float[] q, float[] keys, float[] weights, int[] valid, int heads, int columns) {
    double[] exact = exactScores(q, keys, weights, valid, heads, columns);
    float[] scores = new float[exact.length];
    for (int i = 0; i < scores.length; i++) {
      scores[i] = Double.isNaN(exact[i]) ? Float.NaN : (float) exact[i] + 0f;
    }
    return scores;
  }

  /// The same before the last rounding.
  ///
  /// @param q `[queries, heads, columns]`
  /// @param keys `[rows, columns]`
  /// @param weights `[queries, heads]`
  /// @param valid rows that each query sees; outside `[0, rows]` it counts as 0
  /// @param heads H, from 1 to 128
  /// @param columns d, a multiple of 16 from 16 to 256
  /// @return `[queries, rows]`
  /// @throws IllegalArgumentException if numbers and arrays disagree, or a number is out of its
  ///   range
  public static double[] exactScores(
      float[] q, float[] keys, float[] weights, int[] valid, int heads, int columns) {
    int rows = checkShapes(q, keys, weights, valid, heads, columns);
    double[] scores = new double[valid.length * rows];
    Arrays.fill(scores, Double.NEGATIVE_INFINITY);
    for (int s = 0; s < valid.length; s++) {
      for (int t = 0; t < visible(valid[s], rows); t++) {
        double score = 0;
        for (int h = 0; h < heads; h++) {
          double dot = 0;
          for (int i = 0; i < columns; i++) {
            dot += (double) q[(s * heads + h) * columns + i] * keys[t * columns + i];
          }
          score += weights[s * heads + h] * Math.max(dot, 0);
        }
        scores[s * rows + t] = score;
      }
    }
    return scores;
  }

  /// How far from the exact score a device's may be: 2^-24 * (4 * (d/16) + H + 8) times the sum
  /// over h of |weights| times the sum over i of |q * keys|.
  ///
  /// @param q `[queries, heads, columns]`
  /// @param keys `[rows, columns]`
  /// @param weights `[queries, heads]`
  /// @param valid rows that each query sees; outside `[0, rows]` it counts as 0
  /// @param heads H, from 1 to 128
  /// @param columns d, a multiple of 16 from 16 to 256
  /// @return `[queries, rows]`; 0 where a row is not visible
  /// @throws IllegalArgumentException if numbers and arrays disagree, or a number is out of its
  ///   range
  public static double[] tolerances(
      float[] q, float[] keys, float[] weights, int[] valid, int heads, int columns) {
    int rows = checkShapes(q, keys, weights, valid, heads, columns);
    double unit = 0x1p-24 * (4 * (columns / 16) + heads + 8);
    double[] tolerances = new double[valid.length * rows];
    for (int s = 0; s < valid.length; s++) {
      for (int t = 0; t < visible(valid[s], rows); t++) {
        double absolute = 0;
        for (int h = 0; h < heads; h++) {
          double sum = 0;
          for (int i = 0; i < columns; i++) {
            sum += Math.abs((double) q[(s * heads + h) * columns + i] * keys[t * columns + i]);
          }
          absolute += Math.abs((double) weights[s * heads + h]) * sum;
        }
        tolerances[s * rows + t] = unit * absolute;
      }
    }
    return tolerances;
  }

  /// The best rows by scores that are given: a stable sort, descending, NaN last.
  ///
  /// @param scores `[queries, rows]`
  /// @param valid rows that each query sees; outside `[0, rows]` it counts as 0
  /// @param rows C
  /// @param k how many, 1 or more
  /// @return `[queries, k]`, -1 behind the last
  /// @throws IllegalArgumentException if numbers and arrays disagree, or a number is out of its
  ///   range
  public static int[] indices(float[] scores, int[] valid, int rows, int k) {
    if (k < 1) {
      throw new IllegalArgumentException("indexer_topk: k is " + k + ", expected 1 or more");
    }
    check("scores", scores.length, (long) valid.length * rows);
    int[] indices = new int[valid.length * k];
    Arrays.fill(indices, -1);
    for (int s = 0; s < valid.length; s++) {
      int first = s * rows;
      Comparator<Integer> descending =
          (a, b) -> {
            float x = scores[first + a];
            float y = scores[first + b];
            if (Float.isNaN(x) || Float.isNaN(y)) {
              return Boolean.compare(Float.isNaN(x), Float.isNaN(y));
            }
            return x > y ? -1 : x < y ? 1 : 0; // +0 and -0 are equal
          };
      int[] best =
          IntStream.range(0, visible(valid[s], rows))
              .boxed()
              .sorted(descending)
              .limit(k)
              .mapToInt(Integer::intValue)
              .toArray();
      System.arraycopy(best, 0, indices, s * k, best.length);
    }
    return indices;
  }

  private static int visible(int valid, int rows) {
    return valid < 0 || valid > rows ? 0 : valid;
  }

  /// Returns the rows of `keys`.
  private static int checkShapes(
      float[] q, float[] keys, float[] weights, int[] valid, int heads, int columns) {
    if (heads < 1 || heads > MAX_HEADS) {
      throw new IllegalArgumentException(
          "indexer_topk: heads is " + heads + ", expected from 1 to " + MAX_HEADS);
    }
    if (columns < 16 || columns > MAX_COLUMNS || columns % 16 != 0) {
      throw new IllegalArgumentException(
          "indexer_topk: columns is "
              + columns
              + ", expected a multiple of 16 from 16 to "
              + MAX_COLUMNS);
    }
    int rows = keys.length / columns;
    check("q", q.length, (long) valid.length * heads * columns);
    check("keys", keys.length, (long) rows * columns);
    check("weights", weights.length, (long) valid.length * heads);
    return rows;
  }

  private static void check(String name, int length, long expected) {
    if (length != expected) {
      throw new IllegalArgumentException(
          "indexer_topk: " + name + " has " + length + " elements, expected " + expected);
    }
  }
}
