// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static io.github.nvfp4j.cli.Cli.assertSame;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.reference.Bf16;
import io.github.nvfp4j.reference.Nvfp4Matrix;
import io.github.nvfp4j.reference.RouterReference;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// The routers through `nvfp4j run`, against the goldens and the reference; the device is the
/// subclass'.
abstract class RunRoutersGoldens {
  private final String device;

  @TempDir Path directory;

  RunRoutersGoldens(String device) {
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

  private static Map<String, Cli.Tensor> golden(String name) throws IOException {
    return Cli.read(Cli.goldens().resolve("deepseek_v4/" + name + ".safetensors"));
  }

  private static Map<String, Cli.Tensor> some(Map<String, Cli.Tensor> all, String... names) {
    Map<String, Cli.Tensor> some = new LinkedHashMap<>();
    for (String name : names) {
      some.put(name, all.get(name));
    }
    return some;
  }

  private static float[] values(Cli.Tensor tensor) {
    return tensor.dtype() == SafetensorsDType.BF16
        ? Bf16.decode(tensor.data().toArray(ValueLayout.JAVA_SHORT_UNALIGNED))
        : Cli.floats(tensor);
  }

  private static int[] ints(Cli.Tensor tensor) {
    return tensor.data().toArray(ValueLayout.JAVA_INT_UNALIGNED);
  }

  /// Of scores of logits below -104 nothing is left in F32.
  private static void requireNear(Cli.Tensor exact, Cli.Tensor actual, double relative) {
    double[] expected = exact.data().toArray(ValueLayout.JAVA_DOUBLE_UNALIGNED);
    float[] weights = Cli.floats(actual);
    assertThat(actual.shape()).isEqualTo(exact.shape());
    for (int i = 0; i < weights.length; i++) {
      assertThat(Math.abs(weights[i] - expected[i]))
          .as("weight %d: %s, golden %s", i, weights[i], expected[i])
          .isLessThanOrEqualTo(1e-18 + relative * expected[i]);
    }
  }

  private static void requireLogits(RouterReference.Logits expected, Cli.Tensor actual) {
    float[] logits = Cli.floats(actual);
    assertThat(logits).hasSameSizeAs(expected.values());
    for (int i = 0; i < logits.length; i++) {
      assertThat(Math.abs(logits[i] - expected.exact()[i]))
          .as("logit %d", i)
          .isLessThanOrEqualTo(expected.bound(i));
    }
  }

  @Test
  void dense() throws IOException {
    Map<String, Cli.Tensor> golden = golden("router_dense_flash");
    Map<String, Cli.Tensor> in = some(golden, "x", "weight", "bias");
    Map<String, Cli.Tensor> out = run("router_dense", in, "scale=1.5", "logits=true");
    assertThat(out).containsOnlyKeys("indices", "weights", "logits");
    assertSame("indices", out.get("indices"), golden.get("indices"));
    requireNear(golden.get("weights_f64"), out.get("weights"), 4e-6);
    RouterReference.Logits logits =
        RouterReference.logits(values(in.get("x")), values(in.get("weight")), 24, 256, 512);
    requireLogits(logits, out.get("logits"));
    RouterReference.Choice choice =
        RouterReference.choose(
            Cli.floats(out.get("logits")), values(in.get("bias")), 24, 256, 6, 1.5f);
    assertSame("weights", out.get("weights"), Cli.Tensor.floats(choice.weights(), 24, 6));
    // The defaults: six experts, Pro's scale, no logits.
    Map<String, Cli.Tensor> defaults = run("router_dense", in);
    assertThat(defaults).containsOnlyKeys("indices", "weights");
    assertSame("indices", defaults.get("indices"), golden.get("indices"));
    assertSame(
        "the defaults",
        defaults.get("weights"),
        run("router_dense", in, "scale=2.5", "topk=6").get("weights"));
    // A gate of the same values in F32, and x in BF16.
    in.put("weight", Cli.Tensor.floats(values(golden.get("weight")), 256, 512));
    Map<String, Cli.Tensor> wide = run("router_dense", in, "scale=1.5", "logits=true");
    requireLogits(logits, wide.get("logits"));
    assertSame("indices", wide.get("indices"), golden.get("indices"));
    float[] x = values(in.get("x"));
    short[] narrow = Bf16.encode(x);
    in.put("x", Cli.Tensor.of(SafetensorsDType.BF16, MemorySegment.ofArray(narrow), 24, 512));
    Map<String, Cli.Tensor> rounded = run("router_dense", in, "topk=16", "logits=true");
    assertThat(rounded.get("indices").shape()).containsExactly(24, 16);
    requireLogits(
        RouterReference.logits(Bf16.decode(narrow), values(golden.get("weight")), 24, 256, 512),
        rounded.get("logits"));
  }

  @ParameterizedTest
  @ValueSource(strings = {"b0", "bbig", "bneg", "brand"})
  void denseEdges(String variant) throws IOException {
    Map<String, Cli.Tensor> golden = golden("router_dense_edges");
    float[] identity = new float[256];
    for (int e = 0; e < 16; e++) {
      identity[17 * e] = 1;
    }
    Map<String, Cli.Tensor> in = some(golden, "x");
    in.put("weight", Cli.Tensor.floats(identity, 16, 16));
    in.put("bias", golden.get(variant + "_bias"));
    Map<String, Cli.Tensor> out = run("router_dense", in, "topk=4", "logits=true");
    assertThat(values(out.get("logits"))).isEqualTo(values(golden.get("x")));
    assertSame("indices", out.get("indices"), golden.get(variant + "_indices_stable"));
    requireNear(golden.get(variant + "_weights_f64"), out.get("weights"), 2e-6);
  }

  @Test
  void hash() throws IOException {
    Map<String, Cli.Tensor> golden = golden("router_hash_flash");
    Map<String, Cli.Tensor> in = some(golden, "x", "weight", "tid2eid", "input_ids");
    Map<String, Cli.Tensor> out = run("router_hash", in, "scale=1.5");
    assertThat(out).containsOnlyKeys("indices", "weights");
    assertSame("indices", out.get("indices"), golden.get("indices"));
    requireNear(golden.get("weights_f64"), out.get("weights"), 4e-6);
    long[] table = Arrays.stream(ints(in.get("tid2eid"))).asLongStream().toArray();
    in.put("tid2eid", Cli.Tensor.of(SafetensorsDType.I64, MemorySegment.ofArray(table), 1024, 6));
    Map<String, Cli.Tensor> wide = run("router_hash", in, "scale=1.5");
    long[] ids = Arrays.stream(ints(in.get("input_ids"))).asLongStream().toArray();
    in.put("input_ids", Cli.Tensor.of(SafetensorsDType.I64, MemorySegment.ofArray(ids), 16));
    Map<String, Cli.Tensor> wider = run("router_hash", in, "scale=1.5");
    for (String each : out.keySet()) {
      assertSame(each, wide.get(each), out.get(each));
      assertSame(each, wider.get(each), out.get(each));
    }
  }

  @Test
  void nvfp4Gate() throws IOException {
    Map<String, Cli.Tensor> golden = golden("router_hash_flash");
    Map<String, Cli.Tensor> quantized =
        run("quantize", Map.of("input", golden.get("weight")), "global=tensor");
    Map<String, Cli.Tensor> in = some(golden, "x");
    in.put("weight_packed", quantized.get("packed"));
    in.put("weight_scale", quantized.get("scale"));
    in.put("weight_ws2", quantized.get("gs"));
    Nvfp4Matrix gate =
        new Nvfp4Matrix(
            256,
            256,
            Cli.bytes(quantized.get("packed")),
            Cli.bytes(quantized.get("scale")),
            GlobalScale.TENSOR,
            Cli.floats(quantized.get("gs")));
    RouterReference.Logits logits = RouterReference.logits(values(in.get("x")), gate, 16);
    float[] bias = new float[256];
    for (int e = 0; e < 256; e++) {
      bias[e] = e % 7 * 0.125f;
    }
    in.put("bias", Cli.Tensor.floats(bias, 256));
    Map<String, Cli.Tensor> out = run("router_dense", in, "logits=true");
    requireLogits(logits, out.get("logits"));
    RouterReference.Choice choice =
        RouterReference.choose(Cli.floats(out.get("logits")), bias, 16, 256, 6, 2.5f);
    assertThat(ints(out.get("indices"))).containsExactly(choice.indices());
    assertSame("weights", out.get("weights"), Cli.Tensor.floats(choice.weights(), 16, 6));
    // As some checkpoints have it: scales of their own type, a global scale without a shape.
    in.put(
        "weight_scale",
        Cli.Tensor.of(SafetensorsDType.F8_E4M3, quantized.get("scale").data(), 256, 16));
    in.put("weight_ws2", Cli.Tensor.of(SafetensorsDType.F32, quantized.get("gs").data()));
    Map<String, Cli.Tensor> again = run("router_dense", in, "logits=true");
    for (String each : out.keySet()) {
      assertSame(each, again.get(each), out.get(each));
    }
    in.remove("bias");
    in.put("tid2eid", golden.get("tid2eid"));
    in.put("input_ids", golden.get("input_ids"));
    Map<String, Cli.Tensor> hashed = run("router_hash", in, "scale=1.5");
    assertSame("indices", hashed.get("indices"), golden.get("indices"));
    double[] exact =
        RouterReference.weightsExact(logits.exact(), ints(golden.get("indices")), 16, 256, 6, 1.5);
    requireNear(
        Cli.Tensor.of(SafetensorsDType.F64, MemorySegment.ofArray(exact), 16, 6),
        hashed.get("weights"),
        1e-5);
  }

  @Test
  void noTokensGiveNoTokens() throws IOException {
    Map<String, Cli.Tensor> in = new LinkedHashMap<>();
    in.put("x", Cli.Tensor.floats(new float[0], 0, 3));
    in.put("weight", Cli.Tensor.floats(new float[24], 8, 3));
    in.put("bias", Cli.Tensor.floats(new float[8], 8));
    Map<String, Cli.Tensor> out = run("router_dense", in, "logits=true");
    assertThat(out.get("indices").shape()).containsExactly(0, 6);
    assertThat(out.get("indices").dtype()).isEqualTo(SafetensorsDType.I32);
    assertThat(out.get("logits").shape()).containsExactly(0, 8);
    in.remove("bias");
    in.put("tid2eid", Cli.Tensor.of(SafetensorsDType.I32, MemorySegment.ofArray(new int[4]), 2, 2));
    in.put("input_ids", Cli.Tensor.ints());
    assertThat(run("router_hash", in).get("weights").shape()).containsExactly(0, 2);
  }
}
