// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static io.github.nvfp4j.cli.Cli.assertSame;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.reference.Bf16;
import io.github.nvfp4j.reference.IndexerReference;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// indexer_topk through `nvfp4j run`, against the golden and the reference; the device is the
/// subclass'.
abstract class RunIndexerGoldens {
  private static final int HEADS = 64;
  private static final int COLUMNS = 128;

  private final String device;

  @TempDir Path directory;

  RunIndexerGoldens(String device) {
    this.device = device;
  }

  private Map<String, Cli.Tensor> run(Map<String, Cli.Tensor> inputs, String... parameters)
      throws IOException {
    Path in = Cli.write(directory.resolve("in.safetensors"), inputs);
    Path out = directory.resolve("out.safetensors");
    List<Object> words = new ArrayList<>(List.of("run", "indexer_topk", in, out));
    words.addAll(List.of("--device", device, "--repeat", 2));
    for (String parameter : parameters) {
      words.addAll(List.of("-p", parameter));
    }
    Cli.run(words.toArray()).succeeded();
    return Cli.read(out);
  }

  private static int[] ints(Cli.Tensor tensor) {
    return tensor.data().toArray(ValueLayout.JAVA_INT_UNALIGNED);
  }

  /// The golden's tensors that the op reads; its weights are F64 there, and without d^-1/2.
  private static Map<String, Cli.Tensor> inputs(Map<String, Cli.Tensor> golden) {
    double[] exact = golden.get("weights_f64").data().toArray(ValueLayout.JAVA_DOUBLE_UNALIGNED);
    float[] weights = new float[exact.length];
    for (int i = 0; i < weights.length; i++) {
      weights[i] = (float) (exact[i] / Math.sqrt(COLUMNS));
    }
    Map<String, Cli.Tensor> in = new LinkedHashMap<>();
    for (String name : List.of("q", "k_comp", "valid")) {
      in.put(name, golden.get(name));
    }
    in.put("weights", Cli.Tensor.floats(weights, golden.get("weights_f64").shape()));
    return in;
  }

  private static Map<String, Cli.Tensor> golden() throws IOException {
    return Cli.read(Cli.goldens().resolve("deepseek_v4/indexer_score.safetensors"));
  }

  @Test
  void golden16() throws IOException {
    Map<String, Cli.Tensor> golden = golden();
    Map<String, Cli.Tensor> in = inputs(golden);
    Map<String, Cli.Tensor> out = run(in, "topk=16", "scores=true");
    assertThat(out).containsOnlyKeys("topk_idx", "scores");
    assertSame("topk_idx", out.get("topk_idx"), golden.get("topk_idx"));
    int[] valid = ints(in.get("valid"));
    float[] q = Cli.floats(in.get("q"));
    float[] keys = Cli.floats(in.get("k_comp"));
    float[] weights = Cli.floats(in.get("weights"));
    double[] exact = golden.get("scores_f64").data().toArray(ValueLayout.JAVA_DOUBLE_UNALIGNED);
    double[] allowed = IndexerReference.tolerances(q, keys, weights, valid, HEADS, COLUMNS);
    float[] scores = Cli.floats(out.get("scores"));
    assertThat(out.get("scores").shape()).isEqualTo(golden.get("scores").shape());
    for (int i = 0; i < scores.length; i++) {
      if (i % 37 >= valid[i / 37]) {
        assertThat(scores[i]).isEqualTo(Float.NEGATIVE_INFINITY);
      } else {
        // Weights of the golden are not rounded: as much again as one of the roundings allowed.
        assertThat(Math.abs(scores[i] - exact[i])).isLessThanOrEqualTo(1.01 * allowed[i]);
      }
    }
    Map<String, Cli.Tensor> without = run(in, "topk=16");
    assertThat(without).containsOnlyKeys("topk_idx");
    assertSame("topk_idx", without.get("topk_idx"), out.get("topk_idx"));
  }

  @Test
  void theDefaultIs512() throws IOException {
    Map<String, Cli.Tensor> in = inputs(golden());
    Map<String, Cli.Tensor> out = run(in);
    assertThat(out.get("topk_idx").dtype()).isEqualTo(SafetensorsDType.I32);
    assertThat(out.get("topk_idx").shape()).containsExactly(5, 512);
    int[] indices = ints(out.get("topk_idx"));
    int[] valid = ints(in.get("valid"));
    for (int s = 0; s < 5; s++) {
      for (int i = 0; i < 512; i++) {
        assertThat(indices[s * 512 + i] >= 0).isEqualTo(i < valid[s]);
      }
    }
  }

  @Test
  void bf16() throws IOException {
    Map<String, Cli.Tensor> in = inputs(golden());
    float[] q = Cli.floats(in.get("q"));
    float[] keys = Cli.floats(in.get("k_comp"));
    for (int i = 0; i < q.length; i++) {
      q[i] = Bf16.round(q[i]);
    }
    for (int i = 0; i < keys.length; i++) {
      keys[i] = Bf16.round(keys[i]);
    }
    in.put("q", narrow(q, 5, HEADS, COLUMNS));
    in.put("k_comp", narrow(keys, 37, COLUMNS));
    Map<String, Cli.Tensor> out = run(in, "topk=40", "scores=true");
    int[] valid = ints(in.get("valid"));
    float[] weights = Cli.floats(in.get("weights"));
    float[] scores = Cli.floats(out.get("scores"));
    double[] exact = IndexerReference.exactScores(q, keys, weights, valid, HEADS, COLUMNS);
    double[] allowed = IndexerReference.tolerances(q, keys, weights, valid, HEADS, COLUMNS);
    for (int i = 0; i < scores.length; i++) {
      if (Double.isFinite(exact[i])) {
        assertThat(Math.abs(scores[i] - exact[i])).isLessThanOrEqualTo(allowed[i]);
      }
    }
    assertThat(ints(out.get("topk_idx")))
        .isEqualTo(IndexerReference.indices(scores, valid, 37, 40));
  }

  private static Cli.Tensor narrow(float[] values, long... shape) {
    return Cli.Tensor.of(SafetensorsDType.BF16, MemorySegment.ofArray(Bf16.encode(values)), shape);
  }

  @Test
  void noQueriesAndNoRows() throws IOException {
    float[] none = {};
    Map<String, Cli.Tensor> in = new LinkedHashMap<>();
    in.put("q", Cli.Tensor.floats(none, 0, 4, 32));
    in.put("k_comp", Cli.Tensor.floats(new float[64], 2, 32));
    in.put("weights", Cli.Tensor.floats(none, 0, 4));
    in.put("valid", Cli.Tensor.ints());
    Map<String, Cli.Tensor> out = run(in, "topk=3", "scores=true");
    assertThat(out.get("topk_idx").shape()).containsExactly(0, 3);
    assertThat(out.get("scores").shape()).containsExactly(0, 2);
    in.put("q", Cli.Tensor.floats(new float[128], 1, 4, 32));
    in.put("k_comp", Cli.Tensor.floats(none, 0, 32));
    in.put("weights", Cli.Tensor.floats(new float[4], 1, 4));
    in.put("valid", Cli.Tensor.ints(0));
    assertThat(ints(run(in, "topk=3").get("topk_idx"))).containsExactly(-1, -1, -1);
  }
}
