// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static io.github.nvfp4j.cli.Cli.assertSame;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.reference.Bf16;
import io.github.nvfp4j.reference.GemmExpectation;
import io.github.nvfp4j.reference.HcExpectation;
import io.github.nvfp4j.reference.HyperConnectionsReference;
import io.github.nvfp4j.reference.SinkhornReference;
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
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// sinkhorn and the hyper-connections through `nvfp4j run`, against the goldens and the reference;
/// the device is the subclass'.
abstract class RunHyperConnectionsGoldens {
  private static final float EPS = 1e-6f;

  private final String device;

  @TempDir Path directory;

  RunHyperConnectionsGoldens(String device) {
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

  private static float[] values(Cli.Tensor tensor) {
    return tensor.dtype() == SafetensorsDType.BF16
        ? Bf16.decode(tensor.data().toArray(ValueLayout.JAVA_SHORT_UNALIGNED))
        : Cli.floats(tensor);
  }

  private static double[] doubles(Cli.Tensor tensor) {
    return tensor.data().toArray(ValueLayout.JAVA_DOUBLE_UNALIGNED);
  }

  private static int dim(Cli.Tensor tensor, int dimension) {
    return (int) tensor.shape()[dimension];
  }

  private static void requireAllowed(String what, GemmExpectation expected, Cli.Tensor actual) {
    assertThat(expected.difference(values(actual))).as(what).isNull();
  }

  /// As near an independent result in binary64 as the bound allows. It takes eps for 1e-6, the op
  /// for the nearest F32, 2^-45 off.
  private static void requireNear(
      String what, Cli.Tensor golden, GemmExpectation expected, Cli.Tensor actual) {
    double[] exact = doubles(golden);
    float[] y = values(actual);
    assertThat(y).as(what).hasSameSizeAs(exact);
    for (int i = 0; i < y.length; i++) {
      assertThat(Math.abs(y[i] - exact[i]))
          .as("%s %d: %s, golden %s", what, i, y[i], exact[i])
          .isLessThanOrEqualTo(
              expected.tolerances()[i] + 0x1p-40 * Math.max(1, Math.abs(exact[i])));
    }
  }

  /// A golden file, of which an op reads some tensors.
  private record Golden(Map<String, Cli.Tensor> tensors) {
    static Golden read(String name) throws IOException {
      return new Golden(Cli.read(Cli.goldens().resolve("deepseek_v4/" + name + ".safetensors")));
    }

    Cli.Tensor get(String name) {
      return tensors.get(name);
    }

    Map<String, Cli.Tensor> some(String... names) {
      Map<String, Cli.Tensor> some = new LinkedHashMap<>();
      for (String name : names) {
        some.put(name, tensors.get(name));
      }
      return some;
    }

    int tokens() {
      return dim(get("x"), 0);
    }

    int n() {
      return dim(get("x"), 1);
    }

    int columns() {
      return dim(get("x"), 2);
    }

    DType dtype() {
      return DType.valueOf(get("x").dtype().name());
    }

    HcExpectation pre(float[] x, int iterations) {
      return HcExpectation.pre(
          x,
          values(get("fn")),
          values(get("base")),
          values(get("scale")),
          tokens(),
          n(),
          columns(),
          iterations,
          EPS,
          EPS,
          dtype());
    }

    float[] post() {
      return HyperConnectionsReference.post(
          values(get("x")),
          values(get("sub")),
          values(get("post")),
          values(get("comb")),
          tokens(),
          n(),
          columns(),
          dtype());
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {2, 4, 8})
  void sinkhorn(int n) throws IOException {
    Golden golden = Golden.read("sinkhorn_hc" + n);
    Cli.Tensor logits = golden.get("logits");
    int tokens = dim(logits, 0);
    float[] x = values(logits);
    double[] exact = new double[x.length];
    for (int i = 0; i < x.length; i++) {
      exact[i] = x[i];
    }
    for (int iterations : new int[] {1, 2, 5, 20}) {
      Map<String, Cli.Tensor> out =
          run("sinkhorn", golden.some("logits"), "iters=" + iterations, "eps=1e-6");
      assertThat(out).containsOnlyKeys("comb");
      assertSame(
          "comb",
          out.get("comb"),
          Cli.Tensor.floats(
              SinkhornReference.sinkhorn(x, tokens, n, iterations, EPS), tokens, n, n));
      requireNear(
          "comb",
          golden.get("comb_it" + iterations + "_f64"),
          HcExpectation.sinkhorn(exact, new double[x.length], tokens, n, iterations, EPS),
          out.get("comb"));
    }
    assertSame(
        "the defaults",
        run("sinkhorn", golden.some("logits")).get("comb"),
        run("sinkhorn", golden.some("logits"), "iters=20").get("comb"));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "hc_n4_d64",
        "hc_n4_d64_sharp",
        "hc_n4_d64_bf16",
        "hc_n2_d32_it3",
        "hc_flash_d4096"
      })
  void pre(String name) throws IOException {
    Golden golden = Golden.read(name);
    int iterations = name.endsWith("it3") ? 3 : 20;
    Map<String, Cli.Tensor> in = golden.some("x", "fn", "base", "scale");
    Map<String, Cli.Tensor> out = run("hc_pre", in, "iters=" + iterations);
    assertThat(out).containsOnlyKeys("collapsed", "post", "comb");
    HcExpectation expected = golden.pre(values(golden.get("x")), iterations);
    for (String each : List.of("collapsed", "post", "comb")) {
      assertThat(out.get(each).dtype()).isEqualTo(golden.get(each).dtype());
      assertThat(out.get(each).shape()).isEqualTo(golden.get(each).shape());
    }
    requireAllowed("collapsed", expected.collapsed(), out.get("collapsed"));
    requireNear("post", golden.get("post_f64"), expected.post(), out.get("post"));
    requireNear("comb", golden.get("comb_f64"), expected.comb(), out.get("comb"));
    if (golden.get("collapsed_f64") != null) {
      requireNear(
          "collapsed", golden.get("collapsed_f64"), expected.collapsed(), out.get("collapsed"));
    }
  }

  @Test
  void weightsOfBf16AreThoseOfF32() throws IOException {
    Golden golden = Golden.read("hc_flash_d4096");
    Map<String, Cli.Tensor> in = golden.some("x", "fn", "base", "scale");
    Map<String, Cli.Tensor> narrow = run("hc_pre", in);
    Cli.Tensor fn = golden.get("fn");
    assertThat(fn.dtype()).isEqualTo(SafetensorsDType.BF16);
    in.put("fn", Cli.Tensor.floats(values(fn), fn.shape()));
    Map<String, Cli.Tensor> wide = run("hc_pre", in);
    for (String each : narrow.keySet()) {
      assertSame(each, narrow.get(each), wide.get(each));
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "hc_n4_d64",
        "hc_n4_d64_sharp",
        "hc_n4_d64_bf16",
        "hc_n2_d32_it3",
        "hc_flash_d4096"
      })
  void post(String name) throws IOException {
    Golden golden = Golden.read(name);
    Map<String, Cli.Tensor> in = golden.some("x", "sub", "post", "comb");
    float[] expected = golden.post();
    for (String parameter : List.of("in_place=false", "in_place=true")) {
      Map<String, Cli.Tensor> out = run("hc_post", in, parameter);
      assertThat(out).containsOnlyKeys("out");
      assertThat(out.get("out").dtype()).isEqualTo(golden.get("x").dtype());
      assertThat(out.get("out").shape()).isEqualTo(golden.get("x").shape());
      assertThat(values(out.get("out"))).isEqualTo(expected);
      if (golden.dtype() == DType.BF16) {
        assertSame("out", out.get("out"), golden.get("out_ds_fp32mix"));
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"hc_n4_d64", "hc_n4_d64_bf16", "hc_flash_d4096"})
  void postPre(String name) throws IOException {
    Golden golden = Golden.read(name);
    DType dtype = golden.dtype();
    Map<String, Cli.Tensor> in = golden.some("x", "sub", "post", "comb", "fn", "base", "scale");
    HcExpectation expected = golden.pre(golden.post(), 20);
    Map<String, Cli.Tensor> plain = run("hc_post_pre", in);
    assertThat(plain).containsOnlyKeys("out", "collapsed", "post", "comb");
    assertThat(values(plain.get("out"))).isEqualTo(golden.post());
    if (dtype == DType.BF16) {
      assertSame("out", plain.get("out"), golden.get("out_ds_fp32mix"));
    }
    requireAllowed("collapsed", expected.collapsed(), plain.get("collapsed"));
    requireAllowed("post", expected.post(), plain.get("post"));
    requireAllowed("comb", expected.comb(), plain.get("comb"));

    // Normalised and quantised: what quantize makes of the row in the same file.
    float[] weight = new float[golden.columns()];
    for (int i = 0; i < weight.length; i++) {
      weight[i] = Bf16.round(0.5f + i % 7 * 0.25f);
    }
    GemmExpectation row =
        HcExpectation.norm(
            expected.collapsed(), weight, golden.tokens(), golden.columns(), EPS, dtype);
    Cli.Tensor bf16 =
        Cli.Tensor.of(
            SafetensorsDType.BF16, MemorySegment.ofArray(Bf16.encode(weight)), weight.length);
    Map<String, Cli.Tensor> former = null;
    for (Cli.Tensor norm : List.of(Cli.Tensor.floats(weight, weight.length), bf16)) {
      in.put("norm_weight", norm);
      Map<String, Cli.Tensor> out =
          run("hc_post_pre", in, "quantize=true", "rms_eps=1e-6", "hc_eps=1e-6", "iters=20");
      assertThat(out).containsOnlyKeys("out", "collapsed", "post", "comb", "packed", "scale", "gs");
      assertSame("out", out.get("out"), plain.get("out"));
      requireAllowed("post", expected.post(), out.get("post"));
      requireAllowed("comb", expected.comb(), out.get("comb"));
      requireAllowed("collapsed", row, out.get("collapsed"));
      Map<String, Cli.Tensor> codes =
          run("quantize", Map.of("input", out.get("collapsed")), "global=row");
      for (String each : List.of("packed", "scale", "gs")) {
        assertSame(each, out.get(each), codes.get(each));
      }
      if (former != null) {
        for (String each : out.keySet()) {
          assertSame(each, out.get(each), former.get(each));
        }
      }
      former = out;
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"hc_head_d64", "hc_head_flash_d4096"})
  void head(String name) throws IOException {
    Golden golden = Golden.read(name);
    Map<String, Cli.Tensor> in = golden.some("x", "hc_fn", "hc_base", "hc_scale");
    GemmExpectation expected =
        HcExpectation.head(
            values(in.get("x")),
            values(in.get("hc_fn")),
            values(in.get("hc_base")),
            values(in.get("hc_scale")),
            golden.tokens(),
            golden.n(),
            golden.columns(),
            EPS,
            EPS,
            golden.dtype());
    Map<String, Cli.Tensor> out = run("hc_head", in);
    assertThat(out).containsOnlyKeys("y");
    Cli.Tensor y = out.get("y");
    assertThat(y.dtype()).isEqualTo(golden.get("y").dtype());
    assertThat(y.shape()).isEqualTo(golden.get("y").shape());
    requireAllowed("y", expected, y);
    requireAllowed("the golden", expected, golden.get("y"));
    if (golden.get("y_f64") != null) {
      requireNear("y", golden.get("y_f64"), expected, y);
    }
    // As some checkpoints shape it.
    in.put("hc_scale", Cli.Tensor.of(SafetensorsDType.F32, in.get("hc_scale").data()));
    assertSame("y", run("hc_head", in, "hc_eps=1e-6", "rms_eps=1e-6").get("y"), y);
  }

  @Test
  void noTokensGiveNoTokens() throws IOException {
    Golden golden = Golden.read("hc_n4_d64");
    Map<String, Cli.Tensor> in = golden.some("fn", "base", "scale");
    float[] none = {};
    in.put("x", Cli.Tensor.floats(none, 0, 4, 64));
    assertThat(run("hc_pre", in).get("comb").shape()).containsExactly(0, 4, 4);
    in.put("sub", Cli.Tensor.floats(none, 0, 64));
    in.put("post", Cli.Tensor.floats(none, 0, 4));
    in.put("comb", Cli.Tensor.floats(none, 0, 4, 4));
    Map<String, Cli.Tensor> out = run("hc_post_pre", in, "quantize=true");
    assertThat(out.get("packed").shape()).containsExactly(0, 32);
    assertThat(out.get("gs").shape()).containsExactly(0);
    assertThat(out.get("out").shape()).containsExactly(0, 4, 64);
    Map<String, Cli.Tensor> logits = Map.of("logits", Cli.Tensor.floats(none, 0, 4, 4));
    assertThat(run("sinkhorn", logits).get("comb").shape()).containsExactly(0, 4, 4);
  }
}
