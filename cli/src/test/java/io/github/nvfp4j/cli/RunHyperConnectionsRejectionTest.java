// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static io.github.nvfp4j.checkpoint.SafetensorsDType.BF16;
import static io.github.nvfp4j.checkpoint.SafetensorsDType.F16;
import static io.github.nvfp4j.checkpoint.SafetensorsDType.F32;
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
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// What `nvfp4j run` refuses of sinkhorn and the hyper-connections: exit 2 (1 where a kernel
/// reports), one sentence, no file.
class RunHyperConnectionsRejectionTest {
  @TempDir Path directory;

  private static Cli.Tensor zeros(SafetensorsDType dtype, long... shape) {
    long bytes = dtype.bits() / 8;
    for (long dimension : shape) {
      bytes *= dimension;
    }
    return Cli.Tensor.of(dtype, MemorySegment.ofArray(new byte[(int) bytes]), shape);
  }

  /// Two tokens of four streams of eight columns.
  private static Map<String, Cli.Tensor> good(String op) {
    Map<String, Cli.Tensor> good = new LinkedHashMap<>();
    if (op.equals("sinkhorn")) {
      good.put("logits", zeros(F32, 2, 4, 4));
      return good;
    }
    good.put("x", zeros(BF16, 2, 4, 8));
    if (op.equals("hc_head")) {
      good.put("hc_fn", zeros(F32, 4, 32));
      good.put("hc_base", zeros(F32, 4));
      good.put("hc_scale", zeros(F32, 1));
      return good;
    }
    if (!op.equals("hc_pre")) {
      good.put("sub", zeros(BF16, 2, 8));
      good.put("post", zeros(F32, 2, 4));
      good.put("comb", zeros(F32, 2, 4, 4));
    }
    if (!op.equals("hc_post")) {
      good.put("fn", zeros(F32, 24, 32));
      good.put("base", zeros(F32, 24));
      good.put("scale", zeros(F32, 3));
    }
    return good;
  }

  private static Arguments row(String op, String parameters, String sentence) {
    return Arguments.of(op, good(op), parameters, op + ": " + sentence);
  }

  /// A tensor in the place of the good one; null: none.
  private static Arguments row(String op, String name, Cli.Tensor tensor, String sentence) {
    Map<String, Cli.Tensor> tensors = good(op);
    if (tensor == null) {
      tensors.remove(name);
    } else {
      tensors.put(name, tensor);
    }
    return Arguments.of(op, tensors, "", op + ": " + sentence);
  }

