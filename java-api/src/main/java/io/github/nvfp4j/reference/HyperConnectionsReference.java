// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import io.github.nvfp4j.DType;

/// DeepSeek-V4's manifold-constrained hyper-connections, against which [io.github.nvfp4j.HcPre],
/// [io.github.nvfp4j.HcPost], [io.github.nvfp4j.HcHead] and [io.github.nvfp4j.HcPostPre] are
/// compared. Per token, with n streams of D columns, `c = stream * D + column`:
///
/// ```
/// r         = 1 / sqrt(mean over all n*D values of x^2 + rmsEps)
/// m[i]      = (sum over c of fn[i,c] * x[c]) * r
/// pre[i]    = sigmoid(m[i] * scale[0] + base[i]) + hcEps
/// post[i]   = 2 * sigmoid(m[n+i] * scale[1] + base[n+i])            // no eps
/// L[j,k]    = m[2n+j*n+k] * scale[2] + base[2n+j*n+k]
/// comb      = sinkhorn(L, iterations, hcEps)                        // SinkhornReference
/// collapsed[d] = pre[0] * x[0,d], then fma(pre[i], x[i,d], .) for i = 1 .. n-1
/// out[k,d]  = post[k] * sub[d], then fma(comb[j,k], x[j,d], .) for j = 0 .. n-1   // transposed
/// ```
///
/// `collapsed` and `out` are rounded to the type of x. [#post] is the definition, bit for bit. The
/// other ops hold m to a bound:
///
/// ```
/// |m - exact m| <= 5e-8 * r * sum over c of |fn[i,c] * x[c]| + 2^-22 * |m|
/// ```
///
/// Here r and m are `double`s, of exact products; what comes after is in binary32, of m rounded to
/// it once, each operation rounded; `sigmoid(z) = 1 / (1 + exp(-z))` with [MathReference]'s exp.
/// [HcExpectation] says what a device may make of that.
///
/// Source: `Block.hc_pre`, `Block.hc_post` and the head of DeepSeek-V4's reference model.
public final class HyperConnectionsReference {
  private HyperConnectionsReference() {}

  /// What hc_pre gives. The arrays are not copied.
  ///
  /// @param collapsed `[tokens, columns]`
  /// @param post `[tokens, n]`
  /// @param comb `[tokens, n, n]`
  /// @param m `[tokens, n * (n + 2)]`
  /// @param bound how far from `m` a device's may be; infinite where a sum of squares or of
  ///   magnitudes exceeds F32, which a device may report
  public record Pre(float[] collapsed, float[] post, float[] comb, double[] m, double[] bound) {}

  /// What hc_head gives. The arrays are not copied.
  ///
  /// @param collapsed `[tokens, columns]`
  /// @param m `[tokens, n]`
  /// @param bound as in [Pre]
  public record Head(float[] collapsed, double[] m, double[] bound) {}

  /// hc_pre.
  ///
  /// @param x `[tokens, n, columns]`, values of `dtype`
  /// @param fn `[n * (n + 2), n * columns]`: rows of pre, of post, of comb
  /// @param base `[n * (n + 2)]`
  /// @param scale of pre, post and comb
  /// @param tokens T
  /// @param n streams, from 1 to 16
  /// @param columns D
  /// @param iterations of Sinkhorn, 1 or more
  /// @param hcEps added to pre, and Sinkhorn's eps: from 2^-100 to 1
  /// @param rmsEps added to the mean of squares: from 2^-100 to 1
  /// @param dtype [DType#F32] or [DType#BF16]: the type of `x`, which `collapsed` is rounded to
  /// @throws IllegalArgumentException if shapes and arrays disagree, a number is out of its range,
  ///   or for another type
  public static Pre pre(
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
    String op = "hc_pre";
    int mixes = n * (n + 2);
    check(op, x, tokens, n, columns, dtype);
    checkMixes(op, fn, base, scale, mixes, n * (long) columns, 3);
    SinkhornReference.checkSteps(op, iterations, "hcEps", hcEps);
    SinkhornReference.checkEps(op, "rmsEps", rmsEps);
    double[] m = new double[tokens * mixes];
    double[] bound = new double[m.length];
    mix(x, fn, tokens, mixes, n * columns, rmsEps, m, bound);
    float[] pre = new float[tokens * n];
    float[] post = new float[tokens * n];
    float[] logits = new float[tokens * n * n];
    for (int t = 0; t < tokens; t++) {
      int of = t * mixes;
      for (int i = 0; i < n; i++) {
        pre[t * n + i] = sigmoid(logit(m[of + i], scale[0], base[i])) + hcEps;
        post[t * n + i] = canonical(2f * sigmoid(logit(m[of + n + i], scale[1], base[n + i])));
      }
      for (int i = 0; i < n * n; i++) {
        logits[t * n * n + i] = logit(m[of + 2 * n + i], scale[2], base[2 * n + i]);
      }
    }
    float[] comb = SinkhornReference.sinkhorn(logits, tokens, n, iterations, hcEps);
    return new Pre(collapse(x, pre, tokens, n, columns, dtype), post, comb, m, bound);
  }

