// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.ExpertCombine;
import io.github.nvfp4j.ExpertDispatch;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.reference.ExpertsReference;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.function.BiConsumer;
import java.util.function.BiFunction;
import org.jspecify.annotations.Nullable;

/// The selftest's cases of expert_dispatch and expert_combine: every bit.
final class SelftestExperts {
  /// Tokens, slots, experts: few choices and many, as few experts and as many as there can be,
  /// none.
  private static final int[][] CHOICES = {
    {1, 6, 256}, {1, 1, 1}, {16, 6, 384}, {0, 6, 256}, {33, 16, 1024}, {500, 8, 7}, {8192, 6, 256}
  };

  /// Tokens, slots, columns.
  private static final int[][] SUMS = {
    {1, 6, 7168}, {3, 1, 16}, {33, 16, 64}, {7, 9, 1040}, {130, 6, 67}, {2, 8, 1}, {0, 6, 64}
  };

  private static final DType[] FLOATS = {DType.BF16, DType.F32};

  private SelftestExperts() {}

  static void add(BiConsumer<String, BiFunction<Workbench, RandomData, @Nullable String>> add) {
    for (int[] shape : CHOICES) {
      String name = "expert_dispatch " + shape[0] + "x" + shape[1] + " of " + shape[2];
      add.accept(
          name,
          (bench, random) -> dispatch(bench, random, shape, random.ids(count(shape), shape[2])));
      add.accept(
          name + " one expert",
          (bench, random) -> {
            int[] same = new int[count(shape)];
            Arrays.fill(same, shape[2] - 1);
            return dispatch(bench, random, shape, same);
          });
    }
    for (int[] shape : SUMS) {
      for (DType dtype : FLOATS) {
        for (DType to : FLOATS) {
          for (boolean strided : new boolean[] {false, true}) {
            for (boolean weighted : new boolean[] {false, true}) {
              String name =
                  "expert_combine "
                      + shape[0]
                      + "x"
                      + shape[1]
                      + "x"
                      + shape[2]
                      + (dtype == DType.F32 ? " f32" : " bf16")
                      + (to == DType.F32 ? " to f32" : " to bf16")
                      + (strided ? " strided" : "")
                      + (weighted ? " weighted" : "");
              add.accept(
                  name,
                  (bench, random) -> combine(bench, random, shape, dtype, to, strided, weighted));
            }
          }
        }
      }
    }
    add.accept("fault no expert", SelftestExperts::noExpert);
    add.accept("fault no row", SelftestExperts::noRow);
  }

  private static int count(int[] shape) {
    return shape[0] * shape[1];
  }

  private static Tensor ints(Workbench bench, int[] values, int rows, int columns) {
    return bench.upload(MemorySegment.ofArray(values), DType.I32, rows, columns);
  }

  private static @Nullable String dispatch(
      Workbench bench, RandomData random, int[] shape, int[] indices) {
    String difference = sort(bench, random, shape, indices);
    bench.stream().synchronize();
    return difference;
  }

  /// Sorts and compares, but leaves it to the caller to wait for what was reported.
  private static @Nullable String sort(
      Workbench bench, RandomData random, int[] shape, int[] indices) {
    int tokens = shape[0];
    int slots = shape[1];
    float[] weights = random.weights(indices.length);
    Tensor offsets = bench.result(DType.I32, shape[2] + 1);
    Tensor rows = bench.result(DType.I32, indices.length);
    Tensor positions = bench.result(DType.I32, tokens, slots);
    Tensor rowWeights = bench.result(DType.F32, indices.length);
    ExpertDispatch.run(
        bench.stream(),
        ints(bench, indices, tokens, slots),
        bench.upload(MemorySegment.ofArray(weights), DType.F32, tokens, slots),
        offsets,
        rows,
        positions,
        rowWeights);
    ExpertsReference.Dispatch expected =
        ExpertsReference.dispatch(indices, weights, tokens, slots, shape[2]);
    String difference =
        compare(bench, "offsets", offsets, MemorySegment.ofArray(expected.offsets()));
    if (difference == null) {
      difference = compare(bench, "rows", rows, MemorySegment.ofArray(expected.rows()));
    }
    if (difference == null) {
      MemorySegment places = MemorySegment.ofArray(expected.positions());
      difference = compare(bench, "positions", positions, places);
    }
    float[] taken = expected.rowWeights();
    if (difference == null && taken != null) {
      difference = compare(bench, "row_weights", rowWeights, MemorySegment.ofArray(taken));
    }
    return difference;
  }

  private static @Nullable String compare(
      Workbench bench, String what, Tensor actual, MemorySegment expected) {
    return SelftestData.compare(what, SelftestData.bytes(bench, actual), expected);
  }

  private static @Nullable String combine(
      Workbench bench,
      RandomData random,
      int[] shape,
      DType dtype,
      DType to,
      boolean strided,
      boolean weighted) {
    int tokens = shape[0];
    int slots = shape[1];
    int columns = shape[2];
    int rows = tokens * slots;
    float[] y = random.preActivations(rows, columns, dtype);
    float[] shared = random.preActivations(tokens, columns, dtype);
    float[] weights = random.weights(rows);
    int[] positions = random.ids(rows, rows);
    for (int i = 3; i < rows; i += 7) {
      positions[i] = -1;
      weights[i] = Float.NaN; // it has no part in the sum
    }
    Tensor out = bench.result(to, tokens, columns);
    ExpertCombine.run(
        bench.stream(),
        SelftestData.upload(bench, y, rows, columns, dtype, strided),
        ints(bench, positions, tokens, slots),
        weighted ? bench.upload(MemorySegment.ofArray(weights), DType.F32, tokens, slots) : null,
        SelftestData.upload(bench, shared, tokens, columns, dtype, strided),
        out);
    bench.stream().synchronize();
    float[] expected =
        ExpertsReference.combine(
            y, columns, positions, weighted ? weights : null, shared, tokens, slots);
    return compare(bench, "out", out, RandomData.encode(expected, to));
  }

  private static @Nullable String noExpert(Workbench bench, RandomData random) {
    int[] indices = random.ids(60, 16);
    indices[7] = 16;
    indices[31] = Integer.MIN_VALUE;
    String difference = sort(bench, random, new int[] {10, 6, 16}, indices);
    String silent = SelftestData.reported(bench);
    return silent != null ? silent : difference;
  }

  private static @Nullable String noRow(Workbench bench, RandomData random) {
    float[] y = random.preActivations(4, 64, DType.F32);
    int[] positions = {0, 3, 4, 1, -2, Integer.MAX_VALUE};
    Tensor out = bench.result(DType.F32, 3, 64);
    ExpertCombine.run(
        bench.stream(),
        SelftestData.upload(bench, y, 4, 64, DType.F32, false),
        ints(bench, positions, 3, 2),
        null,
        null,
        out);
    String silent = SelftestData.reported(bench);
    float[] expected = ExpertsReference.combine(y, 64, positions, null, null, 3, 2);
    return silent != null ? silent : compare(bench, "out", out, MemorySegment.ofArray(expected));
  }
}
