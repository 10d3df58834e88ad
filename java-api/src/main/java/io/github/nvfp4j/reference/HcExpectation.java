// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import io.github.nvfp4j.DType;
import java.util.Arrays;

/// What a device may have written of hc_pre: its mixing weights depend on sums whose order is the
/// device's, and each result is within the distance from the exact one that follows from the bound
/// of m in [HyperConnectionsReference]. With u = 2^-24, each operation of binary32 off by at most a
/// factor 1 +- u:
///
/// ```
/// logit      z = m * scale + base: |scale| * bound + u * |m * scale| + u * |z|
/// sigmoid    1/4 of the logit's, its largest slope, and 3.8 u of itself: exp 1.8, 1 + e, division
/// post       twice that
/// pre        that, and u of itself for the eps
/// collapsed  sum over i of pre[i]'s * |x[i,d]|, n * u * sum over i of |pre[i] * x[i,d]|, and half
///            a unit in the last place of its type
/// comb       the derivative of Sinkhorn times each logit's, and what its own roundings add
/// ```
///
/// **Sinkhorn.** Let w be a relative change of a matrix. A step that divides each line by its sum
/// (+ eps), and whose result is C', turns w into w - sum over the line of C' * w. Read backwards
/// from one element of the result, that gives the weight of every change before every step: of the
/// logits', and of the roundings of the step (its factor: log2(P) additions, eps and the
/// reciprocal, shared by the line; then one product each). Products of two errors are left out:
/// logits are off by far less than 1.
///
/// All of this is of tokens whose sums stay in the range of F32.
///
/// @param collapsed `[tokens, columns]`
/// @param post `[tokens, n]`
/// @param comb `[tokens, n, n]`
public record HcExpectation(GemmExpectation collapsed, GemmExpectation post, GemmExpectation comb) {
  /// Half a unit in the last place of F32 relative to the number, and a little for products of
  /// errors.
  private static final double U = 0x1.004p-24;

  /// The error of [MathReference#exp] in units of U.
  private static final double EXP = 2 * 0.892;

  /// Below it results underflow on the way: exp above 88.7 overflows, and the sigmoid is 0.
  private static final double TINY = 0x1p-125;

  /// hc_pre's; arguments as [HyperConnectionsReference#pre].
  public static HcExpectation pre(
      float[] x,
      float[] fn,
      float[] base,
      float[] scale,
      int tokens,
      int n,
      int columns,
      int iterations,
      float hcEps,
      float rmsEps,
      DType dtype) {
    HyperConnectionsReference.Pre reference =
        HyperConnectionsReference.pre(
            x, fn, base, scale, tokens, n, columns, iterations, hcEps, rmsEps, dtype);
    int mixes = n * (n + 2);
    double[] z = new double[tokens * mixes];
    double[] off = new double[z.length];
    logits(reference.m(), reference.bound(), base, n, scale, z, off);
    double[] pre = new double[tokens * n];
    double[] preOff = new double[pre.length];
    double[] post = new double[pre.length];
    double[] postOff = new double[pre.length];
    double[] logits = new double[tokens * n * n];
    double[] logitsOff = new double[logits.length];
    for (int i = 0; i < pre.length; i++) {
      int at = i / n * mixes + i % n;
      pre[i] = sigmoid(z[at]) + hcEps;
      preOff[i] = sigmoidOff(z[at], off[at]) + U * pre[i];
      post[i] = 2 * sigmoid(z[at + n]);
      postOff[i] = 2 * sigmoidOff(z[at + n], off[at + n]);
    }
    for (int i = 0; i < logits.length; i++) {
      int at = i / (n * n) * mixes + 2 * n + i % (n * n);
      logits[i] = z[at];
      logitsOff[i] = off[at];
    }
    double[] comb = new double[logits.length];
    double[] combOff = new double[logits.length];
    sinkhorn(logits, logitsOff, tokens, n, iterations, hcEps, comb, combOff);
    return new HcExpectation(
        collapsed(x, pre, preOff, tokens, n, columns, dtype, reference.collapsed()),
        new GemmExpectation(reference.post(), post, postOff),
        new GemmExpectation(reference.comb(), comb, combOff));
  }

  /// hc_head's collapsed row; arguments as [HyperConnectionsReference#head].
  public static GemmExpectation head(
      float[] x,
      float[] fn,
      float[] base,
      float[] scale,
      int tokens,
      int n,
      int columns,
      float hcEps,
      float rmsEps,
      DType dtype) {
    HyperConnectionsReference.Head reference =
        HyperConnectionsReference.head(
            x, fn, base, scale, tokens, n, columns, hcEps, rmsEps, dtype);
    double[] z = new double[tokens * n];
    double[] off = new double[z.length];
    logits(reference.m(), reference.bound(), base, n, scale, z, off);
    double[] pre = new double[z.length];
    double[] preOff = new double[z.length];
    for (int i = 0; i < z.length; i++) {
      pre[i] = sigmoid(z[i]) + hcEps;
      preOff[i] = sigmoidOff(z[i], off[i]) + U * pre[i];
    }
    return collapsed(x, pre, preOff, tokens, n, columns, dtype, reference.collapsed());
  }

