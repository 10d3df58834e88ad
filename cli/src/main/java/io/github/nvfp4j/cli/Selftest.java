// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.Dequantize;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.Nvfp4Tensor;
import io.github.nvfp4j.Quantize;
import io.github.nvfp4j.Recipe;
import io.github.nvfp4j.ScaleLayout;
import io.github.nvfp4j.SwigluColumns;
import io.github.nvfp4j.Swizzle;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.Unswizzle;
import io.github.nvfp4j.ZeroScale;
import io.github.nvfp4j.reference.DequantizeReference;
import io.github.nvfp4j.reference.Nvfp4Matrix;
import io.github.nvfp4j.reference.QuantizeReference;
import io.github.nvfp4j.reference.SwizzleReference;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import java.util.function.BiFunction;
import org.jspecify.annotations.Nullable;

/// The cases of `nvfp4j selftest`. Each makes random data, runs an op on the device and the
/// reference in Java, and compares every bit, or how far apart the results are where they depend on
/// the order of a sum.
final class Selftest {
  /// Runs a case; null when it is good, else what differs.
  interface Body {
    @Nullable String run(Workbench bench);
  }

  /// @param name op and variant
  record Case(String name, Body body) {}

  /// A row of one block; odd numbers of rows and blocks; more rows than a tile of scales has; long
  /// rows; no row at all.
  private static final int[][] SHAPES = {
    {1, 16}, {3, 48}, {33, 272}, {130, 1040}, {128, 64}, {257, 160}, {5, 8192}, {0, 64}, {300, 1024}
  };

  private static final DType[] FLOATS = {DType.BF16, DType.F16, DType.F32};
  private static final DType[] SWIGLU_FLOATS = {DType.BF16, DType.F32};

  // What quantisation makes of each.
  private static final GlobalScale[] GLOBAL_SCALES = {GlobalScale.TENSOR, GlobalScale.ROW};
  private static final ScaleLayout[] LAYOUTS = {ScaleLayout.LINEAR, ScaleLayout.SWIZZLED_128X4};

  private final long seed;
  private final List<Case> cases = new ArrayList<>();

  Selftest(long seed) {
    this.seed = seed;
    addQuantize();
    addDequantize();
    addSwizzle();
    addSwiglu();
    SelftestGemm.add(this::add);
    SelftestHyperConnections.add(this::add);
    SelftestRouters.add(this::add);
    SelftestExperts.add(this::add);
    SelftestIndexer.add(this::add);
    SelftestCaches.add(this::add);
    SelftestSample.add(this::add);
    addCopy();
    addFaults();
  }

  List<Case> cases() {
    return List.copyOf(cases);
  }

  /// Every case has random numbers of its own: it gives the same alone as among the others.
  private void add(String name, BiFunction<Workbench, RandomData, @Nullable String> body) {
    long caseSeed = seed * 1_000_003 + cases.size();
    cases.add(
        new Case(name, bench -> body.apply(bench, new RandomData(new SplittableRandom(caseSeed)))));
  }

  private void addQuantize() {
    for (int[] shape : SHAPES) {
      for (DType dtype : FLOATS) {
        for (GlobalScale global : GLOBAL_SCALES) {
          for (ScaleLayout layout : LAYOUTS) {
            for (Recipe recipe : Recipe.values()) {
              for (Quantize.Source source : Quantize.Source.values()) {
                ZeroScale zero = cases.size() % 3 == 0 ? ZeroScale.FLUSH : ZeroScale.MIN;
                boolean strided = cases.size() % 2 == 0;
                String name =
                    name("quantize", shape, dtype, global, layout, recipe, source, zero)
                        + (strided ? " strided" : "");
                Variant variant = new Variant(global, layout, recipe, source, zero);
                add(name, (b, r) -> quantize(b, r, shape, dtype, variant, strided));
              }
            }
          }
        }
      }
      add(name("quantize gathered", shape), (b, r) -> gather(b, r, shape));
    }
  }

  /// How to quantise.
  record Variant(
      GlobalScale global,
      ScaleLayout layout,
      Recipe recipe,
      Quantize.Source source,
      ZeroScale zero) {
    Quantize.Options options() {
      return Quantize.Options.of(source, recipe, zero);
    }

    Nvfp4Matrix reference(float[] x, int rows, int columns, float @Nullable [] given) {
      return given == null
          ? QuantizeReference.dynamic(x, rows, columns, global, recipe, zero)
          : QuantizeReference.given(x, rows, columns, global, given, recipe, zero);
    }
  }

  private static @Nullable String quantize(
      Workbench bench, RandomData random, int[] shape, DType dtype, Variant v, boolean strided) {
    int rows = shape[0];
    int columns = shape[1];
    float[] x = random.matrix(rows, columns, dtype);
    Tensor input = SelftestData.upload(bench, x, rows, columns, dtype, strided);
    Nvfp4Tensor out = bench.result(rows, columns, v.layout(), v.global());
    float[] given = given(bench, random, v, x, rows, columns, out);
    Quantize.run(bench.stream(), input, null, out, v.options());
    bench.stream().synchronize();
    return SelftestData.compare(bench, out, v.reference(x, rows, columns, given));
  }

