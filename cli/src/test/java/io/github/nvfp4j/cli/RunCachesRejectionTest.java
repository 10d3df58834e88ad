// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static io.github.nvfp4j.checkpoint.SafetensorsDType.BF16;
import static io.github.nvfp4j.checkpoint.SafetensorsDType.F16;
import static io.github.nvfp4j.checkpoint.SafetensorsDType.F32;
import static io.github.nvfp4j.checkpoint.SafetensorsDType.I32;
import static io.github.nvfp4j.checkpoint.SafetensorsDType.I64;
import static io.github.nvfp4j.checkpoint.SafetensorsDType.U8;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.checkpoint.SafetensorsDType;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
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

/// What `nvfp4j run` refuses of the caches and of sample: exit 2 (1 where a kernel reports), one
/// sentence, no file.
class RunCachesRejectionTest {
  @TempDir Path directory;

  private static Cli.Tensor zeros(SafetensorsDType dtype, long... shape) {
    long bytes = dtype.bits() / 8;
    for (long dimension : shape) {
      bytes *= dimension;
    }
    return Cli.Tensor.of(dtype, MemorySegment.ofArray(new byte[(int) bytes]), shape);
  }

  private static Map<String, Cli.Tensor> good(String op) {
    Map<String, Cli.Tensor> tensors = new LinkedHashMap<>();
    if (op.equals("sample")) {
      tensors.put("logits", zeros(F32, 2, 5));
      return tensors;
    }
    boolean window = op.equals("cache_append_window");
    tensors.put("cache", zeros(BF16, 4, 6));
    tensors.put(window ? "kv" : "rows", zeros(BF16, 2, 6));
    tensors.put(window ? "position" : "length", zeros(I32, 1));
    return tensors;
  }

  /// A good call with one tensor replaced, or left out.
  private static Arguments row(
      String op, String name, Cli.@Nullable Tensor tensor, String sentence) {
    Map<String, Cli.Tensor> tensors = good(op);
    if (tensor == null) {
      tensors.remove(name);
    } else {
      tensors.put(name, tensor);
    }
    return Arguments.of(op, tensors, "", op + ": " + sentence);
  }

  private static Arguments row(String op, String parameters, String sentence) {
    return Arguments.of(op, good(op), parameters, op + ": " + sentence);
  }

  private static String text(Cli.Tensor tensor) {
    return tensor.dtype() + " " + Arrays.toString(tensor.shape());
  }

  static Stream<Arguments> refused() {
    List<Arguments> rows = new ArrayList<>();
    for (String op : List.of("cache_append_window", "cache_append")) {
      boolean window = op.equals("cache_append_window");
      String shape = window ? "[W, d]" : "[C, d]";
      String added = window ? "kv" : "rows";
      String counter = window ? "position" : "length";
      String types = "expected F32 or BF16 or F16 or U8 ";
      for (Cli.Tensor bad : List.of(zeros(I32, 4, 6), zeros(BF16, 24), zeros(BF16, 1, 4, 6))) {
        rows.add(row(op, "cache", bad, "tensor cache is " + text(bad) + ", " + types + shape));
      }
      rows.add(row(op, "cache", null, "tensor cache is missing, " + types + shape));
      rows.add(
          row(
              op,
              "cache",
              zeros(BF16, 4, 0),
              "tensor cache is BF16 [4, 0], expected 1 column or more"));
      for (Cli.Tensor bad : List.of(zeros(F16, 2, 6), zeros(BF16, 2, 5), zeros(BF16, 12))) {
        rows.add(
            row(op, added, bad, "tensor " + added + " is " + text(bad) + ", expected BF16 [T, 6]"));
      }
      rows.add(row(op, added, null, "tensor " + added + " is missing, expected BF16 [T, 6]"));
      for (Cli.Tensor bad : List.of(zeros(F32, 1), zeros(I32, 2), zeros(I64, 1, 1), zeros(U8, 1))) {
        rows.add(
            row(
                op,
                counter,
                bad,
                "tensor " + counter + " is " + text(bad) + ", expected I32 or I64 [1]"));
      }
      rows.add(
          row(op, counter, null, "tensor " + counter + " is missing, expected I32 or I64 [1]"));
      rows.add(row(op, "window=4", "parameter window is unknown, expected none"));
      rows.add(row(op, "x", zeros(F32, 1), "tensor x is unknown, expected cache, " + added + ", "));
    }
    rows.add(
        row(
            "cache_append_window",
            "cache",
            zeros(BF16, 0, 6),
            "tensor cache is BF16 [0, 6], expected 1 row or more"));

    for (Cli.Tensor bad : List.of(zeros(F16, 2, 5), zeros(F32, 10), zeros(F32, 1, 2, 5))) {
      rows.add(
          row(
              "sample",
              "logits",
              bad,
              "tensor logits is " + text(bad) + ", expected BF16 or F32 [T, V]"));
    }
    rows.add(
        row("sample", "logits", null, "tensor logits is missing, expected BF16 or F32 [T, V]"));
    rows.add(
        row(
            "sample",
            "logits",
            zeros(F32, 2, 0),
            "tensor logits is F32 [2, 0], expected 1 to 2147483647 columns"));
    for (Cli.Tensor bad : List.of(zeros(BF16, 2, 5), zeros(F32, 2, 4), zeros(F32, 10))) {
      rows.add(
          row("sample", "noise", bad, "tensor noise is " + text(bad) + ", expected F32 [2, 5]"));
    }
    for (String bad : List.of("-1", "nan", "Infinity", "warm")) {
      rows.add(
          row(
              "sample",
              "temperature=" + bad,
              "parameter temperature is " + bad + ", expected a finite number >= 0"));
    }
    for (String name : List.of("seed", "offset")) {
      for (String bad : List.of("", "x", "1.5", "18446744073709551616", "-9223372036854775809")) {
        rows.add(
            row(
                "sample",
                name + "=" + bad,
                "parameter " + name + " is " + bad + ", expected an integer of 64 bits"));
      }
    }
    rows.add(
        row("sample", "top_k=5", "parameter top_k is unknown, expected temperature, seed, offset"));
    rows.add(
        row("sample", "offset", zeros(I64, 1), "tensor offset is unknown, expected logits, noise"));
    return rows.stream();
  }