  /// The collapsed row behind the RMSNorm of hc_post_pre, whose factor is held to 2^-22 of itself
  /// as that of m is; other arguments as [HyperConnectionsReference#norm].
  ///
  /// @param collapsed what the row may be before, its rounding included
  public static GemmExpectation norm(
      GemmExpectation collapsed,
      float[] weight,
      int tokens,
      int columns,
      float rmsEps,
      DType dtype) {
    float[] values =
        HyperConnectionsReference.norm(collapsed.values(), weight, tokens, columns, rmsEps, dtype);
    double[] exact = new double[values.length];
    double[] tolerances = new double[values.length];
    for (int t = 0; t < tokens; t++) {
      double squares = 0;
      double squaresOff = 0;
      for (int i = t * columns; i < (t + 1) * columns; i++) {
        double c = collapsed.exact()[i];
        double off = collapsed.tolerances()[i];
        squares += c * c;
        squaresOff += (2 * Math.abs(c) + off) * off;
      }
      double mean = squares / columns + rmsEps;
      double s = 1 / Math.sqrt(mean);
      double least = Math.max(0, mean - squaresOff / columns);
      double largest = 1 / Math.sqrt(least) * (1 + 0x1p-22);
      for (int d = 0; d < columns; d++) {
        int i = t * columns + d;
        double g = weight[d];
        double c = collapsed.exact()[i];
        exact[i] = g * c * s;
        double largestOf = Math.abs(g) * (Math.abs(c) + collapsed.tolerances()[i]) * largest;
        double off = largestOf - Math.abs(exact[i]) + 2 * U * largestOf + TINY;
        tolerances[i] = off + halfUlp(Math.abs(exact[i]) + off, dtype);
      }
    }
    return new GemmExpectation(values, exact, tolerances);
  }

  /// Sinkhorn's of logits that may be off.
  ///
  /// @param logits exact ones, `[tokens, n, n]`
  /// @param off how far a device's F32 logits may be from them; 0 where they are given
  /// @param tokens T
  /// @param n from 1 to 16
  /// @param iterations column normalisations
  /// @param eps added to the softmax and to every sum
  public static GemmExpectation sinkhorn(
      double[] logits, double[] off, int tokens, int n, int iterations, float eps) {
    float[] rounded = new float[logits.length];
    for (int i = 0; i < rounded.length; i++) {
      rounded[i] = (float) logits[i];
    }
    float[] values = SinkhornReference.sinkhorn(rounded, tokens, n, iterations, eps);
    double[] comb = new double[logits.length];
    double[] combOff = new double[logits.length];
    sinkhorn(logits, off, tokens, n, iterations, eps, comb, combOff);
    return new GemmExpectation(values, comb, combOff);
  }

  /// Which part of a device's results are the exact ones, rounded. Almost all of them: an error far
  /// below a unit of BF16 changes only what lies that close to the middle of two.
  public static double shareRounded(GemmExpectation expected, float[] actual, DType dtype) {
    int same = 0;
    for (int i = 0; i < actual.length; i++) {
      float rounded = DequantizeReference.round((float) expected.exact()[i], dtype);
      same += actual[i] == rounded || Float.isNaN(actual[i]) && Float.isNaN(rounded) ? 1 : 0;
    }
    return actual.length == 0 ? 1 : (double) same / actual.length;
  }

  /// Logits, and how far off they may be. Row i of a module has the scale of pre (i < n), of post
  /// (i < 2n) or of comb.
  private static void logits(
      double[] m, double[] bound, float[] base, int n, float[] scale, double[] z, double[] off) {
    for (int at = 0; at < z.length; at++) {
      int i = at % base.length;
      double s = scale[Math.min(i / n, 2)];
      z[at] = m[at] * s + base[i];
      // An infinite one is infinite on every device.
      off[at] =
          Double.isInfinite(z[at])
              ? 0
              : Math.abs(s) * bound[at] + U * Math.abs(m[at] * s) + U * Math.abs(z[at]) + TINY;
    }
  }

  private static double sigmoid(double z) {
    return 1 / (1 + Math.exp(-z));
  }

  private static double sigmoidOff(double z, double off) {
    return off / 4 + (EXP + 2) * U * sigmoid(z) + TINY;
  }