  /// hc_post.
  ///
  /// @param x `[tokens, n, columns]`, values of `dtype`: what `post` and `comb` were computed from
  /// @param sub `[tokens, columns]`, values of `dtype`: the module's result
  /// @param post `[tokens, n]`
  /// @param comb `[tokens, n, n]`
  /// @param tokens T
  /// @param n streams, from 1 to 16
  /// @param columns D
  /// @param dtype [DType#F32] or [DType#BF16]: the type of `x`, which the result is rounded to
  /// @return the new residual `[tokens, n, columns]`
  /// @throws IllegalArgumentException as [#pre]
  public static float[] post(
      float[] x,
      float[] sub,
      float[] post,
      float[] comb,
      int tokens,
      int n,
      int columns,
      DType dtype) {
    String op = "hc_post";
    check(op, x, tokens, n, columns, dtype);
    checkLength(op, "sub", sub, (long) tokens * columns);
    checkLength(op, "post", post, (long) tokens * n);
    checkLength(op, "comb", comb, (long) tokens * n * n);
    float[] out = new float[x.length];
    for (int t = 0; t < tokens; t++) {
      for (int k = 0; k < n; k++) {
        for (int d = 0; d < columns; d++) {
          float sum = post[t * n + k] * sub[t * columns + d];
          for (int j = 0; j < n; j++) {
            sum = Math.fma(comb[(t * n + j) * n + k], x[(t * n + j) * columns + d], sum);
          }
          out[(t * n + k) * columns + d] = DequantizeReference.round(sum, dtype);
        }
      }
    }
    return out;
  }

  /// hc_head: pre alone, so `fn` has n rows.
  ///
  /// @param x `[tokens, n, columns]`, values of `dtype`
  /// @param fn `[n, n * columns]`
  /// @param base `[n]`
  /// @param scale one number
  /// @param tokens T
  /// @param n streams, from 1 to 16
  /// @param columns D
  /// @param hcEps added to pre: from 2^-100 to 1
  /// @param rmsEps added to the mean of squares: from 2^-100 to 1
  /// @param dtype [DType#F32] or [DType#BF16]: the type of `x`, which `collapsed` is rounded to
  /// @throws IllegalArgumentException as [#pre]
  public static Head head(
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
    String op = "hc_head";
    check(op, x, tokens, n, columns, dtype);
    checkMixes(op, fn, base, scale, n, n * (long) columns, 1);
    SinkhornReference.checkEps(op, "hcEps", hcEps);
    SinkhornReference.checkEps(op, "rmsEps", rmsEps);
    double[] m = new double[tokens * n];
    double[] bound = new double[m.length];
    mix(x, fn, tokens, n, n * columns, rmsEps, m, bound);
    float[] pre = new float[m.length];
    for (int i = 0; i < pre.length; i++) {
      pre[i] = sigmoid(logit(m[i], scale[0], base[i % n])) + hcEps;
    }
    return new Head(collapse(x, pre, tokens, n, columns, dtype), m, bound);
  }