  static Stream<Arguments> refused() {
    List<Arguments> rows = new ArrayList<>();
    rows.add(row("sinkhorn", "logits", null, "tensor logits is missing, expected F32 [T, n, n]"));
    for (Cli.Tensor bad :
        List.of(zeros(BF16, 2, 4, 4), zeros(F32, 2, 16), zeros(F32, 2, 4, 3), zeros(F32, 16))) {
      rows.add(
          row(
              "sinkhorn",
              "logits",
              bad,
              "tensor logits is " + text(bad) + ", expected F32 [T, n, n]"));
    }
    rows.add(
        row(
            "sinkhorn",
            "logits",
            zeros(F32, 2, 17, 17),
            "tensor logits is F32 [2, 17, 17], expected n from 1 to 16"));
    rows.add(row("sinkhorn", "iters=0", "parameter iters is 0, expected 1 to 2147483647"));
    rows.add(row("sinkhorn", "iters=-1", "parameter iters is -1, expected an integer >= 0"));
    rows.add(
        row(
            "sinkhorn",
            "iters=2147483648",
            "parameter iters is 2147483648, expected 1 to 2147483647"));
    rows.add(row("sinkhorn", "eps=0", "parameter eps is 0.0, expected 2^-100 to 1"));
    rows.add(row("sinkhorn", "eps=1.5", "parameter eps is 1.5, expected 2^-100 to 1"));
    rows.add(row("sinkhorn", "eps=x", "parameter eps is x, expected a finite number >= 0"));
    rows.add(row("sinkhorn", "hc_eps=1", "parameter hc_eps is unknown, expected iters, eps"));
    rows.add(row("sinkhorn", "x", zeros(F32, 1), "tensor x is unknown, expected logits"));

    for (String op : List.of("hc_pre", "hc_post", "hc_post_pre", "hc_head")) {
      rows.add(row(op, "x", null, "tensor x is missing, expected BF16 or F32 [T, n, D]"));
      for (Cli.Tensor bad : List.of(zeros(F16, 2, 4, 8), zeros(BF16, 2, 32))) {
        rows.add(
            row(op, "x", bad, "tensor x is " + text(bad) + ", expected BF16 or F32 [T, n, D]"));
      }
      for (int n : new int[] {0, 17}) {
        rows.add(
            row(
                op,
                "x",
                zeros(BF16, 2, n, 8),
                "tensor x is BF16 [2, " + n + ", 8], expected n from 1 to 16"));
      }
      for (int columns : new int[] {0, 12, (1 << 24) + 8}) {
        int tokens = columns > 12 ? 0 : 2;
        rows.add(
            row(
                op,
                "x",
                zeros(BF16, tokens, 4, columns),
                "tensor x is BF16 ["
                    + tokens
                    + ", 4, "
                    + columns
                    + "], expected D a multiple of 8 from 8 to 2^24"));
      }
      rows.add(row(op, "limit=1", "parameter limit is unknown, expected"));
    }

    for (String op : List.of("hc_pre", "hc_post_pre")) {
      rows.add(row(op, "fn", null, "tensor fn is missing, expected BF16 or F32 [24, 32]"));
      for (Cli.Tensor bad : List.of(zeros(F16, 24, 32), zeros(F32, 4, 32), zeros(F32, 768))) {
        rows.add(
            row(op, "fn", bad, "tensor fn is " + text(bad) + ", expected BF16 or F32 [24, 32]"));
      }
      for (Cli.Tensor bad : List.of(zeros(BF16, 24), zeros(F32, 4), zeros(F32, 24, 1))) {
        rows.add(row(op, "base", bad, "tensor base is " + text(bad) + ", expected F32 [24]"));
      }
      for (Cli.Tensor bad : List.of(zeros(BF16, 3), zeros(F32, 1), zeros(F32))) {
        rows.add(row(op, "scale", bad, "tensor scale is " + text(bad) + ", expected F32 [3]"));
      }
      rows.add(row(op, "iters=0", "parameter iters is 0, expected 1 to 2147483647"));
    }
    for (String op : List.of("hc_pre", "hc_post_pre", "hc_head")) {
      rows.add(row(op, "hc_eps=2", "parameter hc_eps is 2.0, expected 2^-100 to 1"));
      rows.add(row(op, "rms_eps=0", "parameter rms_eps is 0.0, expected 2^-100 to 1"));
    }
    rows.add(
        row("hc_pre", "iterations=1", "parameter iterations is unknown, expected iters, hc_eps,"));

    for (String op : List.of("hc_post", "hc_post_pre")) {
      for (Cli.Tensor bad : List.of(zeros(F32, 2, 8), zeros(BF16, 3, 8), zeros(BF16, 16))) {
        rows.add(row(op, "sub", bad, "tensor sub is " + text(bad) + ", expected BF16 [2, 8]"));
      }
      for (Cli.Tensor bad : List.of(zeros(BF16, 2, 4), zeros(F32, 2, 3))) {
        rows.add(row(op, "post", bad, "tensor post is " + text(bad) + ", expected F32 [2, 4]"));
      }
      for (Cli.Tensor bad : List.of(zeros(BF16, 2, 4, 4), zeros(F32, 2, 16))) {
        rows.add(row(op, "comb", bad, "tensor comb is " + text(bad) + ", expected F32 [2, 4, 4]"));
      }
      rows.add(row(op, "comb", null, "tensor comb is missing, expected F32 [2, 4, 4]"));
    }
    rows.add(row("hc_post", "in_place=1", "parameter in_place is 1, expected false or true"));
    rows.add(
        row("hc_post", "fn", zeros(F32, 24, 32), "tensor fn is unknown, expected x, sub, post,"));
    rows.add(row("hc_post_pre", "in_place=true", "parameter in_place is unknown, expected iters,"));
    rows.add(row("hc_post_pre", "quantize=1", "parameter quantize is 1, expected false or true"));
    rows.add(
        row(
            "hc_post_pre",
            "quantize=true",
            "tensor x is BF16 [2, 4, 8], expected a multiple of 16 columns (quantize=true)"));
    for (Cli.Tensor bad : List.of(zeros(F16, 8), zeros(BF16, 4), zeros(F32, 1, 8))) {
      rows.add(
          row(
              "hc_post_pre",
              "norm_weight",
              bad,
              "tensor norm_weight is " + text(bad) + ", expected BF16 or F32 [8]"));
    }

    for (Cli.Tensor bad : List.of(zeros(F16, 4, 32), zeros(F32, 24, 32))) {
      rows.add(
          row(
              "hc_head",
              "hc_fn",
              bad,
              "tensor hc_fn is " + text(bad) + ", expected BF16 or F32 [4, 32]"));
    }
    rows.add(
        row("hc_head", "hc_base", zeros(F32, 24), "tensor hc_base is F32 [24], expected F32 [4]"));
    for (Cli.Tensor bad : List.of(zeros(F32, 3), zeros(BF16, 1), zeros(F32, 1, 1))) {
      rows.add(
          row(
              "hc_head",
              "hc_scale",
              bad,
              "tensor hc_scale is " + text(bad) + ", expected F32 [1]"));
    }
    rows.add(row("hc_head", "iters=20", "parameter iters is unknown, expected hc_eps, rms_eps"));
    rows.add(row("hc_head", "fn", zeros(F32, 4, 32), "tensor fn is unknown, expected x, hc_fn,"));
    return rows.stream();
  }