  @ParameterizedTest
  @MethodSource("refused")
  void refusesBadInput(
      String op, Map<String, Cli.Tensor> tensors, String parameters, String sentence)
      throws IOException {
    Path in = Cli.write(directory.resolve("in.safetensors"), tensors);
    List<Object> words =
        new ArrayList<>(List.of("run", op, in, directory.resolve("out.safetensors")));
    for (String parameter : parameters.split(" ")) {
      if (!parameter.isEmpty()) {
        words.addAll(List.of("-p", parameter));
      }
    }
    Cli.run(words.toArray()).failed(2, sentence);
    assertThat(Cli.files(directory)).containsExactly("in.safetensors");
  }

  /// What each row changes is good before.
  @ParameterizedTest
  @ValueSource(strings = {"cache_append_window", "cache_append", "sample"})
  void takesGoodInput(String op) throws IOException {
    Path in = Cli.write(directory.resolve("in.safetensors"), good(op));
    Cli.run("run", op, in, directory.resolve("out.safetensors")).succeeded();
    assertThat(Cli.files(directory)).containsExactly("in.safetensors", "out.safetensors");
  }

  static Stream<Arguments> reported() {
    float nan = Float.NaN;
    float low = Float.NEGATIVE_INFINITY;
    Cli.Tensor ones = Cli.Tensor.floats(new float[] {1, 1, 1, 1, 1, 1, 1, 1, 0, 1}, 2, 5);
    return Stream.of(
        Arguments.of(
            "cache_append_window", "position", Cli.Tensor.ints(-1), "", "INDEX_OUT_OF_RANGE", ""),
        Arguments.of("cache_append", "length", Cli.Tensor.ints(-1), "", "INDEX_OUT_OF_RANGE", ""),
        Arguments.of("cache_append", "length", Cli.Tensor.ints(5), "", "INDEX_OUT_OF_RANGE", ""),
        Arguments.of("cache_append", "length", Cli.Tensor.ints(3), "", "CACHE_OVERFLOW", "row 4"),
        Arguments.of(
            "sample",
            "logits",
            Cli.Tensor.floats(new float[] {0, 0, 0, 0, 0, 0, 0, 0, nan, 0}, 2, 5),
            "",
            "NON_FINITE_INPUT",
            "row 1, column 3"),
        Arguments.of(
            "sample",
            "logits",
            Cli.Tensor.floats(new float[] {0, 0, 0, 0, 0, low, low, low, low, low}, 2, 5),
            "seed=1",
            "NON_FINITE_RESULT",
            "row 1"),
        Arguments.of("sample", "noise", ones, "temperature=1", "BAD_NOISE", "row 1, column 3"));
  }

  @ParameterizedTest
  @MethodSource("reported")
  void aReportedFaultIsExitOneAndWritesOnlyToKeep(
      String op, String name, Cli.Tensor tensor, String parameter, String cause, String where)
      throws IOException {
    Map<String, Cli.Tensor> tensors = good(op);
    tensors.put(name, tensor);
    Path in = Cli.write(directory.resolve("in.safetensors"), tensors);
    Path out = directory.resolve("out.safetensors");
    List<Object> words = new ArrayList<>(List.of("run", op, in, out));
    if (!parameter.isEmpty()) {
      words.addAll(List.of("-p", parameter));
    }
    assertThat(Cli.run(words.toArray()).failed(1, op + ":").err()).contains(cause).contains(where);
    assertThat(Cli.files(directory)).containsExactly("in.safetensors");
    words.addAll(List.of("--keep", "--repeat", "3"));
    Cli.run(words.toArray()).failed(1, op + ":");
    Map<String, Cli.Tensor> kept = Cli.read(out);
    if (op.equals("sample")) {
      Cli.assertSame("token", kept.get("token"), Cli.Tensor.ints(0, -1));
    } else {
      // Nothing was written.
      Cli.assertSame("cache", kept.get("cache"), tensors.get("cache"));
      if (op.equals("cache_append")) {
        Cli.assertSame("length", kept.get("length"), tensor);
      }
    }
  }
}
