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
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// What `nvfp4j run` refuses of indexer_topk: exit 2 (1 where a kernel reports), one sentence, no
/// file.
class RunIndexerRejectionTest {
  @TempDir Path directory;

  private static Cli.Tensor zeros(SafetensorsDType dtype, long... shape) {
    long bytes = dtype.bits() / 8;
    for (long dimension : shape) {
      bytes *= dimension;
    }
    return Cli.Tensor.of(dtype, MemorySegment.ofArray(new byte[(int) bytes]), shape);
  }

  /// Two queries of three heads, and seven rows.
  private static Map<String, Cli.Tensor> good() {
    Map<String, Cli.Tensor> good = new LinkedHashMap<>();
    good.put("q", zeros(BF16, 2, 3, 32));
    good.put("k_comp", zeros(BF16, 7, 32));
    good.put("weights", zeros(F32, 2, 3));
    good.put("valid", zeros(I32, 2));
    return good;
  }

  private static Arguments row(String parameters, String sentence) {
    return Arguments.of(good(), parameters, "indexer_topk: " + sentence);
  }

  /// A tensor in the place of the good one; null: none.
  private static Arguments row(String name, Cli.Tensor tensor, String sentence) {
    Map<String, Cli.Tensor> tensors = good();
    if (tensor == null) {
      tensors.remove(name);
    } else {
      tensors.put(name, tensor);
    }
    return Arguments.of(tensors, "", "indexer_topk: " + sentence);
  }

  private static String text(Cli.Tensor tensor) {
    return tensor.dtype() + " " + Arrays.toString(tensor.shape());
  }

  static Stream<Arguments> refused() {
    List<Arguments> rows = new ArrayList<>();
    rows.add(row("q", null, "tensor q is missing, expected BF16 or F32 [T, H, d]"));
    for (Cli.Tensor bad : List.of(zeros(F16, 2, 3, 32), zeros(BF16, 6, 32))) {
      rows.add(row("q", bad, "tensor q is " + text(bad) + ", expected BF16 or F32 [T, H, d]"));
    }
    for (int heads : new int[] {0, 129}) {
      Cli.Tensor bad = zeros(BF16, 2, heads, 32);
      rows.add(row("q", bad, "tensor q is " + text(bad) + ", expected H from 1 to 128"));
    }
    for (int columns : new int[] {0, 24, 272}) {
      Cli.Tensor bad = zeros(BF16, 2, 3, columns);
      rows.add(
          row(
              "q",
              bad,
              "tensor q is " + text(bad) + ", expected d a multiple of 16 from 16 to 256"));
    }
    rows.add(row("k_comp", null, "tensor k_comp is missing, expected BF16 [C, 32]"));
    for (Cli.Tensor bad : List.of(zeros(F32, 7, 32), zeros(BF16, 7, 16), zeros(BF16, 7, 1, 32))) {
      rows.add(row("k_comp", bad, "tensor k_comp is " + text(bad) + ", expected BF16 [C, 32]"));
    }
    Cli.Tensor large = zeros(BF16, (1 << 20) + 1, 32);
    rows.add(row("k_comp", large, "tensor k_comp is " + text(large) + ", expected C up to 2^20"));
    for (Cli.Tensor bad : List.of(zeros(BF16, 2, 3), zeros(F32, 3, 2), zeros(F32, 6))) {
      rows.add(row("weights", bad, "tensor weights is " + text(bad) + ", expected F32 [2, 3]"));
    }
    for (Cli.Tensor bad : List.of(zeros(I64, 2), zeros(I32, 3), zeros(I32, 2, 1))) {
      rows.add(row("valid", bad, "tensor valid is " + text(bad) + ", expected I32 [2]"));
    }
    rows.add(row("topk=0", "parameter topk is 0, expected 1 to 2048"));
    rows.add(row("topk=2049", "parameter topk is 2049, expected 1 to 2048"));
    rows.add(row("topk=-1", "parameter topk is -1, expected an integer >= 0"));
    rows.add(row("scores=yes", "parameter scores is yes, expected false or true"));
    rows.add(row("k=5", "parameter k is unknown, expected topk, scores"));
    rows.add(
        row("keys", zeros(F32, 1), "tensor keys is unknown, expected q, k_comp, weights, valid"));
    return rows.stream();
  }

  @ParameterizedTest
  @MethodSource("refused")
  void refusesBadInput(Map<String, Cli.Tensor> tensors, String parameters, String sentence)
      throws IOException {
    Path in = Cli.write(directory.resolve("in.safetensors"), tensors);
    List<Object> words =
        new ArrayList<>(List.of("run", "indexer_topk", in, directory.resolve("out.safetensors")));
    if (!parameters.isEmpty()) {
      words.addAll(List.of("-p", parameters));
    }
    Cli.run(words.toArray()).failed(2, sentence);
    assertThat(Cli.files(directory)).containsExactly("in.safetensors");
  }

  /// What each row changes is good before.
  @Test
  void takesGoodInput() throws IOException {
    Path in = Cli.write(directory.resolve("in.safetensors"), good());
    Cli.run("run", "indexer_topk", in, directory.resolve("out.safetensors")).succeeded();
    assertThat(Cli.files(directory)).containsExactly("in.safetensors", "out.safetensors");
  }

  static Stream<Arguments> reported() {
    float[] weights = new float[6];
    weights[5] = Float.NaN;
    return Stream.of(
        Arguments.of("valid", Cli.Tensor.ints(7, 8), "INDEX_OUT_OF_RANGE"),
        Arguments.of("weights", Cli.Tensor.floats(weights, 2, 3), "NON_FINITE_RESULT"));
  }

  @ParameterizedTest
  @MethodSource("reported")
  void aReportedFaultIsExitOneAndWritesOnlyToKeep(String name, Cli.Tensor tensor, String cause)
      throws IOException {
    Map<String, Cli.Tensor> tensors = good();
    tensors.put("valid", Cli.Tensor.ints(7, 7));
    tensors.put(name, tensor);
    Path in = Cli.write(directory.resolve("in.safetensors"), tensors);
    Path out = directory.resolve("out.safetensors");
    assertThat(Cli.run("run", "indexer_topk", in, out).failed(1, "indexer_topk:").err())
        .contains(cause)
        .contains("row 1");
    assertThat(Cli.files(directory)).containsExactly("in.safetensors");
    Cli.run("run", "indexer_topk", in, out, "--keep", "--repeat", "3").failed(1, "indexer_topk:");
    assertThat(Cli.read(out)).containsOnlyKeys("topk_idx");
  }
}