  /// Global scales near the dynamic ones, so that codes use their range, put into the result.
  static float @Nullable [] given(
      Workbench bench,
      RandomData random,
      Variant v,
      float[] x,
      int rows,
      int columns,
      Nvfp4Tensor out) {
    if (v.source() == Quantize.Source.DYNAMIC) {
      return null;
    }
    float[] gs =
        QuantizeReference.dynamic(x, rows, columns, v.global(), Recipe.EXACT, v.zero())
            .globalScales()
            .clone();
    for (int i = 0; i < gs.length; i++) {
      gs[i] = Math.max(Float.MIN_VALUE, gs[i] * (0.25f + 4 * random.uniform()));
    }
    MemorySegment bytes = MemorySegment.ofArray(gs);
    out.globalScales()
        .copyFrom(bench.stream(), bench.upload(bytes, DType.F32, out.globalScales().shape()));
    return gs;
  }

  private static @Nullable String gather(Workbench bench, RandomData random, int[] shape) {
    int rows = shape[0];
    int columns = shape[1];
    int[] ids = random.ids(rows == 0 ? 0 : 2 * rows + 1, rows);
    float[] x = random.matrix(rows, columns, DType.BF16);
    Nvfp4Tensor out = bench.result(ids.length, columns, ScaleLayout.LINEAR, GlobalScale.ROW);
    Tensor gathered = bench.upload(MemorySegment.ofArray(ids), DType.I32, ids.length);
    Quantize.Options options =
        Quantize.Options.of(Quantize.Source.DYNAMIC, Recipe.EXACT, ZeroScale.MIN);
    Tensor input = SelftestData.upload(bench, x, rows, columns, DType.BF16, true);
    Quantize.run(bench.stream(), input, gathered, out, options);
    bench.stream().synchronize();
    float[] y = QuantizeReference.gather(x, rows, columns, ids);
    return SelftestData.compare(
        bench,
        out,
        QuantizeReference.dynamic(
            y, ids.length, columns, GlobalScale.ROW, Recipe.EXACT, ZeroScale.MIN));
  }

  private void addDequantize() {
    for (int[] shape : SHAPES) {
      for (DType dtype : FLOATS) {
        for (GlobalScale global : GLOBAL_SCALES) {
          for (ScaleLayout layout : LAYOUTS) {
            add(
                name("dequantize", shape, dtype, global, layout),
                (b, r) -> dequantize(b, r, shape, dtype, global, layout));
          }
        }
      }
    }
  }

  private static @Nullable String dequantize(
      Workbench bench,
      RandomData random,
      int[] shape,
      DType dtype,
      GlobalScale global,
      ScaleLayout layout) {
    int rows = shape[0];
    int columns = shape[1];
    Nvfp4Matrix q = random.quantized(rows, columns, global);
    Nvfp4Tensor x = bench.result(rows, columns, layout, global);
    SelftestData.copyInto(bench, q.codes(), x.codes());
    SelftestData.copyInto(bench, SelftestData.scales(q, layout), x.scales());
    SelftestData.copyInto(bench, MemorySegment.ofArray(q.globalScales()), x.globalScales());
    Tensor output = bench.result(dtype, rows, columns);
    Dequantize.run(bench.stream(), x, output);
    bench.stream().synchronize();
    float[] y = DequantizeReference.dequantize(q, dtype);
    return SelftestData.compare(
        "output", SelftestData.bytes(bench, output), RandomData.encode(y, dtype));
  }

  private void addSwizzle() {
    for (int[] shape : SHAPES) {
      add(name("swizzle", shape), (b, r) -> swizzle(b, r, shape[0], shape[1] / 16, true));
      add(name("unswizzle", shape), (b, r) -> swizzle(b, r, shape[0], shape[1] / 16, false));
    }
  }

  private static @Nullable String swizzle(
      Workbench bench, RandomData random, int rows, int blocks, boolean forth) {
    byte[] linear = random.bytes(rows * blocks);
    byte[] swizzled = SwizzleReference.swizzle(linear, rows, blocks);
    MemorySegment from = MemorySegment.ofArray(forth ? linear : swizzled);
    Tensor result;
    if (forth) {
      result = bench.result(DType.U8, swizzled.length);
      Swizzle.run(bench.stream(), bench.upload(from, DType.U8, rows, blocks), result);
    } else {
      result = bench.result(DType.U8, rows, blocks);
      Unswizzle.run(bench.stream(), bench.upload(from, DType.U8, swizzled.length), result);
    }
    bench.stream().synchronize();
    MemorySegment expected = MemorySegment.ofArray(forth ? swizzled : linear);
    return SelftestData.compare("scale", SelftestData.bytes(bench, result), expected);
  }

