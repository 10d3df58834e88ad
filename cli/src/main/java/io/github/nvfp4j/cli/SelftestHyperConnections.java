// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.HcHead;
import io.github.nvfp4j.HcModule;
import io.github.nvfp4j.HcOptions;
import io.github.nvfp4j.HcPost;
import io.github.nvfp4j.HcPostPre;
import io.github.nvfp4j.HcPre;
import io.github.nvfp4j.Nvfp4Tensor;
import io.github.nvfp4j.Quantize;
import io.github.nvfp4j.Recipe;
import io.github.nvfp4j.ScaleLayout;
import io.github.nvfp4j.Sinkhorn;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.ZeroScale;
import io.github.nvfp4j.reference.Bf16;
import io.github.nvfp4j.reference.GemmExpectation;
import io.github.nvfp4j.reference.HcExpectation;
import io.github.nvfp4j.reference.HyperConnectionsReference;
import io.github.nvfp4j.reference.QuantizeReference;
import io.github.nvfp4j.reference.SinkhornReference;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.function.BiConsumer;
import java.util.function.BiFunction;
import org.jspecify.annotations.Nullable;

/// The selftest's cases of sinkhorn and the hyper-connections: every bit of sinkhorn and hc_post, a
/// distance of the others that follows from the bound of their sums.
final class SelftestHyperConnections {
  /// Tokens, streams, columns: any number of streams, one token and many, none.
  private static final int[][] SHAPES = {
    {1, 4, 4096},
    {3, 1, 16},
    {5, 2, 48},
    {33, 4, 64},
    {7, 4, 1040},
    {9, 8, 272},
    {2, 16, 32},
    {0, 4, 64}
  };

  private static final DType[] FLOATS = {DType.BF16, DType.F32};
  private static final int ITERATIONS = HcOptions.DEFAULT.iterations();
  private static final float EPS = HcOptions.DEFAULT.hcEps();
  private static final int PADDING = 8;

  private SelftestHyperConnections() {}

  /// A residual, and where it lies.
  private record Variant(int tokens, int n, int columns, DType dtype, boolean strided) {
    String name(String op) {
      String type = dtype == DType.F32 ? "f32" : "bf16";
      return op + " " + tokens + "x" + n + "x" + columns + " " + type + (strided ? " strided" : "");
    }

    /// A tensor of the residual's shape; a strided one lies among NaN, which an op would notice.
    Residual residual(Workbench bench, float[] x) {
      MemorySegment bytes = RandomData.encode(padded(x), dtype);
      if (!strided) {
        Tensor tensor = bench.upload(bytes, dtype, tokens, n, columns);
        return new Residual(tensor, tensor);
      }
      Tensor whole = bench.upload(bytes, dtype, tokens, n + 1, columns + PADDING);
      Tensor view = whole.slice(bench.arena(), 1, 0, n).slice(bench.arena(), 2, 0, columns);
      return new Residual(whole, view);
    }

    /// The values as they lie.
    float[] padded(float[] x) {
      if (!strided) {
        return x;
      }
      int width = columns + PADDING;
      float[] padded = new float[tokens * (n + 1) * width];
      Arrays.fill(padded, Float.NaN);
      for (int row = 0; row < tokens * n; row++) {
        int at = (row / n * (n + 1) + row % n) * width;
        System.arraycopy(x, row * columns, padded, at, columns);
      }
      return padded;
    }

    Tensor rows(Workbench bench, float[] x) {
      return SelftestData.upload(bench, x, tokens, columns, dtype, strided);
    }
  }

  /// What a residual's view is part of.
  private record Residual(Tensor whole, Tensor view) {}

  /// What a module leaves.
  private record Behind(float[] x, float[] sub, float[] post, float[] comb) {
    static Behind random(RandomData random, Variant v) {
      return new Behind(
          random.preActivations(v.tokens * v.n, v.columns, v.dtype),
          random.preActivations(v.tokens, v.columns, v.dtype),
          random.weights(v.tokens * v.n),
          random.weights(v.tokens * v.n * v.n));
    }

    float[] reference(Variant v) {
      return HyperConnectionsReference.post(x, sub, post, comb, v.tokens, v.n, v.columns, v.dtype);
    }

    Tensor post(Workbench bench, Variant v) {
      return bench.upload(MemorySegment.ofArray(post), DType.F32, v.tokens, v.n);
    }

    Tensor comb(Workbench bench, Variant v) {
      return bench.upload(MemorySegment.ofArray(comb), DType.F32, v.tokens, v.n, v.n);
    }
  }

  /// Parameters of a module or the head, with which logits are of the order of 1.
  private record Parameters(float[] fn, float[] base, float[] scale) {
    static Parameters random(RandomData random, Variant v, boolean head) {
      int rows = head ? v.n : v.n * (v.n + 2);
      int width = v.n * v.columns;
      double size = 1 / Math.sqrt(width);
      return new Parameters(
          gaussian(random, rows * width, size),
          gaussian(random, rows, 1),
          gaussian(random, head ? 1 : 3, 1));
    }

