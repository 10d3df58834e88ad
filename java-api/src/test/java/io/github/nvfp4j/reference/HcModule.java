// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import io.github.nvfp4j.DType;
import java.util.random.RandomGenerator;

/// A module of hyper-connections and its streams, for the tests of their reference.
record HcModule(
    float[] x,
    float[] fn,
    float[] base,
    float[] scale,
    int tokens,
    int n,
    int columns,
    int iterations,
    DType dtype) {
  static final float EPS = 1e-6f;

  static HcModule of(Golden golden, int iterations) {
    return new HcModule(
        golden.floats("x"),
        golden.floats("fn"),
        golden.floats("base"),
        golden.floats("scale"),
        golden.shape("x", 0),
        golden.shape("x", 1),
        golden.shape("x", 2),
        iterations,
        golden.dtype("x").equals("BF16") ? DType.BF16 : DType.F32);
  }

  /// Streams, `fn` of 1 / sqrt(n * D), so that m is of size 1, and `base`.
  static HcModule any(RandomGenerator random, int tokens, int n, int columns, DType dtype) {
    int mixes = n * (n + 2);
    float[] fn = Seeds.gaussian(random, mixes * n * columns);
    for (int i = 0; i < fn.length; i++) {
      fn[i] *= (float) (1 / Math.sqrt(n * columns));
    }
    float[] x = Seeds.gaussian(random, tokens * n * columns);
    return new HcModule(
        dtype == DType.BF16 ? Bf16.decode(Bf16.encode(x)) : x,
        fn,
        Seeds.gaussian(random, mixes),
        new float[] {1.25f, -0.75f, 2},
        tokens,
        n,
        columns,
        20,
        dtype);
  }

  int mixes() {
    return n * (n + 2);
  }

  HcModule withX(float[] other) {
    return new HcModule(other, fn, base, scale, tokens, n, columns, iterations, dtype);
  }

  HcModule withBase(float[] other) {
    return new HcModule(x, fn, other, scale, tokens, n, columns, iterations, dtype);
  }

  HcModule withScale(float... other) {
    return new HcModule(x, fn, base, other, tokens, n, columns, iterations, dtype);
  }

  HyperConnectionsReference.Pre pre() {
    return HyperConnectionsReference.pre(
        x, fn, base, scale, tokens, n, columns, iterations, EPS, EPS, dtype);
  }

  HcExpectation expect() {
    return HcExpectation.pre(x, fn, base, scale, tokens, n, columns, iterations, EPS, EPS, dtype);
  }
}
