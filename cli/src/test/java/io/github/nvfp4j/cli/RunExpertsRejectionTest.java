// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static io.github.nvfp4j.checkpoint.SafetensorsDType.BF16;
import static io.github.nvfp4j.checkpoint.SafetensorsDType.F16;
import static io.github.nvfp4j.checkpoint.SafetensorsDType.F32;
import static io.github.nvfp4j.checkpoint.SafetensorsDType.I32;
import static io.github.nvfp4j.checkpoint.SafetensorsDType.I64;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.checkpoint.SafetensorsDType;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// What `nvfp4j run` refuses of expert_dispatch and expert_combine: exit 2 (1 where a kernel
/// reports), one sentence, no file.
class RunExpertsRejectionTest {
  private static final String DISPATCH = "expert_dispatch";
  private static final String COMBINE = "expert_combine";
  private static final String EXPERTS = "experts=8";

  @TempDir Path directory;

  private static Cli.Tensor zeros(SafetensorsDType dtype, long... shape) {
    long bytes = dtype.bits() / 8;
    for (long dimension : shape) {
      bytes *= dimension;
    }
    return Cli.Tensor.of(dtype, MemorySegment.ofArray(new byte[(int) bytes]), shape);
  }

  /// Four tokens of three choices; eight columns.
  private static Map<String, Cli.Tensor> good(String op) {
    Map<String, Cli.Tensor> good = new LinkedHashMap<>();
    good.put("weights", zeros(F32, 4, 3));
    if (op.equals(DISPATCH)) {
      good.put("indices", zeros(I32, 4, 3));
      return good;
    }
    good.put("y", zeros(BF16, 12, 8));
    good.put("positions", zeros(I32, 4, 3));
    good.put("shared", zeros(BF16, 4, 8));
    return good;
  }

  private static String parameters(String op) {
    return op.equals(DISPATCH) ? EXPERTS : "";
  }

  private static Arguments row(String op, String parameters, String sentence) {
    return Arguments.of(op, good(op), parameters, op + ": " + sentence);
  }

  /// A tensor in the place of the good one; null: none.
  private static Arguments row(
      String op, String name, Cli.@Nullable Tensor tensor, String sentence) {
    Map<String, Cli.Tensor> tensors = good(op);
    if (tensor == null) {
      tensors.remove(name);
    } else {
      tensors.put(name, tensor);
    }
    return Arguments.of(op, tensors, parameters(op), op + ": tensor " + name + " " + sentence);
  }

  private static String text(Cli.Tensor tensor) {
    return tensor.dtype() + " " + Arrays.toString(tensor.shape());
  }

  static Stream<Arguments> refused() {
    List<Arguments> rows = new ArrayList<>();
    for (String op : List.of(DISPATCH, COMBINE)) {
      String name = op.equals(DISPATCH) ? "indices" : "positions";
      rows.add(row(op, name, null, "is missing, expected I32 [T, k]"));
      for (Cli.Tensor bad : List.of(zeros(I64, 4, 3), zeros(I32, 12), zeros(F32, 4, 3))) {
        rows.add(row(op, name, bad, "is " + text(bad) + ", expected I32 [T, k]"));
      }
      for (int k : new int[] {0, 17}) {
        Cli.Tensor bad = zeros(I32, 4, k);
        rows.add(row(op, name, bad, "is " + text(bad) + ", expected k from 1 to 16"));
      }
      for (Cli.Tensor bad : List.of(zeros(BF16, 4, 3), zeros(F32, 12), zeros(F32, 4, 2))) {
        rows.add(row(op, "weights", bad, "is " + text(bad) + ", expected F32 [4, 3]"));
      }
    }
    rows.add(row(DISPATCH, "", "parameter experts is missing, expected 1 to 1024"));
    for (int experts : new int[] {0, 1025}) {
      rows.add(
          row(
              DISPATCH,
              "experts=" + experts,
              "parameter experts is " + experts + ", expected 1 to 1024"));
    }
    rows.add(row(DISPATCH, "experts=x", "parameter experts is x, expected an integer >= 0"));
    rows.add(row(DISPATCH, EXPERTS + " k=3", "parameter k is unknown, expected experts"));
    rows.add(row(DISPATCH, "rows", zeros(I32, 12), "is unknown, expected indices, weights"));

    rows.add(row(COMBINE, "y", null, "is missing, expected BF16 or F32 [R, D]"));
    for (Cli.Tensor bad : List.of(zeros(F16, 12, 8), zeros(BF16, 96))) {
      rows.add(row(COMBINE, "y", bad, "is " + text(bad) + ", expected BF16 or F32 [R, D]"));
    }
    for (Cli.Tensor bad : List.of(zeros(F32, 4, 8), zeros(BF16, 4, 9), zeros(BF16, 32))) {
      rows.add(row(COMBINE, "shared", bad, "is " + text(bad) + ", expected BF16 [4, 8]"));
    }
    rows.add(row(COMBINE, "dtype=f16", "parameter dtype is f16, expected f32 or bf16"));
    rows.add(row(COMBINE, "experts=8", "parameter experts is unknown, expected dtype"));
    rows.add(
        row(
            COMBINE,
            "offsets",
            zeros(I32, 9),
            "is unknown, expected y, positions, weights, shared"));
    return rows.stream();
  }