    HcModule module(Workbench bench, Variant v) {
      int width = v.n * v.columns;
      return new HcModule(
          SelftestData.upload(bench, fn, base.length, width, DType.F32, v.strided),
          bench.upload(MemorySegment.ofArray(base), DType.F32, base.length),
          bench.upload(MemorySegment.ofArray(scale), DType.F32, scale.length));
    }

    HcExpectation pre(float[] x, Variant v) {
      return HcExpectation.pre(
          x, fn, base, scale, v.tokens, v.n, v.columns, ITERATIONS, EPS, EPS, v.dtype);
    }

    GemmExpectation head(float[] x, Variant v) {
      return HcExpectation.head(x, fn, base, scale, v.tokens, v.n, v.columns, EPS, EPS, v.dtype);
    }
  }

  /// Room for what hc_pre makes.
  private record Made(Tensor collapsed, Tensor post, Tensor comb) {
    static Made of(Workbench bench, Variant v) {
      return new Made(
          bench.result(v.dtype, v.tokens, v.columns),
          bench.result(DType.F32, v.tokens, v.n),
          bench.result(DType.F32, v.tokens, v.n, v.n));
    }

    @Nullable String difference(
        Workbench bench, HcExpectation expected, GemmExpectation expectedRow) {
      String difference = compare("post", expected.post(), floats(bench, post));
      if (difference == null) {
        difference = compare("comb", expected.comb(), floats(bench, comb));
      }
      return difference == null
          ? compare("collapsed", expectedRow, floats(bench, collapsed))
          : difference;
    }
  }

  static void add(BiConsumer<String, BiFunction<Workbench, RandomData, @Nullable String>> add) {
    for (int n : new int[] {1, 2, 3, 4, 5, 8, 13, 16}) {
      for (int iterations : new int[] {1, ITERATIONS}) {
        for (int tokens : new int[] {0, 1, 37}) {
          add.accept(
              "sinkhorn " + tokens + "x" + n + "x" + n + " iterations " + iterations,
              (bench, random) -> sinkhorn(bench, random, tokens, n, iterations));
        }
      }
    }
    for (int[] shape : SHAPES) {
      for (DType dtype : FLOATS) {
        for (boolean strided : new boolean[] {false, true}) {
          Variant v = new Variant(shape[0], shape[1], shape[2], dtype, strided);
          add.accept(v.name("hc_pre"), (bench, random) -> pre(bench, random, v));
          add.accept(v.name("hc_post"), (bench, random) -> post(bench, random, v, false));
          add.accept(
              v.name("hc_post") + " in place", (bench, random) -> post(bench, random, v, true));
          add.accept(v.name("hc_head"), (bench, random) -> head(bench, random, v));
          add.accept(
              v.name("hc_post_pre"), (bench, random) -> postPre(bench, random, v, null, false));
          add.accept(
              v.name("hc_post_pre") + " normalised",
              (bench, random) -> postPre(bench, random, v, DType.F32, false));
          add.accept(
              v.name("hc_post_pre") + " quantised",
              (bench, random) -> postPre(bench, random, v, null, true));
          add.accept(
              v.name("hc_post_pre") + " normalised quantised",
              (bench, random) -> postPre(bench, random, v, DType.BF16, true));
        }
      }
    }
    add.accept("fault non-finite result", SelftestHyperConnections::nonFinite);
  }

  private static float[] gaussian(RandomData random, int count, double size) {
    float[] x = new float[count];
    for (int i = 0; i < count; i++) {
      x[i] = (float) (random.random().nextGaussian() * size);
    }
    return x;
  }

  private static float[] floats(Workbench bench, Tensor tensor) {
    MemorySegment bytes = SelftestData.bytes(bench, tensor);
    return tensor.dtype() == DType.F32
        ? bytes.toArray(ValueLayout.JAVA_FLOAT)
        : Bf16.decode(bytes.toArray(ValueLayout.JAVA_SHORT));
  }

  private static @Nullable String compare(String what, GemmExpectation expected, float[] actual) {
    String difference = expected.difference(actual);
    return difference == null ? null : what + ": " + difference;
  }

  private static @Nullable String sinkhorn(
      Workbench bench, RandomData random, int tokens, int n, int iterations) {
    float[] logits = random.preActivations(tokens, n * n, DType.F32);
    Tensor in = bench.upload(MemorySegment.ofArray(logits), DType.F32, tokens, n, n);
    Tensor comb = bench.result(DType.F32, tokens, n, n);
    Sinkhorn.Options options = Sinkhorn.Options.of(iterations, EPS);
    Sinkhorn.run(bench.stream(), in, comb, options);
    Sinkhorn.run(bench.stream(), in, in, options);
    bench.stream().synchronize();
    MemorySegment expected =
        MemorySegment.ofArray(SinkhornReference.sinkhorn(logits, tokens, n, iterations, EPS));
    String difference = SelftestData.compare("comb", SelftestData.bytes(bench, comb), expected);
    return difference == null
        ? SelftestData.compare("comb in place", SelftestData.bytes(bench, in), expected)
        : difference;
  }