  private static GemmExpectation collapsed(
      float[] x,
      double[] pre,
      double[] preOff,
      int tokens,
      int n,
      int columns,
      DType dtype,
      float[] values) {
    double[] exact = new double[values.length];
    double[] tolerances = new double[values.length];
    for (int i = 0; i < values.length; i++) {
      int t = i / columns;
      double off = n * 0x1p-149;
      for (int j = 0; j < n; j++) {
        double value = x[(t * n + j) * columns + i % columns];
        exact[i] += pre[t * n + j] * value;
        off += (preOff[t * n + j] + n * U * pre[t * n + j]) * Math.abs(value);
      }
      tolerances[i] = off + halfUlp(Math.abs(exact[i]) + off, dtype);
    }
    return new GemmExpectation(values, exact, tolerances);
  }

  private static double halfUlp(double x, DType dtype) {
    return Math.ulp((float) x) * (dtype == DType.BF16 ? 0x1p15 : 0.5);
  }

  private static void sinkhorn(
      double[] logits,
      double[] off,
      int tokens,
      int n,
      int iterations,
      float eps,
      double[] comb,
      double[] combOff) {
    for (int t = 0; t < tokens; t++) {
      int from = t * n * n;
      Steps steps = new Steps(Arrays.copyOfRange(logits, from, from + n * n), n, iterations, eps);
      double[] offs = Arrays.copyOfRange(off, from, from + n * n);
      for (int i = 0; i < n * n; i++) {
        comb[from + i] = steps.result(i);
        combOff[from + i] = steps.off(i, offs) + TINY;
      }
    }
  }

  /// One token's Sinkhorn in double, with every matrix on the way.
  private static final class Steps {
    private final int n;
    private final float eps;

    /// log2(P): additions that one element of a sum goes through.
    private final int depth;

    /// How far below its row's maximum each logit is.
    private final double[] below;

    private final double[] softmax;

    /// Behind the softmax, then behind each step: columns, rows, columns, ...
    private final double[][] matrices;

    Steps(double[] logits, int n, int iterations, float eps) {
      this.n = n;
      this.eps = eps;
      this.depth = 32 - Integer.numberOfLeadingZeros(n - 1);
      this.below = new double[n * n];
      this.softmax = new double[n * n];
      this.matrices = new double[2 * iterations][];
      matrices[0] = start(logits);
      for (int step = 1; step < matrices.length; step++) {
        matrices[step] = normalised(matrices[step - 1], step);
      }
    }

    private double[] start(double[] logits) {
      double[] c = new double[n * n];
      for (int j = 0; j < n; j++) {
        double max = Double.NEGATIVE_INFINITY;
        for (int k = 0; k < n; k++) {
          // NaN in a device's result, and so in this one.
          double logit = Double.isInfinite(logits[j * n + k]) ? Double.NaN : logits[j * n + k];
          max = Math.max(max, logit);
        }
        double sum = 0;
        for (int k = 0; k < n; k++) {
          below[j * n + k] = max - logits[j * n + k];
          softmax[j * n + k] = Math.exp(-below[j * n + k]);
          sum += softmax[j * n + k];
        }
        for (int k = 0; k < n; k++) {
          softmax[j * n + k] /= sum;
          c[j * n + k] = softmax[j * n + k] + eps;
        }
      }
      return c;
    }

    private double[] normalised(double[] c, int step) {
      double[] sums = lines(c, step);
      double[] result = new double[n * n];
      for (int i = 0; i < result.length; i++) {
        result[i] = c[i] / (sums[line(i, step)] + eps);
      }
      return result;
    }

    /// Steps 1, 3, ... normalise columns, the others rows.
    private int line(int i, int step) {
      return step % 2 == 1 ? i % n : i / n;
    }

    private double[] lines(double[] c, int step) {
      double[] sums = new double[n];
      for (int i = 0; i < c.length; i++) {
        sums[line(i, step)] += c[i];
      }
      return sums;
    }

    double result(int i) {
      return matrices[matrices.length - 1][i];
    }

    /// How far an element of the result may be off, where logits are off by `off`.
    double off(int element, double[] off) {
      double total = 0;
      double[] weights = new double[n * n];
      weights[element] = result(element);
      for (int step = matrices.length - 1; step > 0; step--) {
        double[] lines = lines(weights, step);
        total += U * magnitude(weights) + (depth + 2) * U * magnitude(lines);
        for (int i = 0; i < weights.length; i++) {
          weights[i] -= matrices[step][i] * lines[line(i, step)];
        }
      }
      total += U * magnitude(weights);
      for (int i = 0; i < weights.length; i++) {
        weights[i] *= softmax[i] / matrices[0][i]; // what eps leaves of a change
      }
      double[] rows = lines(weights, 0);
      total += (depth + 1) * U * magnitude(rows);
      for (int i = 0; i < weights.length; i++) {
        weights[i] -= softmax[i] * rows[i / n];
        total += Math.abs(weights[i]) * (off[i] + U * below[i] + EXP * U);
      }
      return total;
    }

    private static double magnitude(double[] x) {
      double sum = 0;
      for (double one : x) {
        sum += Math.abs(one);
      }
      return sum;
    }
  }
}
