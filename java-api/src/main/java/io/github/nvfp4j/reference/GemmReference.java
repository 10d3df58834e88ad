// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import java.util.Arrays;
import java.util.List;

/// The matrix products with NVFP4 weights, `D = alpha * (A * transpose(W))`, against which
/// [io.github.nvfp4j.Gemm], [io.github.nvfp4j.GroupedGemm] and [io.github.nvfp4j.BatchedGemm] are
/// compared.
///
/// With NVFP4 activations the sum is exact, as an integer: `2 * e2m1(code)` and `512 * e4m3(scale)`
/// are integers, so that each product `a * w` without global scales is a multiple of 2^-20, and the
/// sum of K of them fits a `long` up to K = 2^20. With BF16 activations it is a `double`.
///
/// ```
/// acc(m, n)    = sum over k of a(m, k) * w(n, k)
/// absmax(m, n) = sum over k of |a(m, k) * w(n, k)|
/// alpha        = a_gs(m) * w_gs(n)                  rounded to F32 once; a_gs = 1 for BF16
/// d(m, n)      = alpha * f32(acc)                   rounded to F32, then to BF16 where asked for
/// ```
///
/// **The certificate.** Let Q = 2^-2 * ulp(s_a) * ulp(s_w), where s_a and s_w are the smallest
/// block scales, not 0, of row m of A and of row n of W, and ulp of an E4M3 number is 2^(e-10) for
/// its exponent field e, at least 2^-9. Every product is a multiple of Q, and so is every partial
/// sum. Where `absmax < 2^24 * Q`, each of them is exact in F32: any order of summation, in F32 or
/// on tensor cores, gives the same bits. Elsewhere, and with BF16 activations, d is within `gamma *
/// |alpha| * absmax` and its rounding: see [GemmProduct].
///
/// A block scale that is NaN or has its sign bit set counts as NaN.
///
/// Source: the NVFP4 linear layer of NVIDIA Model Optimizer's checkpoints.
public final class GemmReference {
  /// The accumulator of an element of D with a bad block scale in its row or column.
  public static final long NAN = Long.MIN_VALUE;

  private static final int MAX_DEPTH = 1 << 20;

  private GemmReference() {}

  /// The exact accumulators in units of 2^-20, `[M, N]`; [#NAN] where a block scale is bad.
  ///
  /// @param a `[M, K]`
  /// @param w `[N, K]`
  /// @throws IllegalArgumentException if the columns differ, or exceed 2^20
  public static long[] accumulators(Nvfp4Matrix a, Nvfp4Matrix w) {
    return sums(a, w, false);
  }

  /// The sums of magnitudes in units of 2^-20, `[M, N]`; otherwise as [#accumulators].
  public static long[] magnitudes(Nvfp4Matrix a, Nvfp4Matrix w) {
    return sums(a, w, true);
  }

  private static long[] sums(Nvfp4Matrix a, Nvfp4Matrix w, boolean magnitudes) {
    checkDepth(a.columns(), w);
    int depth = a.columns();
    int[] x = units(a);
    int[] y = units(w);
    boolean[] badRows = badRows(a);
    boolean[] badColumns = badRows(w);
    long[] sums = new long[Math.multiplyExact(a.rows(), w.rows())];
    for (int m = 0; m < a.rows(); m++) {
      for (int n = 0; n < w.rows(); n++) {
        long sum = 0;
        for (int k = 0; k < depth; k++) {
          long product = (long) x[m * depth + k] * y[n * depth + k];
          sum += magnitudes ? Math.abs(product) : product;
        }
        sums[m * w.rows() + n] = badRows[m] || badColumns[n] ? NAN : sum;
      }
    }
    return sums;
  }

  /// Where the certificate holds, `[M, N]`: every order of summation gives the exact sum. False
  /// where a block scale is bad.
  public static boolean[] certain(Nvfp4Matrix a, Nvfp4Matrix w) {
    return certain(a, w, magnitudes(a, w));
  }

  private static boolean[] certain(Nvfp4Matrix a, Nvfp4Matrix w, long[] magnitudes) {
    int[] ofRows = smallestUlps(a);
    int[] ofColumns = smallestUlps(w);
    boolean[] certain = new boolean[magnitudes.length];
    for (int i = 0; i < certain.length; i++) {
      // Q in units of 2^-20: a quarter of the product of ulps, which are in units of 2^-9.
      long q = (long) ofRows[i / w.rows()] * ofColumns[i % w.rows()];
      certain[i] = magnitudes[i] != NAN && magnitudes[i] < q << 24;
    }
    return certain;
  }

