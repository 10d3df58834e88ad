// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import java.util.Arrays;

/// Which experts a token goes to, and with what weights: the definition that
/// [io.github.nvfp4j.RouterDense] and [io.github.nvfp4j.RouterHash] equal, the logits within a
/// bound and bit for bit from there on. Per token, with x `[D]`, the gate's weight W `[E, D]`:
///
/// ```
/// z[e] = sum over d of x[d] * W[e,d]                         // exact here; a device: within bound()
/// s[e] = sqrt(z[e] > 20 ? z[e] : log1p(exp(z[e])))           // MathReference
/// b[e] = s[e] + bias[e]                                      // for the selection only
/// i    = the k experts of highest b, descending; of equal ones the lowest first, NaN last
///        or what a table has for the token's id
/// sum  = s[i[0]], then + s[i[1]], ..., + s[i[k-1]]
/// w[j] = s[i[j]] / (sum + 1e-20) * scale
/// ```
///
/// Source: `Gate.forward` of DeepSeek-V4's reference model (F32 logits), with 1e-20 in the division
/// as transformers has it, and the tie rule of DeepSeek's TileKernels.
public final class RouterReference {
  /// Highest number of experts.
  static final int MAX_EXPERTS = 1024;

  private RouterReference() {}

  /// The logits of all tokens and experts, `[T, E]`.
  ///
  /// @param values rounded to F32 once, of an NVFP4 gate before and after the global scale: the
  ///   bits of the CPU
  /// @param exact as good as binary64 has them
  /// @param magnitudes sum over d of |x[d] * W[e,d]|
  /// @param columns D
  public record Logits(float[] values, double[] exact, double[] magnitudes, int columns) {
    /// How far from the exact one a device's logit may be.
    public double bound(int index) {
      return (columns / 64.0 + 32) * 0x1p-24 * magnitudes[index];
    }
  }

  /// What was chosen.
  ///
  /// @param indices `[T, k]`; -1 is none
  /// @param weights `[T, k]`
  public record Choice(int[] indices, float[] weights) {}

  /// Logits of a BF16 or F32 gate.
  ///
  /// @param x `[tokens, columns]`
  /// @param weight `[experts, columns]`
  /// @throws IllegalArgumentException if shape and array disagree
  public static Logits logits(float[] x, float[] weight, int tokens, int experts, int columns) {
    checkLength("logits", "x", x.length, (long) tokens * columns);
    checkLength("logits", "weight", weight.length, (long) experts * columns);
    return logits(x, weight, 1f, false, tokens, experts, columns);
  }

  /// Logits of an NVFP4 gate: exact products of x, codes and block scales; then the global scale. A
  /// block scale with its sign bit set counts as NaN.
  ///
  /// @param x `[tokens, columns of weight]`
  /// @param weight with one global scale
  /// @throws IllegalArgumentException if shape and array disagree
  public static Logits logits(float[] x, Nvfp4Matrix weight, int tokens) {
    int columns = weight.columns();
    checkLength("logits", "x", x.length, (long) tokens * columns);
    checkLength("logits", "global scales", weight.globalScales().length, 1);
    float[] w = new float[weight.rows() * columns];
    for (int i = 0; i < w.length; i++) {
      int scale = weight.scales()[i / Nvfp4Matrix.BLOCK] & 0xff;
      float block = scale >= 0x7f ? Float.NaN : E4m3.decode(scale);
      w[i] = E2m1.decode(PackedCodes.get(weight.codes(), i)) * block;
    }
    return logits(x, w, weight.globalScales()[0], true, tokens, weight.rows(), columns);
  }

