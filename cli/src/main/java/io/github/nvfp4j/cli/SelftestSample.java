// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.Sample;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.reference.SampleReference;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.function.BiConsumer;
import java.util.function.BiFunction;
import org.jspecify.annotations.Nullable;

/// The selftest's cases of sample: every token.
final class SelftestSample {
  /// Rows and columns: a warp's, a thread block's, several thread blocks'; one row and many, none.
  private static final int[][] SHAPES = {
    {1, 1}, {7, 3}, {130, 100}, {1, 257}, {9, 1000}, {300, 300}, {3, 5003}, {0, 64}
  };

  private static final int[] VOCABULARY = {1, 129_280};

  private SelftestSample() {}

  /// How to draw.
  private record Variant(
      int rows, int columns, DType dtype, float temperature, boolean given, boolean strided) {
    String name() {
      return "sample "
          + rows
          + "x"
          + columns
          + (dtype == DType.F32 ? " f32" : " bf16")
          + " temperature "
          + temperature
          + (given ? " noise" : "")
          + (strided ? " strided" : "");
    }
  }

  static void add(BiConsumer<String, BiFunction<Workbench, RandomData, @Nullable String>> add) {
    for (int[] shape : SHAPES) {
      for (DType dtype : new DType[] {DType.F32, DType.BF16}) {
        for (float temperature : new float[] {0, 1e-30f, 0.6f, 1}) {
          for (boolean given : new boolean[] {false, true}) {
            for (boolean strided : new boolean[] {false, true}) {
              Variant v = new Variant(shape[0], shape[1], dtype, temperature, given, strided);
              add.accept(v.name(), (bench, random) -> sample(bench, random, v));
            }
          }
        }
      }
    }
    for (float temperature : new float[] {0, 1}) {
      Variant v = new Variant(VOCABULARY[0], VOCABULARY[1], DType.F32, temperature, false, false);
      add.accept(v.name(), (bench, random) -> sample(bench, random, v));
    }
    add.accept(
        "fault NaN among logits", (bench, random) -> fault(bench, random, Float.NaN, false, 1));
    add.accept(
        "fault logits of -infinity",
        (bench, random) -> fault(bench, random, Float.NEGATIVE_INFINITY, true, 1));
    add.accept("fault bad noise", (bench, random) -> fault(bench, random, 0, false, 0));
  }

  private static float[] noise(RandomData random, int count) {
    float[] noise = new float[count];
    for (int i = 0; i < count; i++) {
      noise[i] = Math.max(Float.MIN_VALUE, (float) -Math.log(1 - random.random().nextDouble()));
    }
    return noise;
  }

  private static @Nullable String sample(Workbench bench, RandomData random, Variant v) {
    float[] logits = random.preActivations(v.rows, v.columns, v.dtype);
    float[] noise = v.given ? noise(random, v.rows * v.columns) : null;
    long seed = random.random().nextLong();
    long offset = random.random().nextLong();
    long more = random.random().nextLong();
    Tensor tokens = bench.result(DType.I32, v.rows);
    Sample.run(
        bench.stream(),
        SelftestData.upload(bench, logits, v.rows, v.columns, v.dtype, v.strided),
        noise == null
            ? null
            : SelftestData.upload(bench, noise, v.rows, v.columns, DType.F32, v.strided),
        bench.upload(MemorySegment.ofArray(new long[] {more}), DType.I64, 1),
        tokens,
        Sample.Options.of(v.temperature, seed, offset));
    bench.stream().synchronize();
    int[] expected =
        SampleReference.sample(
            logits, v.rows, v.columns, noise, v.temperature, seed, offset + more);
    return SelftestData.compare(
        "token", SelftestData.bytes(bench, tokens), MemorySegment.ofArray(expected));
  }

  /// Row 1 of three has a logit, or nothing but such logits, and a value of the noise.
  private static @Nullable String fault(
      Workbench bench, RandomData random, float logit, boolean everywhere, float noise) {
    int columns = 700;
    float[] logits = random.preActivations(3, columns, DType.F32);
    float[] e = noise(random, 3 * columns);
    Arrays.fill(logits, columns + 300, columns + 301, logit);
    if (everywhere) {
      Arrays.fill(logits, columns, 2 * columns, logit);
    }
    e[columns + 300] = noise;
    Tensor tokens = bench.result(DType.I32, 3);
    Sample.run(
        bench.stream(),
        SelftestData.upload(bench, logits, 3, columns, DType.F32, false),
        SelftestData.upload(bench, e, 3, columns, DType.F32, false),
        null,
        tokens,
        Sample.Options.of(1, 0, 0));
    String silent = SelftestData.reported(bench);
    int[] expected = SampleReference.sample(logits, 3, columns, e, 1, 0, 0);
    if (silent == null && expected[1] != -1) {
      silent = "the reference has token " + expected[1] + " for a row that has none";
    }
    return silent == null
        ? SelftestData.compare(
            "token", SelftestData.bytes(bench, tokens), MemorySegment.ofArray(expected))
        : silent;
  }
}