  /// gemm of NVFP4 activations.
  ///
  /// @param a `[M, K]`
  /// @param w `[N, K]`
  /// @throws IllegalArgumentException if the columns differ, or exceed 2^20
  public static GemmProduct gemm(Nvfp4Matrix a, Nvfp4Matrix w) {
    long[] sums = accumulators(a, w);
    long[] magnitudes = magnitudes(a, w);
    GemmProduct product = GemmProduct.of(a.rows(), w.rows(), a.columns());
    System.arraycopy(certain(a, w, magnitudes), 0, product.certain(), 0, sums.length);
    for (int i = 0; i < sums.length; i++) {
      float alpha = a.globalScaleOf(i / w.rows()) * w.globalScaleOf(i % w.rows());
      boolean bad = sums[i] == NAN;
      float sum = bad ? Float.NaN : (float) sums[i] * 0x1p-20f;
      product.values()[i] = canonical(alpha * sum);
      product.exact()[i] = bad ? Double.NaN : (double) alpha * (sums[i] * 0x1p-20);
      product.magnitudes()[i] =
          bad ? Double.NaN : Math.abs((double) alpha) * (magnitudes[i] * 0x1p-20);
    }
    return product;
  }

  /// gemm of BF16 activations.
  ///
  /// @param a `[rows, columns]`, values of BF16
  /// @param rows M
  /// @param columns K
  /// @param w `[N, K]`
  /// @throws IllegalArgumentException if shapes and arrays disagree
  public static GemmProduct gemm(float[] a, int rows, int columns, Nvfp4Matrix w) {
    check(a, rows, columns);
    checkDepth(columns, w);
    int[] y = units(w);
    boolean[] bad = badRows(w);
    GemmProduct product = GemmProduct.of(rows, w.rows(), columns);
    for (int m = 0; m < rows; m++) {
      for (int n = 0; n < w.rows(); n++) {
        double sum = bad[n] ? Double.NaN : 0;
        double magnitude = 0;
        for (int k = 0; k < columns; k++) {
          double term = (double) a[m * columns + k] * (y[n * columns + k] * 0x1p-10);
          sum += term;
          magnitude += Math.abs(term);
        }
        int i = m * w.rows() + n;
        float alpha = w.globalScaleOf(n);
        product.values()[i] = canonical(alpha * (float) sum);
        product.exact()[i] = (double) alpha * sum;
        product.magnitudes()[i] = Math.abs((double) alpha) * magnitude;
      }
    }
    return product;
  }

  /// grouped_gemm of NVFP4 activations: rows `offsets[e]` to `offsets[e + 1] - 1` by `w[e]`. Rows
  /// of no expert, which a device leaves as they are, are NaN here.
  ///
  /// @param a `[M, K]`
  /// @param w E matrices `[N, K]`
  /// @param offsets E + 1 of them
  /// @throws IllegalArgumentException if shapes disagree, or the offsets are not those of rows
  public static GemmProduct grouped(Nvfp4Matrix a, List<Nvfp4Matrix> w, int[] offsets) {
    checkOffsets(offsets, w.size(), a.rows());
    GemmProduct product = GemmProduct.of(a.rows(), sameRows(w), a.columns()).fill(Double.NaN);
    for (int e = 0; e < w.size(); e++) {
      product.put(gemm(a.rows(offsets[e], offsets[e + 1]), w.get(e)), offsets[e], 0);
    }
    return product;
  }

  /// grouped_gemm of BF16 activations `[rows, columns]`; otherwise as for NVFP4.
  public static GemmProduct grouped(
      float[] a, int rows, int columns, List<Nvfp4Matrix> w, int[] offsets) {
    check(a, rows, columns);
    checkOffsets(offsets, w.size(), rows);
    GemmProduct product = GemmProduct.of(rows, sameRows(w), columns).fill(Double.NaN);
    for (int e = 0; e < w.size(); e++) {
      int count = offsets[e + 1] - offsets[e];
      float[] some = Arrays.copyOfRange(a, offsets[e] * columns, offsets[e + 1] * columns);
      product.put(gemm(some, count, columns, w.get(e)), offsets[e], 0);
    }
    return product;
  }

  /// batched_gemm of NVFP4 activations: columns `g * K` to `g * K + K - 1` of A by `w[g]`, into
  /// columns `g * N` to `g * N + N - 1` of the product.
  ///
  /// @param a `[M, G * K]`
  /// @param w G matrices `[N, K]`
  /// @throws IllegalArgumentException if shapes disagree
  public static GemmProduct batched(Nvfp4Matrix a, List<Nvfp4Matrix> w) {
    int depth = sliceOf(a.columns(), w);
    int columns = sameRows(w);
    GemmProduct product = GemmProduct.of(a.rows(), w.size() * columns, depth);
    for (int g = 0; g < w.size(); g++) {
      product.put(gemm(a.columns(g * depth, depth), w.get(g)), 0, g * columns);
    }
    return product;
  }

