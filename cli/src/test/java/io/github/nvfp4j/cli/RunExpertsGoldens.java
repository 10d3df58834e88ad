// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static io.github.nvfp4j.cli.Cli.assertSame;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.reference.ExpertsReference;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// expert_dispatch and expert_combine through `nvfp4j run`, on the choices of the routers' goldens,
/// against the reference; the device is the subclass'.
abstract class RunExpertsGoldens {
  private static final int COLUMNS = 40;

  private final String device;

  @TempDir Path directory;

  RunExpertsGoldens(String device) {
    this.device = device;
  }

  private Map<String, Cli.Tensor> run(
      String op, Map<String, Cli.Tensor> inputs, String... parameters) throws IOException {
    Path in = Cli.write(directory.resolve("in.safetensors"), inputs);
    Path out = directory.resolve("out.safetensors");
    List<Object> words = new ArrayList<>(List.of("run", op, in, out, "--device", device));
    words.addAll(List.of("--repeat", 2));
    for (String parameter : parameters) {
      words.addAll(List.of("-p", parameter));
    }
    Cli.run(words.toArray()).succeeded();
    return Cli.read(out);
  }

  private static int[] ints(Cli.Tensor tensor) {
    return tensor.data().toArray(ValueLayout.JAVA_INT_UNALIGNED);
  }

  private static Cli.Tensor ints(int[] values, long... shape) {
    return Cli.Tensor.of(SafetensorsDType.I32, MemorySegment.ofArray(values), shape);
  }

  private static Cli.Tensor floats(float[] values, DType dtype, long... shape) {
    return Cli.Tensor.of(
        SafetensorsDType.valueOf(dtype.name()), RandomData.encode(values, dtype), shape);
  }

  /// The choices of a golden, with their weights.
  private record Choices(Cli.Tensor indices, Cli.Tensor weights) {
    static Choices read(String golden) throws IOException {
      Map<String, Cli.Tensor> tensors =
          Cli.read(Cli.goldens().resolve("deepseek_v4/" + golden + ".safetensors"));
      return new Choices(tensors.get("indices"), tensors.get("weights"));
    }

    int tokens() {
      return (int) indices.shape()[0];
    }

    int slots() {
      return (int) indices.shape()[1];
    }

    ExpertsReference.Dispatch sorted() {
      return ExpertsReference.dispatch(ints(indices), Cli.floats(weights), tokens(), slots(), 256);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"router_dense_flash", "router_hash_flash"})
  void dispatch(String golden) throws IOException {
    Choices choices = Choices.read(golden);
    ExpertsReference.Dispatch expected = choices.sorted();
    Map<String, Cli.Tensor> inputs = new LinkedHashMap<>();
    inputs.put("indices", choices.indices);
    Map<String, Cli.Tensor> plain = run("expert_dispatch", inputs, "experts=256");
    assertThat(plain).containsOnlyKeys("offsets", "rows", "positions");
    inputs.put("weights", choices.weights);
    Map<String, Cli.Tensor> weighted = run("expert_dispatch", inputs, "experts=256");
    assertThat(weighted).containsOnlyKeys("offsets", "rows", "positions", "row_weights");
    int rows = choices.tokens() * choices.slots();
    for (Map<String, Cli.Tensor> out : List.of(plain, weighted)) {
      assertSame("offsets", out.get("offsets"), ints(expected.offsets(), 257));
      assertSame("rows", out.get("rows"), ints(expected.rows(), rows));
      assertSame(
          "positions",
          out.get("positions"),
          ints(expected.positions(), choices.tokens(), choices.slots()));
    }
    assertSame(
        "row_weights", weighted.get("row_weights"), Cli.Tensor.floats(expected.rowWeights(), rows));
    // Every expert's rows are tokens that chose it.
    int[] indices = ints(choices.indices);
    for (int e = 0; e < 256; e++) {
      for (int p = expected.offsets()[e]; p < expected.offsets()[e + 1]; p++) {
        int first = expected.rows()[p] * choices.slots();
        assertThat(Arrays.copyOfRange(indices, first, first + choices.slots())).contains(e);
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"router_dense_flash", "router_hash_flash"})
  void combine(String golden) throws IOException {
    Choices choices = Choices.read(golden);
    int tokens = choices.tokens();
    int slots = choices.slots();
    int rows = tokens * slots;
    int[] positions = choices.sorted().positions();
    RandomData random = new RandomData(new SplittableRandom(20261130));
    for (DType dtype : List.of(DType.BF16, DType.F32)) {
      float[] y = random.preActivations(rows, COLUMNS, dtype);
      float[] shared = random.preActivations(tokens, COLUMNS, dtype);
      Map<String, Cli.Tensor> inputs = new LinkedHashMap<>();
      inputs.put("y", floats(y, dtype, rows, COLUMNS));
      inputs.put("positions", ints(positions, tokens, slots));
      float[] sum = ExpertsReference.combine(y, COLUMNS, positions, null, null, tokens, slots);
      assertSame(
          "plain", run("expert_combine", inputs).get("out"), floats(sum, dtype, tokens, COLUMNS));
      inputs.put("weights", choices.weights);
      inputs.put("shared", floats(shared, dtype, tokens, COLUMNS));
      sum =
          ExpertsReference.combine(
              y, COLUMNS, positions, Cli.floats(choices.weights), shared, tokens, slots);
      for (DType to : List.of(DType.BF16, DType.F32)) {
        String parameter = to == DType.F32 ? "dtype=f32" : "dtype=bf16";
        Map<String, Cli.Tensor> out = run("expert_combine", inputs, parameter);
        assertThat(out).containsOnlyKeys("out");
        assertSame("out", out.get("out"), floats(sum, to, tokens, COLUMNS));
      }
    }
  }

  @Test
  void noTokens() throws IOException {
    Map<String, Cli.Tensor> out =
        run("expert_dispatch", Map.of("indices", ints(new int[0], 0, 6)), "experts=4");
    assertSame("offsets", out.get("offsets"), ints(new int[5], 5));
    assertThat(out.get("rows").shape()).containsExactly(0);
    assertThat(out.get("positions").shape()).containsExactly(0, 6);
    out =
        run(
            "expert_combine",
            Map.of(
                "y", floats(new float[0], DType.BF16, 0, 8), "positions", ints(new int[0], 0, 6)));
    assertThat(out.get("out").shape()).containsExactly(0, 8);
  }
}
