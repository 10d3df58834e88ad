// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.Nvfp4Tensor;
import io.github.nvfp4j.RouterDense;
import io.github.nvfp4j.RouterHash;
import io.github.nvfp4j.RouterOptions;
import io.github.nvfp4j.ScaleLayout;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.reference.Bf16;
import io.github.nvfp4j.reference.Nvfp4Matrix;
import io.github.nvfp4j.reference.RouterReference;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Locale;
import java.util.function.BiConsumer;
import java.util.function.BiFunction;
import org.jspecify.annotations.Nullable;

/// The selftest's cases of the routers: logits within their bound, and every bit of what is chosen
/// by them.
final class SelftestRouters {
  /// Tokens, experts, columns, k: one token and many, none; as many experts as there may be, and as
  /// many chosen.
  private static final int[][] SHAPES = {
    {1, 256, 1024, 6},
    {1, 384, 512, 6},
    {3, 1, 16, 1},
    {5, 7, 48, 7},
    {33, 64, 112, 6},
    {70, 100, 64, 8},
    {9, 1024, 32, 16},
    {130, 16, 272, 16},
    {0, 64, 64, 6}
  };

  private static final DType[] FLOATS = {DType.BF16, DType.F32};
  private static final int VOCABULARY = 40;

  private SelftestRouters() {}

  /// What the gate's weight is.
  private enum Gate {
    BF16,
    F32,
    NVFP4
  }

  private record Variant(
      int tokens, int experts, int columns, int topk, DType dtype, Gate gate, boolean strided) {
    String name(String op) {
      String types = (dtype + " " + gate).toLowerCase(Locale.ROOT);
      return op
          + (" " + tokens + "x" + experts + "x" + columns + " topk " + topk + " " + types)
          + (strided ? " strided" : "");
    }
  }

  /// x, the gate and the bias, as the reference takes them; logits are of the order of 1.
  private record Problem(
      Variant v,
      float[] x,
      float @Nullable [] weight,
      @Nullable Nvfp4Matrix quantized,
      float[] bias) {
    static Problem random(RandomData random, Variant v) {
      float[] x = random.preActivations(v.tokens, v.columns, v.dtype);
      float[] bias = new float[v.experts];
      for (int e = 0; e < v.experts; e++) {
        bias[e] = (float) random.random().nextGaussian();
      }
      float size = 0.5f / (float) Math.sqrt(v.columns);
      if (v.gate == Gate.NVFP4) {
        Nvfp4Matrix w = random.operand(v.experts, v.columns, 0x30, 0x3f, GlobalScale.TENSOR);
        w.globalScales()[0] = size / 4;
        return new Problem(v, x, null, w, bias);
      }
      float[] weight = new float[v.experts * v.columns];
      for (int i = 0; i < weight.length; i++) {
        float w = (float) random.random().nextGaussian() * size;
        weight[i] = v.gate == Gate.F32 ? w : Bf16.round(w);
      }
      return new Problem(v, x, weight, null, bias);
    }

    RouterReference.Logits logits() {
      return quantized != null
          ? RouterReference.logits(x, quantized, v.tokens)
          : RouterReference.logits(x, given(), v.tokens, v.experts, v.columns);
    }

    private float[] given() {
      if (weight == null) {
        throw new AssertionError("the gate is NVFP4");
      }
      return weight;
    }

    Tensor x(Workbench bench) {
      return SelftestData.upload(bench, x, v.tokens, v.columns, v.dtype, v.strided);
    }

    Tensor weight(Workbench bench) {
      DType dtype = v.gate == Gate.F32 ? DType.F32 : DType.BF16;
      return SelftestData.upload(bench, given(), v.experts, v.columns, dtype, v.strided);
    }

    Nvfp4Tensor quantized(Workbench bench) {
      if (quantized == null) {
        throw new AssertionError("the gate is not NVFP4");
      }
      Nvfp4Tensor w = bench.result(v.experts, v.columns, ScaleLayout.LINEAR, GlobalScale.TENSOR);
      SelftestData.copyInto(bench, quantized.codes(), w.codes());
      SelftestData.copyInto(bench, quantized.scales(), w.scales());
      SelftestData.copyInto(
          bench, MemorySegment.ofArray(quantized.globalScales()), w.globalScales());
      return w;
    }

    Tensor bias(Workbench bench) {
      return bench.upload(MemorySegment.ofArray(bias), DType.F32, bias.length);
    }
  }

  /// Room for a choice.
  private record Made(Tensor indices, Tensor weights, Tensor logits) {
    static Made of(Workbench bench, Variant v) {
      return new Made(
          bench.result(DType.I32, v.tokens, v.topk),
          bench.result(DType.F32, v.tokens, v.topk),
          bench.result(DType.F32, v.tokens, v.experts));
    }