  private void addSwiglu() {
    for (int[] shape : SHAPES) {
      for (DType dtype : SWIGLU_FLOATS) {
        for (SwigluColumns layout : SwigluColumns.values()) {
          for (float limit : new float[] {0, 10}) {
            boolean weighted = cases.size() % 2 == 0;
            boolean strided = cases.size() % 3 == 0;
            SelftestSwiglu.Variant v =
                new SelftestSwiglu.Variant(shape, dtype, layout, limit, weighted, strided);
            add(name("swiglu", v.words()), (b, r) -> SelftestSwiglu.swiglu(b, r, v));
            for (GlobalScale global : GLOBAL_SCALES) {
              for (Quantize.Source source : Quantize.Source.values()) {
                ScaleLayout scales =
                    cases.size() % 3 == 0 ? ScaleLayout.SWIZZLED_128X4 : ScaleLayout.LINEAR;
                Recipe recipe = cases.size() % 5 == 0 ? Recipe.TE_EXACT : Recipe.EXACT;
                Variant q = new Variant(global, scales, recipe, source, ZeroScale.MIN);
                add(
                    name("swiglu_quantize", v.words()) + name("", global, source, scales, recipe),
                    (b, r) -> SelftestSwiglu.swigluQuantize(b, r, v, q));
              }
            }
          }
        }
      }
    }
  }

  private void addCopy() {
    for (int[] shape : SHAPES) {
      for (boolean strided : new boolean[] {false, true}) {
        add(
            name("copy", shape) + (strided ? " strided" : ""),
            (bench, random) -> {
              float[] x = random.matrix(shape[0], shape[1], DType.F32);
              Tensor source = SelftestData.upload(bench, x, shape[0], shape[1], DType.F32, strided);
              Tensor copy = bench.result(DType.F32, shape[0], shape[1]);
              copy.copyFrom(bench.stream(), source);
              bench.stream().synchronize();
              return SelftestData.compare(
                  "copy", SelftestData.bytes(bench, copy), RandomData.encode(x, DType.F32));
            });
      }
    }
  }

  /// What kernels must notice, and that the stream goes on afterwards.
  private void addFaults() {
    add(
        "fault non-finite input",
        (bench, random) -> {
          float[] x = random.matrix(4, 32, DType.F32);
          x[40] = Float.NaN;
          Nvfp4Tensor out = bench.result(4, 32, ScaleLayout.LINEAR, GlobalScale.TENSOR);
          Quantize.dynamic(
              bench.stream(), SelftestData.upload(bench, x, 4, 32, DType.F32, false), out);
          String silent = SelftestData.reported(bench);
          Variant v =
              new Variant(
                  GlobalScale.TENSOR,
                  ScaleLayout.LINEAR,
                  Recipe.EXACT,
                  Quantize.Source.DYNAMIC,
                  ZeroScale.MIN);
          return silent != null
              ? silent
              : SelftestData.compare(bench, out, v.reference(x, 4, 32, null));
        });
    add(
        "fault bad global scale",
        (bench, random) -> {
          float[] x = random.matrix(4, 32, DType.F32);
          Nvfp4Tensor out = bench.result(4, 32, ScaleLayout.LINEAR, GlobalScale.TENSOR);
          SelftestData.copyInto(bench, MemorySegment.ofArray(new float[] {-1}), out.globalScales());
          Quantize.given(
              bench.stream(), SelftestData.upload(bench, x, 4, 32, DType.F32, false), out);
          return SelftestData.reported(bench);
        });
    add(
        "fault index out of range",
        (bench, random) -> {
          float[] x = random.matrix(4, 32, DType.F32);
          Nvfp4Tensor out = bench.result(3, 32, ScaleLayout.LINEAR, GlobalScale.ROW);
          Tensor ids = bench.upload(MemorySegment.ofArray(new int[] {0, 4, -1}), DType.I32, 3);
          Quantize.Options options =
              Quantize.Options.of(Quantize.Source.DYNAMIC, Recipe.EXACT, ZeroScale.MIN);
          Tensor input = SelftestData.upload(bench, x, 4, 32, DType.F32, false);
          Quantize.run(bench.stream(), input, ids, out, options);
          return SelftestData.reported(bench);
        });
    add(
        "fault bad block scale",
        (bench, random) -> {
          Nvfp4Matrix q = random.quantized(4, 32, GlobalScale.TENSOR);
          q.scales()[5] = 0x7f;
          Nvfp4Tensor x = bench.result(4, 32, ScaleLayout.LINEAR, GlobalScale.TENSOR);
          SelftestData.copyInto(bench, q.codes(), x.codes());
          SelftestData.copyInto(bench, q.scales(), x.scales());
          SelftestData.copyInto(bench, MemorySegment.ofArray(q.globalScales()), x.globalScales());
          Tensor output = bench.result(DType.F32, 4, 32);
          Dequantize.run(bench.stream(), x, output);
          return SelftestData.reported(bench);
        });
  }

  private static String name(String op, Object... words) {
    StringBuilder name = new StringBuilder(op);
    for (Object word : words) {
      String text =
          word instanceof int[] shape
              ? shape[0] + "x" + shape[1]
              : word.toString().toLowerCase(Locale.ROOT);
      if (!text.isEmpty()) {
        name.append(' ').append(text);
      }
    }
    return name.toString();
  }
}
