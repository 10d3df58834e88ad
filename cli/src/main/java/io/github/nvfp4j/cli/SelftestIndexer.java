// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.IndexerTopk;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.reference.IndexerReference;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.function.BiConsumer;
import java.util.function.BiFunction;
import org.jspecify.annotations.Nullable;

/// The selftest's cases of indexer_topk: scores within the bound of their sums, indices exactly as
/// the device's own scores say.
final class SelftestIndexer {
  /// Queries, rows, heads, columns and k: one thread block and many, several groups of queries,
  /// fewer rows than k, none.
  private static final int[][] SHAPES = {
    {1, 37, 64, 128, 16},
    {1, 3000, 8, 128, 512},
    {3, 1100, 3, 64, 100},
    {9, 700, 2, 16, 2048},
    {2, 90, 1, 256, 1},
    {20, 600, 5, 48, 64},
    {2, 0, 4, 32, 5},
    {0, 50, 4, 32, 5}
  };

  private static final DType[] FLOATS = {DType.BF16, DType.F32};

  private SelftestIndexer() {}

  /// What scores are like.
  private enum Kind {
    GAUSSIAN,
    /// Of few different rows, so that many are equal.
    EQUAL,
    ZERO
  }

  private record Variant(
      int queries, int rows, int heads, int columns, int k, DType dtype, Kind kind) {
    String name() {
      String type = dtype == DType.F32 ? "f32" : "bf16";
      String text =
          "indexer_topk " + queries + "x" + heads + "x" + columns + " of " + rows + " rows, k " + k;
      return text
          + " "
          + type
          + (kind == Kind.GAUSSIAN ? "" : kind == Kind.EQUAL ? " equal" : " 0");
    }
  }

  /// A call's inputs.
  private record Inputs(float[] q, float[] keys, float[] weights, int[] valid) {
    static Inputs random(RandomData random, Variant v) {
      float[] q = random.preActivations(v.queries * v.heads, v.columns, v.dtype);
      float[] keys = random.preActivations(v.rows, v.columns, v.dtype);
      if (v.kind == Kind.ZERO) {
        Arrays.fill(q, 0);
      }
      for (int i = 5 * v.columns; v.kind == Kind.EQUAL && i < keys.length; i++) {
        keys[i] = keys[i % (5 * v.columns)];
      }
      int[] valid = new int[v.queries];
      for (int s = 0; s < v.queries; s++) {
        valid[s] = s % 2 == 0 ? v.rows : random.random().nextInt(v.rows + 1);
      }
      float[] weights = random.preActivations(v.queries, v.heads, DType.F32);
      return new Inputs(q, keys, weights, valid);
    }
  }

  static void add(BiConsumer<String, BiFunction<Workbench, RandomData, @Nullable String>> add) {
    for (int[] s : SHAPES) {
      for (DType dtype : FLOATS) {
        for (Kind kind : Kind.values()) {
          Variant v = new Variant(s[0], s[1], s[2], s[3], s[4], dtype, kind);
          add.accept(v.name(), (bench, random) -> choose(bench, random, v));
        }
      }
    }
    add.accept("fault indexer non-finite result", SelftestIndexer::nonFinite);
    add.accept("fault indexer rows out of range", SelftestIndexer::outOfRange);
  }

  /// What a call wrote.
  private record Chosen(int[] indices, float[] scores) {}

  private static Chosen run(Workbench bench, Variant v, Inputs in) {
    Tensor indices = bench.result(DType.I32, v.queries, v.k);
    Tensor scores = bench.result(DType.F32, v.queries, v.rows);
    run(bench, v, in, indices, scores);
    return new Chosen(
        SelftestData.bytes(bench, indices).toArray(ValueLayout.JAVA_INT),
        SelftestData.bytes(bench, scores).toArray(ValueLayout.JAVA_FLOAT));
  }

  private static void run(
      Workbench bench, Variant v, Inputs in, Tensor indices, @Nullable Tensor scores) {
    IndexerTopk.run(
        bench.stream(),
        bench.upload(RandomData.encode(in.q, v.dtype), v.dtype, v.queries, v.heads, v.columns),
        SelftestData.upload(bench, in.keys, v.rows, v.columns, v.dtype, v.k % 2 == 0),
        SelftestData.upload(bench, in.weights, v.queries, v.heads, DType.F32, v.k % 2 == 0),
        bench.upload(MemorySegment.ofArray(in.valid), DType.I32, v.queries),
        indices,
        scores);
  }

  private static @Nullable String choose(Workbench bench, RandomData random, Variant v) {
    Inputs in = Inputs.random(random, v);
    Chosen chosen = run(bench, v, in);
    Tensor again = bench.result(DType.I32, v.queries, v.k);
    run(bench, v, in, again, null);
    bench.stream().synchronize();
    double[] exact =
        IndexerReference.exactScores(in.q, in.keys, in.weights, in.valid, v.heads, v.columns);
    double[] allowed =
        IndexerReference.tolerances(in.q, in.keys, in.weights, in.valid, v.heads, v.columns);
    for (int i = 0; i < exact.length; i++) {
      boolean right =
          Double.isInfinite(exact[i])
              ? chosen.scores[i] == exact[i]
              : Math.abs(chosen.scores[i] - exact[i]) <= allowed[i];
      if (!right) {
        return "score "
            + i
            + " is "
            + chosen.scores[i]
            + ", expected "
            + exact[i]
            + " within "
            + allowed[i];
      }
    }
    int[] expected = IndexerReference.indices(chosen.scores, in.valid, v.rows, v.k);
    int at = Arrays.mismatch(chosen.indices, expected);
    if (at >= 0) {
      return "index " + at + " is " + chosen.indices[at] + ", expected " + expected[at];
    }
    return SelftestData.compare(
        "indices without scores",
        SelftestData.bytes(bench, again),
        MemorySegment.ofArray(expected));
  }

  private static @Nullable String nonFinite(Workbench bench, RandomData random) {
    Variant v = new Variant(1, 40, 2, 32, 8, DType.F32, Kind.GAUSSIAN);
    Inputs in = Inputs.random(random, v);
    in.keys[17 * 32 + 3] = Float.NaN;
    run(bench, v, in);
    return SelftestData.reported(bench);
  }

  private static @Nullable String outOfRange(Workbench bench, RandomData random) {
    Variant v = new Variant(2, 40, 2, 32, 8, DType.BF16, Kind.GAUSSIAN);
    Inputs in = Inputs.random(random, v);
    in.valid[1] = 41;
    Chosen chosen = run(bench, v, in);
    String unreported = SelftestData.reported(bench);
    return unreported != null || chosen.indices[8] == -1
        ? unreported
        : "index 8 is " + chosen.indices[8] + ", expected -1";
  }
}