  /// batched_gemm of BF16 activations `[rows, columns]`; otherwise as for NVFP4.
  public static GemmProduct batched(float[] a, int rows, int columns, List<Nvfp4Matrix> w) {
    check(a, rows, columns);
    int depth = sliceOf(columns, w);
    int width = sameRows(w);
    GemmProduct product = GemmProduct.of(rows, w.size() * width, depth);
    for (int g = 0; g < w.size(); g++) {
      float[] slice = new float[rows * depth];
      for (int m = 0; m < rows; m++) {
        System.arraycopy(a, m * columns + g * depth, slice, m * depth, depth);
      }
      product.put(gemm(slice, rows, depth, w.get(g)), 0, g * width);
    }
    return product;
  }

  /// gamma of a sum of K products in F32, as the CPU device makes it: `K * 2^-24`.
  public static double gammaOfCpu(int depth) {
    return depth * 0x1p-24;
  }

  /// gamma of tensor cores, which truncate 17 terms at a time: `(K/16) * 10.5 * 2^-24`.
  public static double gammaOfTensorCores(int depth) {
    return depth / 16d * 10.5 * 0x1p-24;
  }

  /// The values without global scale in units of 2^-10; 0 where the block scale is bad.
  private static int[] units(Nvfp4Matrix q) {
    int[] units = new int[Math.multiplyExact(q.rows(), q.columns())];
    for (int i = 0; i < units.length; i++) {
      int scale = q.scales()[i / Nvfp4Matrix.BLOCK];
      float value = E2m1.decode(PackedCodes.get(q.codes(), i)) * E4m3.decode(scale);
      units[i] = isBad(scale) ? 0 : (int) (value * 0x1p10f);
    }
    return units;
  }

  private static boolean isBad(int scale) {
    return (scale & 0x80) != 0 || (scale & 0x7f) == E4m3.NAN;
  }

  private static boolean[] badRows(Nvfp4Matrix q) {
    boolean[] bad = new boolean[q.rows()];
    for (int i = 0; i < q.scales().length; i++) {
      bad[i / q.blocksPerRow()] |= isBad(q.scales()[i]);
    }
    return bad;
  }

  /// Of each row: the ulp of its smallest block scale that is not 0, in units of 2^-9. A row
  /// without any is a row of zeros, whose ulp does not matter.
  private static int[] smallestUlps(Nvfp4Matrix q) {
    int[] ulps = new int[q.rows()];
    Arrays.fill(ulps, 1 << 14);
    for (int i = 0; i < q.scales().length; i++) {
      int scale = q.scales()[i] & 0x7f;
      if (scale != 0) {
        int exponent = Math.max(scale >>> 3, 1);
        int row = i / q.blocksPerRow();
        ulps[row] = Math.min(ulps[row], 1 << (exponent - 1));
      }
    }
    return ulps;
  }

  private static float canonical(float x) {
    return Float.isNaN(x) ? Float.NaN : x;
  }

  private static void check(float[] a, int rows, int columns) {
    Nvfp4Matrix.checkShape("gemm", rows, columns);
    if (a.length != (long) rows * columns) {
      throw new IllegalArgumentException(
          "gemm: a has " + a.length + " elements, expected " + (long) rows * columns);
    }
  }

  private static void checkDepth(int columns, Nvfp4Matrix w) {
    if (w.columns() != columns) {
      throw new IllegalArgumentException(
          "gemm: w has " + w.columns() + " columns, expected " + columns + ", as many as a");
    }
    if (columns > MAX_DEPTH) {
      throw new IllegalArgumentException(
          "gemm: a has " + columns + " columns, expected at most " + MAX_DEPTH);
    }
  }

  private static void checkOffsets(int[] offsets, int experts, int rows) {
    if (offsets.length != experts + 1) {
      throw new IllegalArgumentException(
          "gemm: offsets has " + offsets.length + " elements, expected " + (experts + 1));
    }
    int former = 0;
    for (int offset : offsets) {
      if (offset < former || offset > rows) {
        throw new IllegalArgumentException(
            "gemm: offsets are "
                + Arrays.toString(offsets)
                + ", expected to ascend from at least 0 to at most "
                + rows);
      }
      former = offset;
    }
  }

  private static int sameRows(List<Nvfp4Matrix> w) {
    int rows = w.isEmpty() ? 0 : w.getFirst().rows();
    for (Nvfp4Matrix one : w) {
      if (one.rows() != rows) {
        throw new IllegalArgumentException(
            "gemm: w has matrices of " + rows + " and " + one.rows() + " rows, expected the same");
      }
    }
    return rows;
  }

  private static int sliceOf(int columns, List<Nvfp4Matrix> w) {
    if (w.isEmpty() || columns != (long) w.size() * w.getFirst().columns()) {
      throw new IllegalArgumentException(
          "gemm: a has "
              + columns
              + " columns, expected those of all "
              + w.size()
              + " matrices of w");
    }
    return w.getFirst().columns();
  }
}