  private static Logits logits(
      float[] x,
      float[] w,
      float globalScale,
      boolean quantized,
      int tokens,
      int experts,
      int columns) {
    float[] values = new float[tokens * experts];
    double[] exact = new double[values.length];
    double[] magnitudes = new double[values.length];
    for (int i = 0; i < values.length; i++) {
      int t = i / experts;
      int e = i % experts;
      double sum = 0;
      double magnitude = 0;
      for (int d = 0; d < columns; d++) {
        double product = (double) x[t * columns + d] * w[e * columns + d];
        sum += product;
        magnitude += Math.abs(product);
      }
      values[i] = canonical(quantized ? (float) sum * globalScale : (float) sum);
      exact[i] = sum * globalScale;
      magnitudes[i] = magnitude * Math.abs(globalScale);
    }
    return new Logits(values, exact, magnitudes, columns);
  }

  /// Chooses k experts a token by their logits, and weighs them.
  ///
  /// @param logits `[tokens, experts]`
  /// @param bias `[experts]`
  /// @param topk k, from 1 to the number of experts
  /// @throws IllegalArgumentException if shape and array disagree, or a number is out of its range
  public static Choice choose(
      float[] logits, float[] bias, int tokens, int experts, int topk, float scale) {
    checkExperts("choose", experts, topk);
    checkLength("choose", "logits", logits.length, (long) tokens * experts);
    checkLength("choose", "bias", bias.length, experts);
    int[] indices = new int[tokens * topk];
    for (int t = 0; t < tokens; t++) {
      float[] b = new float[experts];
      Integer[] order = new Integer[experts];
      for (int e = 0; e < experts; e++) {
        b[e] = score(logits[t * experts + e]) + bias[e];
        order[e] = e;
      }
      // Stable: of equal ones the lowest stays first.
      Arrays.sort(order, (i, j) -> compare(b[i], b[j]));
      for (int j = 0; j < topk; j++) {
        indices[t * topk + j] = order[j];
      }
    }
    return new Choice(indices, weigh(logits, indices, tokens, experts, topk, scale));
  }

  /// Descending, NaN last; the zeros are equal.
  private static int compare(float p, float q) {
    if (Float.isNaN(p) || Float.isNaN(q)) {
      return Boolean.compare(Float.isNaN(p), Float.isNaN(q));
    }
    return p > q ? -1 : p < q ? 1 : 0;
  }

  /// The experts that a table has for token ids: -1 for all of a token whose id is no row of the
  /// table, and where an entry is no expert.
  ///
  /// @param table `[V, topk]`
  /// @param ids one per token
  /// @return `[tokens, topk]`
  /// @throws IllegalArgumentException if the table has no whole number of rows
  public static int[] lookUp(long[] table, long[] ids, int experts, int topk) {
    if (topk < 1 || table.length % topk != 0) {
      throw new IllegalArgumentException(
          "lookUp: table has " + table.length + " elements, expected a multiple of k = " + topk);
    }
    long vocabulary = table.length / topk;
    int[] indices = new int[ids.length * topk];
    for (int i = 0; i < indices.length; i++) {
      long id = ids[i / topk];
      long entry = id < 0 || id >= vocabulary ? -1 : table[(int) id * topk + i % topk];
      indices[i] = entry < 0 || entry >= experts ? -1 : (int) entry;
    }
    return indices;
  }

  /// The weights of given experts, bit for bit those of a device whose logits these are.
  ///
  /// @param logits `[tokens, experts]`; only those of chosen experts are read
  /// @param indices `[tokens, topk]`; where -1 is, the weight is 0 and the others are weighed
  ///   without it
  /// @throws IllegalArgumentException if shape and array disagree
  public static float[] weigh(
      float[] logits, int[] indices, int tokens, int experts, int topk, float scale) {
    checkLength("weigh", "logits", logits.length, (long) tokens * experts);
    checkLength("weigh", "indices", indices.length, (long) tokens * topk);
    float[] weights = new float[indices.length];
    for (int t = 0; t < tokens; t++) {
      float sum = 0;
      for (int i = t * topk; i < (t + 1) * topk; i++) {
        if (indices[i] >= 0) {
          weights[i] = score(logits[t * experts + indices[i]]);
          sum = sum + weights[i];
        }
      }
      for (int i = t * topk; i < (t + 1) * topk; i++) {
        if (indices[i] >= 0) {
          weights[i] = canonical(weights[i] / (sum + 1e-20f) * scale);
        }
      }
    }
    return weights;
  }