    @Nullable String difference(Workbench bench, int[] expected, float[] expectedWeights) {
      String difference =
          SelftestData.compare(
              "indices", SelftestData.bytes(bench, indices), MemorySegment.ofArray(expected));
      return difference == null
          ? SelftestData.compare(
              "weights", SelftestData.bytes(bench, weights), MemorySegment.ofArray(expectedWeights))
          : difference;
    }
  }

  static void add(BiConsumer<String, BiFunction<Workbench, RandomData, @Nullable String>> add) {
    for (int[] shape : SHAPES) {
      for (DType dtype : FLOATS) {
        for (Gate gate : Gate.values()) {
          boolean strided = (shape[0] + dtype.ordinal() + gate.ordinal()) % 2 == 0;
          // An odd number of columns where the gate allows it.
          int columns = gate == Gate.NVFP4 ? shape[2] : shape[2] + shape[0] % 2;
          Variant v = new Variant(shape[0], shape[1], columns, shape[3], dtype, gate, strided);
          add.accept(v.name("router_dense"), (bench, random) -> dense(bench, random, v));
          add.accept(v.name("router_hash"), (bench, random) -> hash(bench, random, v));
        }
      }
    }
    add.accept("router_dense ties", SelftestRouters::ties);
    add.accept("fault non-finite logit", SelftestRouters::nonFinite);
    add.accept("fault token id out of range", SelftestRouters::badIds);
    add.accept("fault bad scale of a gate", SelftestRouters::badScale);
  }

  private static void run(Workbench bench, Problem p, Made made, boolean withLogits) {
    Tensor logits = withLogits ? made.logits : null;
    if (p.quantized != null) {
      RouterDense.run(
          bench.stream(),
          p.x(bench),
          p.quantized(bench),
          p.bias(bench),
          made.indices,
          made.weights,
          logits,
          RouterOptions.FLASH);
    } else {
      RouterDense.run(
          bench.stream(),
          p.x(bench),
          p.weight(bench),
          p.bias(bench),
          made.indices,
          made.weights,
          logits,
          RouterOptions.FLASH);
    }
  }

  private static void run(Workbench bench, Problem p, Made made, Tensor table, Tensor ids) {
    if (p.quantized != null) {
      RouterHash.run(
          bench.stream(),
          p.x(bench),
          p.quantized(bench),
          table,
          ids,
          made.indices,
          made.weights,
          RouterOptions.FLASH);
    } else {
      RouterHash.run(
          bench.stream(),
          p.x(bench),
          p.weight(bench),
          table,
          ids,
          made.indices,
          made.weights,
          RouterOptions.FLASH);
    }
  }

  private static @Nullable String dense(Workbench bench, RandomData random, Variant v) {
    Problem p = Problem.random(random, v);
    Made made = Made.of(bench, v);
    run(bench, p, made, true);
    bench.stream().synchronize();
    float[] logits = SelftestData.bytes(bench, made.logits).toArray(ValueLayout.JAVA_FLOAT);
    RouterReference.Logits expected = p.logits();
    for (int i = 0; i < logits.length; i++) {
      if (!(Math.abs(logits[i] - expected.exact()[i]) <= expected.bound(i))) {
        return "logit "
            + i
            + " is "
            + logits[i]
            + ", expected "
            + expected.exact()[i]
            + " within "
            + expected.bound(i);
      }
    }
    RouterReference.Choice choice =
        RouterReference.choose(
            logits, p.bias, v.tokens, v.experts, v.topk, RouterOptions.FLASH.scale());
    String difference = made.difference(bench, choice.indices(), choice.weights());
    if (difference != null) {
      return difference;
    }
    Made without = Made.of(bench, v);
    run(bench, p, without, false);
    bench.stream().synchronize();
    difference = without.difference(bench, choice.indices(), choice.weights());
    return difference == null ? null : "without logits: " + difference;
  }

  private static @Nullable String hash(Workbench bench, RandomData random, Variant v) {
    Problem p = Problem.random(random, v);
    int[] table = random.ids(VOCABULARY * v.topk, v.experts);
    int[] ids = random.ids(v.tokens, VOCABULARY);
    Made made = Made.of(bench, v);
    run(
        bench,
        p,
        made,
        bench.upload(MemorySegment.ofArray(table), DType.I32, VOCABULARY, v.topk),
        bench.upload(MemorySegment.ofArray(ids), DType.I32, v.tokens));
    bench.stream().synchronize();
    int[] indices = RouterReference.lookUp(longs(table), longs(ids), v.experts, v.topk);
    String difference =
        SelftestData.compare(
            "indices", SelftestData.bytes(bench, made.indices), MemorySegment.ofArray(indices));
    return difference == null ? nearly(bench, p, indices, made) : difference;
  }

