// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import java.util.Arrays;

/// Logits to nearly doubly stochastic matrices, the definition that [io.github.nvfp4j.Sinkhorn]
/// equals bit for bit. Per token, for the n x n matrix L, in binary32, each operation rounded:
///
/// ```
/// sum(v)  = v padded with +0 to the next power of two P >= n
///           for h = P/2, P/4, ..., 1: v[i] = v[i] + v[i+h] for i < h ; v[0]
/// a[j,k]  = exp(L[j,k] - max over k of L[j,k])               // MathReference
/// C[j,k]  = fma(a[j,k], 1 / sum over k of a[j,k], eps)       // softmax of each row, + eps
/// C[j,k]  = C[j,k] * (1 / (sum over j of C[j,k] + eps))      // columns
/// iterations - 1 times:
///   C[j,k] = C[j,k] * (1 / (sum over k of C[j,k] + eps))     // rows
///   C[j,k] = C[j,k] * (1 / (sum over j of C[j,k] + eps))     // columns
/// ```
///
/// A token with a logit that is not finite gives NaN everywhere.
///
/// Source: `hc_split_sinkhorn` of DeepSeek-V4's reference model.
public final class SinkhornReference {
  /// Highest n.
  static final int MAX_STREAMS = 16;

  private SinkhornReference() {}

  /// Normalises one matrix per token.
  ///
  /// @param logits `[tokens, n, n]`
  /// @param tokens T
  /// @param n rows and columns of a matrix, from 1 to 16
  /// @param iterations column normalisations, 1 or more
  /// @param eps added to the softmax and to every sum, from 2^-100 to 1
  /// @return `[tokens, n, n]`
  /// @throws IllegalArgumentException if shape and array disagree, or a number is out of its range
  public static float[] sinkhorn(float[] logits, int tokens, int n, int iterations, float eps) {
    checkStreams("sinkhorn", tokens, n);
    checkSteps("sinkhorn", iterations, "eps", eps);
    if (logits.length != (long) tokens * n * n) {
      throw new IllegalArgumentException(
          "sinkhorn: logits has " + logits.length + " elements, expected " + (long) tokens * n * n);
    }
    float[] comb = new float[logits.length];
    for (int t = 0; t < tokens; t++) {
      float[] matrix = Arrays.copyOfRange(logits, t * n * n, (t + 1) * n * n);
      normalise(matrix, n, iterations, eps);
      System.arraycopy(matrix, 0, comb, t * n * n, n * n);
    }
    return comb;
  }

  /// One matrix, in place.
  private static void normalise(float[] c, int n, int iterations, float eps) {
    for (float logit : c) {
      if (!Float.isFinite(logit)) {
        Arrays.fill(c, Float.NaN);
        return;
      }
    }
    softmax(c, n, eps);
    columns(c, n, eps);
    for (int i = 1; i < iterations; i++) {
      rows(c, n, eps);
      columns(c, n, eps);
    }
  }

  private static void softmax(float[] c, int n, float eps) {
    for (int j = 0; j < n; j++) {
      float max = c[j * n];
      for (int k = 1; k < n; k++) {
        max = Math.max(max, c[j * n + k]);
      }
      for (int k = 0; k < n; k++) {
        c[j * n + k] = MathReference.exp(c[j * n + k] - max);
      }
      float reciprocal = 1f / sum(c, j * n, 1, n);
      for (int k = 0; k < n; k++) {
        c[j * n + k] = Math.fma(c[j * n + k], reciprocal, eps);
      }
    }
  }

  private static void rows(float[] c, int n, float eps) {
    for (int j = 0; j < n; j++) {
      float reciprocal = 1f / (sum(c, j * n, 1, n) + eps);
      for (int k = 0; k < n; k++) {
        c[j * n + k] = c[j * n + k] * reciprocal;
      }
    }
  }

  private static void columns(float[] c, int n, float eps) {
    for (int k = 0; k < n; k++) {
      float reciprocal = 1f / (sum(c, k, n, n) + eps);
      for (int j = 0; j < n; j++) {
        c[j * n + k] = c[j * n + k] * reciprocal;
      }
    }
  }

  /// The sum of `count` elements from `first` on, `stride` apart, as a tree.
  private static float sum(float[] c, int first, int stride, int count) {
    int padded = 1;
    while (padded < count) {
      padded *= 2;
    }
    float[] v = new float[padded];
    for (int i = 0; i < count; i++) {
      v[i] = c[first + i * stride];
    }
    for (int h = padded / 2; h >= 1; h /= 2) {
      for (int i = 0; i < h; i++) {
        v[i] = v[i] + v[i + h];
      }
    }
    return v[0];
  }

  static void checkStreams(String op, int tokens, int n) {
    if (tokens < 0) {
      throw new IllegalArgumentException(op + ": tokens is " + tokens + ", expected 0 or more");
    }
    if (n < 1 || n > MAX_STREAMS) {
      throw new IllegalArgumentException(
          op + ": n is " + n + ", expected from 1 to " + MAX_STREAMS);
    }
  }

  static void checkSteps(String op, int iterations, String name, float eps) {
    if (iterations < 1) {
      throw new IllegalArgumentException(
          op + ": iterations is " + iterations + ", expected 1 or more");
    }
    checkEps(op, name, eps);
  }

  static void checkEps(String op, String name, float eps) {
    if (!(eps >= 0x1p-100f && eps <= 1)) {
      throw new IllegalArgumentException(
          op + ": " + name + " is " + eps + ", expected from 2^-100 to 1");
    }
  }
}