  /// The same in binary64, of exact logits.
  public static double[] weightsExact(
      double[] logits, int[] indices, int tokens, int experts, int topk, double scale) {
    checkLength("weightsExact", "logits", logits.length, (long) tokens * experts);
    checkLength("weightsExact", "indices", indices.length, (long) tokens * topk);
    double[] weights = new double[indices.length];
    for (int t = 0; t < tokens; t++) {
      double sum = 0;
      for (int i = t * topk; i < (t + 1) * topk; i++) {
        if (indices[i] >= 0) {
          weights[i] = score(logits[t * experts + indices[i]]);
          sum += weights[i];
        }
      }
      for (int i = t * topk; i < (t + 1) * topk; i++) {
        weights[i] = weights[i] / (sum + 1e-20) * scale;
      }
    }
    return weights;
  }

  /// How far, relative to it, a weight may be from the one of [#weightsExact] where logits are
  /// finite and from -60 on: a score moves by less than half of what its logit does, and what is
  /// behind the logit adds less than 2e-6.
  ///
  /// @param largestMagnitude of the [Logits#magnitudes] of the token's chosen experts
  public static double weightBound(double largestMagnitude) {
    return 2e-6 + 0.5 * 0x1p-24 * largestMagnitude;
  }

  /// By how much the biased score of a token's k-th expert is above that of the next, in binary64:
  /// a device whose scores are off by less than half of that has chosen the same experts. 0: a tie,
  /// which is the lowest expert's. Infinite where k is the number of experts.
  ///
  /// @param logits exact ones, `[tokens, experts]`, finite
  /// @param bias `[experts]`
  /// @return one per token
  public static double[] margins(double[] logits, float[] bias, int tokens, int experts, int topk) {
    checkExperts("margins", experts, topk);
    checkLength("margins", "logits", logits.length, (long) tokens * experts);
    checkLength("margins", "bias", bias.length, experts);
    double[] margins = new double[tokens];
    for (int t = 0; t < tokens; t++) {
      double[] b = new double[experts];
      for (int e = 0; e < experts; e++) {
        b[e] = score(logits[t * experts + e]) + bias[e];
      }
      Arrays.sort(b);
      double kth = b[experts - topk];
      double next = topk == experts ? Double.NEGATIVE_INFINITY : b[experts - topk - 1];
      margins[t] = kth == next ? 0 : kth - next;
    }
    return margins;
  }

  /// sqrt(softplus(z)), rounded as every device rounds it.
  public static float score(float z) {
    // The square root in binary64 of a binary32 number, rounded to binary32, is the rounded root.
    return canonical((float) Math.sqrt(z > 20 ? z : MathReference.log1p(MathReference.exp(z))));
  }

  /// The same in binary64.
  public static double score(double z) {
    return Math.sqrt(z > 20 ? z : Math.log1p(Math.exp(z)));
  }

  private static float canonical(float x) {
    return Float.isNaN(x) ? Float.NaN : x;
  }

  private static void checkExperts(String method, int experts, int topk) {
    if (experts < 1 || experts > MAX_EXPERTS) {
      throw new IllegalArgumentException(
          method + ": experts is " + experts + ", expected from 1 to " + MAX_EXPERTS);
    }
    if (topk < 1 || topk > experts) {
      throw new IllegalArgumentException(
          method + ": topk is " + topk + ", expected from 1 to " + experts);
    }
  }

  private static void checkLength(String method, String name, int actual, long expected) {
    if (actual != expected) {
      throw new IllegalArgumentException(
          method + ": " + name + " has " + actual + " elements, expected " + expected);
    }
  }
}