  private static @Nullable String pre(Workbench bench, RandomData random, Variant v) {
    float[] x = random.preActivations(v.tokens * v.n, v.columns, v.dtype);
    Parameters p = Parameters.random(random, v, false);
    Made made = Made.of(bench, v);
    HcPre.run(
        bench.stream(),
        v.residual(bench, x).view,
        p.module(bench, v),
        made.collapsed,
        made.post,
        made.comb,
        HcOptions.DEFAULT);
    bench.stream().synchronize();
    HcExpectation expected = p.pre(x, v);
    return made.difference(bench, expected, expected.collapsed());
  }

  private static @Nullable String head(Workbench bench, RandomData random, Variant v) {
    float[] x = random.preActivations(v.tokens * v.n, v.columns, v.dtype);
    Parameters p = Parameters.random(random, v, true);
    Tensor y = bench.result(v.dtype, v.tokens, v.columns);
    HcHead.run(bench.stream(), v.residual(bench, x).view, p.module(bench, v), y, HcOptions.DEFAULT);
    bench.stream().synchronize();
    return compare("collapsed", p.head(x, v), floats(bench, y));
  }

  private static @Nullable String post(
      Workbench bench, RandomData random, Variant v, boolean inPlace) {
    Behind in = Behind.random(random, v);
    Residual x = v.residual(bench, in.x);
    Tensor out = inPlace ? x.view : bench.result(v.dtype, v.tokens, v.n, v.columns);
    HcPost.run(
        bench.stream(), x.view, v.rows(bench, in.sub), in.post(bench, v), in.comb(bench, v), out);
    bench.stream().synchronize();
    float[] expected = in.reference(v);
    return SelftestData.compare(
        "out",
        SelftestData.bytes(bench, inPlace ? x.whole : out),
        RandomData.encode(inPlace ? v.padded(expected) : expected, v.dtype));
  }

  private static @Nullable String postPre(
      Workbench bench, RandomData random, Variant v, @Nullable DType norm, boolean quantise) {
    Behind in = Behind.random(random, v);
    Parameters p = Parameters.random(random, v, false);
    float[] weight = random.preActivations(1, v.columns, DType.BF16);
    Residual x = v.residual(bench, in.x);
    Made made = Made.of(bench, v);
    Nvfp4Tensor quantized =
        quantise ? bench.result(v.tokens, v.columns, ScaleLayout.LINEAR, GlobalScale.ROW) : null;
    HcPostPre.run(
        bench.stream(),
        x.view,
        v.rows(bench, in.sub),
        in.post(bench, v),
        in.comb(bench, v),
        p.module(bench, v),
        norm == null ? null : bench.upload(RandomData.encode(weight, norm), norm, v.columns),
        x.view,
        made.collapsed,
        made.post,
        made.comb,
        quantized,
        HcOptions.DEFAULT,
        quantise ? Quantize.Options.DYNAMIC : null);
    bench.stream().synchronize();
    float[] out = in.reference(v);
    String difference =
        SelftestData.compare(
            "out", SelftestData.bytes(bench, x.whole), RandomData.encode(v.padded(out), v.dtype));
    if (difference != null) {
      return difference;
    }
    HcExpectation expected = p.pre(out, v);
    GemmExpectation row = expected.collapsed();
    if (norm != null) {
      row = HcExpectation.norm(row, weight, v.tokens, v.columns, EPS, v.dtype);
    }
    difference = made.difference(bench, expected, row);
    if (difference != null || quantized == null) {
      return difference;
    }
    float[] written = floats(bench, made.collapsed);
    return SelftestData.compare(
        bench,
        quantized,
        QuantizeReference.dynamic(
            written, v.tokens, v.columns, GlobalScale.ROW, Recipe.EXACT, ZeroScale.MIN));
  }

  private static @Nullable String nonFinite(Workbench bench, RandomData random) {
    Variant v = new Variant(3, 4, 64, DType.F32, false);
    float[] x = random.preActivations(12, 64, DType.F32);
    x[300] = Float.POSITIVE_INFINITY;
    Made made = Made.of(bench, v);
    HcPre.run(
        bench.stream(),
        v.residual(bench, x).view,
        Parameters.random(random, v, false).module(bench, v),
        made.collapsed,
        made.post,
        made.comb,
        HcOptions.DEFAULT);
    return SelftestData.reported(bench);
  }
}