  @ParameterizedTest
  @MethodSource("refused")
  void isRefusedAndWritesNothing(
      String op, Map<String, Cli.Tensor> tensors, String parameters, String sentence)
      throws IOException {
    Path in = Cli.write(directory.resolve("in.safetensors"), tensors);
    Cli.run(words(op, in, parameters)).failed(2, sentence);
    assertThat(Cli.files(directory)).containsExactly("in.safetensors");
  }

  private Object[] words(String op, Path in, String parameters, Object... more) {
    List<Object> words =
        new ArrayList<>(List.of("run", op, in, directory.resolve("out.safetensors")));
    for (String parameter : parameters.split(" ")) {
      if (!parameter.isEmpty()) {
        words.addAll(List.of("-p", parameter));
      }
    }
    words.addAll(List.of(more));
    return words.toArray();
  }

  /// What each row changes is good before.
  @ParameterizedTest
  @ValueSource(strings = {DISPATCH, COMBINE})
  void takesGoodInput(String op) throws IOException {
    Path in = Cli.write(directory.resolve("in.safetensors"), good(op));
    Cli.run(words(op, in, parameters(op))).succeeded();
    assertThat(Cli.files(directory)).containsExactly("in.safetensors", "out.safetensors");
  }

  @ParameterizedTest
  @ValueSource(strings = {DISPATCH, COMBINE})
  void aReportedFaultIsExitOneAndWritesOnlyToKeep(String op) throws IOException {
    Map<String, Cli.Tensor> tensors = good(op);
    Cli.Tensor bad = Cli.Tensor.of(I32, MemorySegment.ofArray(new int[12]), 4, 3);
    bad.data().setAtIndex(ValueLayout.JAVA_INT, 5, 12);
    tensors.put(op.equals(DISPATCH) ? "indices" : "positions", bad);
    Path in = Cli.write(directory.resolve("in.safetensors"), tensors);
    assertThat(Cli.run(words(op, in, parameters(op))).failed(1, op + ":").err())
        .contains("INDEX_OUT_OF_RANGE")
        .contains("row 1, column 2");
    assertThat(Cli.files(directory)).containsExactly("in.safetensors");
    Cli.run(words(op, in, parameters(op), "--keep", "--repeat", "3")).failed(1, op + ":");
    Map<String, Cli.Tensor> out = Cli.read(directory.resolve("out.safetensors"));
    if (op.equals(DISPATCH)) {
      int[] positions = out.get("positions").data().toArray(ValueLayout.JAVA_INT_UNALIGNED);
      assertThat(positions).containsExactly(0, 1, 2, 3, 4, -1, 5, 6, 7, 8, 9, 10);
    } else {
      assertThat(out).containsOnlyKeys("out");
    }
  }
}
