// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.reference.GemmExpectation;
import io.github.nvfp4j.reference.GemmProduct;
import io.github.nvfp4j.reference.GemmReference;
import io.github.nvfp4j.reference.Nvfp4Matrix;
import io.github.nvfp4j.reference.QuantizeReference;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.jspecify.annotations.Nullable;

/// What the tests of the matrix products share: operands of the reference and on the device, and
/// the comparison of D with what it may be.
abstract class GemmOnDevice extends OnDevice {
  /// One binade of block scales in the middle of E4M3.
  static final int LOW = 8 * 7;

  static final int HIGH = 8 * 7 + 7;

  GemmOnDevice(String id) {
    super(id);
  }

  /// Any codes, block scales from `low` to `high`, global scales about 2^-10.
  static Nvfp4Matrix any(
      Random random, int rows, int columns, int low, int high, GlobalScale kind) {
    byte[] codes = new byte[rows * columns / 2];
    random.nextBytes(codes);
    byte[] scales = new byte[rows * columns / 16];
    for (int i = 0; i < scales.length; i++) {
      scales[i] = (byte) random.nextInt(low, high + 1);
    }
    float[] gs = new float[(int) kind.count(rows)];
    for (int i = 0; i < gs.length; i++) {
      gs[i] = (1 + random.nextFloat()) * 0x1p-10f;
    }
    return new Nvfp4Matrix(rows, columns, codes, scales, kind, gs);
  }

  static Nvfp4Matrix certain(Random random, int rows, int columns, GlobalScale kind) {
    return any(random, rows, columns, LOW, HIGH, kind);
  }

  /// Quantised normally distributed values: what real operands are like.
  static Nvfp4Matrix gaussian(Random random, int rows, int columns, GlobalScale kind) {
    float[] x = new float[rows * columns];
    for (int i = 0; i < x.length; i++) {
      x[i] = (float) random.nextGaussian();
    }
    return QuantizeReference.dynamic(x, rows, columns, kind, Recipe.EXACT, ZeroScale.MIN);
  }

  /// Matrices of one stack: those of TENSOR share their global scale.
  static List<Nvfp4Matrix> stack(
      Random random, int groups, int rows, int columns, GlobalScale kind) {
    List<Nvfp4Matrix> stack = new ArrayList<>();
    for (int g = 0; g < groups; g++) {
      Nvfp4Matrix one = certain(random, rows, columns, kind);
      boolean shared = kind == GlobalScale.TENSOR && g > 0;
      float[] gs = shared ? stack.getFirst().globalScales() : one.globalScales();
      stack.add(new Nvfp4Matrix(rows, columns, one.codes(), one.scales(), kind, gs));
    }
    return stack;
  }

  Nvfp4Tensor upload(Nvfp4Matrix matrix) {
    return upload(matrix, ScaleLayout.LINEAR);
  }

  /// A stack on the device, as a checkpoint has it: rank 3.
  Nvfp4Tensor upload(List<Nvfp4Matrix> stack) {
    Nvfp4Matrix first = stack.getFirst();
    int groups = stack.size();
    byte[] codes = new byte[groups * first.codes().length];
    byte[] scales = new byte[groups * first.scales().length];
    int perGroup = first.globalScales().length;
    boolean shared = first.globalScale() == GlobalScale.TENSOR;
    float[] gs = new float[shared ? 1 : groups * perGroup];
    for (int g = 0; g < groups; g++) {
      Nvfp4Matrix one = stack.get(g);
      System.arraycopy(one.codes(), 0, codes, g * one.codes().length, one.codes().length);
      System.arraycopy(one.scales(), 0, scales, g * one.scales().length, one.scales().length);
      System.arraycopy(one.globalScales(), 0, gs, shared ? 0 : g * perGroup, perGroup);
    }
    return Nvfp4Tensor.of(
        arena,
        upload(codes, groups, first.rows(), first.columns() / 2),
        upload(scales, groups, first.rows(), first.columns() / 16),
        upload(gs),
        ScaleLayout.LINEAR,
        first.globalScale());
  }

  Nvfp4Tensor prepare(Nvfp4Tensor w) {
    Nvfp4Tensor prepared =
        device.allocateNvfp4(
            arena, w.groups(), w.rows(), w.columns(), ScaleLayout.PREPARED, w.globalScale());
    poison(prepared.codes());
    poison(prepared.globalScales());
    PrepareWeights.run(stream, w, prepared);
    return prepared;
  }

  Nvfp4Tensor pack(Nvfp4Tensor a) {
    Nvfp4Tensor packed = output(a.rows(), a.columns(), ScaleLayout.PACKED, a.globalScale());
    PackActivations.run(stream, a, packed);
    return packed;
  }

  double gamma(int depth) {
    return device.isCuda()
        ? GemmReference.gammaOfTensorCores(depth)
        : GemmReference.gammaOfCpu(depth);
  }

  GemmExpectation expect(GemmProduct product, DType dtype) {
    return product.expect(dtype, gamma(product.depth()));
  }

  /// Requires that D is what it may be.
  void requireAllowed(String what, GemmExpectation expected, Tensor d) {
    @Nullable String difference = expected.difference(floats(d));
    if (difference != null) {
      throw new AssertionError(what + ": " + difference);
    }
  }
}