  /// The RMSNorm behind a collapsed row c, with weight g:
  ///
  /// ```
  /// s = 1 / sqrt(mean over d of c[d]^2 + rmsEps)      // in double, rounded to F32
  /// y[d] = (g[d] * c[d]) * s                          // each rounded, then to the type of c
  /// ```
  ///
  /// @param collapsed `[tokens, columns]`, values of `dtype`
  /// @param weight `[columns]`
  /// @param tokens T
  /// @param columns D
  /// @param rmsEps added to the mean of squares: from 2^-100 to 1
  /// @param dtype [DType#F32] or [DType#BF16]: the type of `collapsed`, which y is rounded to
  /// @return `[tokens, columns]`
  /// @throws IllegalArgumentException as [#pre]
  public static float[] norm(
      float[] collapsed, float[] weight, int tokens, int columns, float rmsEps, DType dtype) {
    String op = "hc_post_pre";
    checkShape(op, tokens, 1, columns, dtype);
    checkLength(op, "collapsed", collapsed, (long) tokens * columns);
    checkLength(op, "weight", weight, columns);
    SinkhornReference.checkEps(op, "rmsEps", rmsEps);
    float[] y = new float[collapsed.length];
    for (int t = 0; t < tokens; t++) {
      float s = (float) reciprocalRms(collapsed, t * columns, columns, rmsEps);
      for (int d = 0; d < columns; d++) {
        float weighted = weight[d] * collapsed[t * columns + d];
        y[t * columns + d] = DequantizeReference.round(weighted * s, dtype);
      }
    }
    return y;
  }

  /// m of every token, and the bound of each.
  private static void mix(
      float[] x,
      float[] fn,
      int tokens,
      int mixes,
      int width,
      float rmsEps,
      double[] m,
      double[] bound) {
    for (int t = 0; t < tokens; t++) {
      double r = reciprocalRms(x, t * width, width, rmsEps);
      boolean tooLarge = Float.isInfinite((float) squares(x, t * width, width));
      for (int i = 0; i < mixes; i++) {
        double sum = 0;
        double magnitude = 0;
        for (int c = 0; c < width; c++) {
          double product = (double) fn[i * width + c] * x[t * width + c]; // exact
          sum += product;
          magnitude += Math.abs(product);
        }
        int at = t * mixes + i;
        m[at] = sum * r;
        bound[at] =
            tooLarge || Float.isInfinite((float) magnitude)
                ? Double.POSITIVE_INFINITY
                : 5e-8 * r * magnitude + 0x1p-22 * Math.abs(m[at]);
      }
    }
  }

  static double reciprocalRms(float[] x, int from, int count, float eps) {
    return 1 / Math.sqrt(squares(x, from, count) / count + eps);
  }

  private static double squares(float[] x, int from, int count) {
    double sum = 0;
    for (int c = from; c < from + count; c++) {
      sum += (double) x[c] * x[c]; // exact
    }
    return sum;
  }

  private static float logit(double m, float scale, float base) {
    return (float) m * scale + base;
  }

  private static float sigmoid(float z) {
    return 1f / (1f + MathReference.exp(-z));
  }

  private static float[] collapse(
      float[] x, float[] pre, int tokens, int n, int columns, DType dtype) {
    float[] collapsed = new float[tokens * columns];
    for (int t = 0; t < tokens; t++) {
      for (int d = 0; d < columns; d++) {
        float sum = pre[t * n] * x[t * n * columns + d];
        for (int i = 1; i < n; i++) {
          sum = Math.fma(pre[t * n + i], x[(t * n + i) * columns + d], sum);
        }
        collapsed[t * columns + d] = DequantizeReference.round(sum, dtype);
      }
    }
    return collapsed;
  }

  private static float canonical(float x) {
    return Float.isNaN(x) ? Float.NaN : x;
  }

  private static void check(String op, float[] x, int tokens, int n, int columns, DType dtype) {
    checkShape(op, tokens, n, columns, dtype);
    checkLength(op, "x", x, (long) tokens * n * columns);
  }

  private static void checkShape(String op, int tokens, int n, int columns, DType dtype) {
    SinkhornReference.checkStreams(op, tokens, n);
    if (columns < 1) {
      throw new IllegalArgumentException(op + ": columns is " + columns + ", expected 1 or more");
    }
    if (dtype != DType.F32 && dtype != DType.BF16) {
      throw new IllegalArgumentException(op + ": dtype is " + dtype + ", expected F32 or BF16");
    }
  }

  private static void checkMixes(
      String op, float[] fn, float[] base, float[] scale, int mixes, long width, int scales) {
    checkLength(op, "fn", fn, mixes * width);
    checkLength(op, "base", base, mixes);
    checkLength(op, "scale", scale, scales);
  }

  private static void checkLength(String op, String name, float[] array, long expected) {
    if (array.length != expected) {
      throw new IllegalArgumentException(
          op + ": " + name + " has " + array.length + " elements, expected " + expected);
    }
  }
}