  private static String text(Cli.Tensor tensor) {
    return tensor.dtype() + " " + Arrays.toString(tensor.shape());
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
  @ValueSource(strings = {"sinkhorn", "hc_pre", "hc_post", "hc_head", "hc_post_pre"})
  void takesGoodInput(String op) throws IOException {
    Path in = Cli.write(directory.resolve("in.safetensors"), good(op));
    Cli.run("run", op, in, directory.resolve("out.safetensors")).succeeded();
    assertThat(Cli.files(directory)).containsExactly("in.safetensors", "out.safetensors");
  }

  static Stream<Arguments> reported() {
    Cli.Tensor logits = Cli.Tensor.floats(new float[32], 2, 4, 4);
    logits.data().setAtIndex(ValueLayout.JAVA_FLOAT, 21, Float.NaN);
    short[] x = new short[64];
    x[40] = 0x7f80; // infinity
    Cli.Tensor bad = Cli.Tensor.of(BF16, MemorySegment.ofArray(x), 2, 4, 8);
    return Stream.of(
        Arguments.of("sinkhorn", "logits", logits, "NON_FINITE_INPUT"),
        Arguments.of("hc_pre", "x", bad, "NON_FINITE_RESULT"),
        Arguments.of("hc_head", "x", bad, "NON_FINITE_RESULT"),
        Arguments.of("hc_post_pre", "x", bad, "NON_FINITE_RESULT"));
  }

  @ParameterizedTest
  @MethodSource("reported")
  void aReportedFaultIsExitOneAndWritesOnlyToKeep(
      String op, String name, Cli.Tensor tensor, String cause) throws IOException {
    Map<String, Cli.Tensor> tensors = good(op);
    tensors.put(name, tensor);
    Path in = Cli.write(directory.resolve("in.safetensors"), tensors);
    Path out = directory.resolve("out.safetensors");
    assertThat(Cli.run("run", op, in, out).failed(1, op + ":").err())
        .contains(cause)
        .contains("row 1");
    assertThat(Cli.files(directory)).containsExactly("in.safetensors");
    Cli.run("run", op, in, out, "--keep", "--repeat", "3").failed(1, op + ":");
    assertThat(Cli.read(out)).isNotEmpty();
  }
}