  /// Weights against those of exact logits: a logit that is off moves a score by less than half of
  /// that, and the sum by as much.
  private static @Nullable String nearly(Workbench bench, Problem p, int[] indices, Made made) {
    Variant v = p.v;
    RouterReference.Logits logits = p.logits();
    double[] exact =
        RouterReference.weightsExact(
            logits.exact(), indices, v.tokens, v.experts, v.topk, RouterOptions.FLASH.scale());
    float[] weights = SelftestData.bytes(bench, made.weights).toArray(ValueLayout.JAVA_FLOAT);
    for (int i = 0; i < weights.length; i++) {
      int first = i / v.topk * v.topk;
      double off = 2e-6;
      for (int j = first; j < first + v.topk; j++) {
        off = Math.max(off, 2e-6 + logits.bound(i / v.topk * v.experts + indices[j]));
      }
      if (!(Math.abs(weights[i] - exact[i]) <= off * exact[i])) {
        return "weight " + i + " is " + weights[i] + ", expected " + exact[i];
      }
    }
    return null;
  }

  private static long[] longs(int[] values) {
    return Arrays.stream(values).asLongStream().toArray();
  }

  /// All rows of the gate are alike: the first experts.
  private static @Nullable String ties(Workbench bench, RandomData random) {
    Variant v = new Variant(7, 50, 64, 6, DType.BF16, Gate.BF16, false);
    Problem p = Problem.random(random, v);
    for (int i = 64; i < p.given().length; i++) {
      p.given()[i] = p.given()[i - 64];
    }
    Arrays.fill(p.bias, 0.25f);
    Made made = Made.of(bench, v);
    run(bench, p, made, false);
    bench.stream().synchronize();
    int[] indices = SelftestData.bytes(bench, made.indices).toArray(ValueLayout.JAVA_INT);
    for (int i = 0; i < indices.length; i++) {
      if (indices[i] != i % 6) {
        return "index " + i + " is " + indices[i] + ", expected " + i % 6 + " of equal scores";
      }
    }
    return null;
  }

  private static @Nullable String nonFinite(Workbench bench, RandomData random) {
    Variant v = new Variant(4, 20, 64, 6, DType.F32, Gate.BF16, false);
    Problem p = Problem.random(random, v);
    p.x[2 * 64 + 9] = Float.NaN;
    run(bench, p, Made.of(bench, v), true);
    return SelftestData.reported(bench);
  }

  private static @Nullable String badIds(Workbench bench, RandomData random) {
    Variant v = new Variant(4, 20, 64, 2, DType.BF16, Gate.F32, false);
    Problem p = Problem.random(random, v);
    long[] table = {3, 20, Long.MIN_VALUE, 1, 5, 6};
    long[] ids = {2, -1, 0, 1L << 32};
    Made made = Made.of(bench, v);
    run(
        bench,
        p,
        made,
        bench.upload(MemorySegment.ofArray(table), DType.I64, 3, 2),
        bench.upload(MemorySegment.ofArray(ids), DType.I64, 4));
    String silent = SelftestData.reported(bench);
    if (silent != null) {
      return silent;
    }
    int[] expected = {5, 6, -1, -1, 3, -1, -1, -1};
    float[] weights = SelftestData.bytes(bench, made.weights).toArray(ValueLayout.JAVA_FLOAT);
    for (int i = 2; i < 8; i++) {
      // Of one expert alone the weight is the scale.
      boolean right =
          i == 4
              ? Math.abs(weights[i] - RouterOptions.FLASH.scale()) <= 1e-6f
              : Float.floatToRawIntBits(weights[i]) == 0;
      if (!right) {
        return "weight " + i + " is " + weights[i] + ", expected " + (i == 4 ? "the scale" : "0");
      }
    }
    return SelftestData.compare(
        "indices", SelftestData.bytes(bench, made.indices), MemorySegment.ofArray(expected));
  }

  private static @Nullable String badScale(Workbench bench, RandomData random) {
    Variant v = new Variant(4, 20, 64, 6, DType.BF16, Gate.NVFP4, false);
    Problem p = Problem.random(random, v);
    if (p.quantized == null) {
      throw new AssertionError("the gate is NVFP4");
    }
    p.quantized.scales()[30] = (byte) 0x80;
    run(bench, p, Made.of(bench, v), true);
    String silent = SelftestData.reported(bench);
    if (silent != null) {
      return silent;
    }
    p.quantized.scales()[30] = 0x38;
    p.quantized.globalScales()[0] = -1;
    run(bench, p, Made.of(bench, v), true);
    return SelftestData.reported(bench);
  }
}
