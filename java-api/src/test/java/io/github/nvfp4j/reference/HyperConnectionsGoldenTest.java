// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.github.nvfp4j.DType;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// The reference of hyper-connections against the goldens: what PyTorch computed, and float64.
@Tag("cpu")
class HyperConnectionsGoldenTest {
  private static final float EPS = HcModule.EPS;

  /// The goldens' eps is the double 1e-6, 2^-28.6 of it away: it adds a 24th to the rounding of
  /// each sum + eps, and 2^-29 of m to each logit, an eighth of a rounding.
  private static final double OF_EPS = 1.05;

  private static final double U = 0x1p-24;

  private static void assertWithin(
      float[] actual, double[] exact, double[] tolerances, String what) {
    assertThat(actual).hasSameSizeAs(exact);
    for (int i = 0; i < actual.length; i++) {
      assertThat((double) actual[i])
          .as("%s %d", what, i)
          .isCloseTo(exact[i], within(OF_EPS * tolerances[i]));
    }
  }

  @ParameterizedTest
  @CsvSource({
    "hc_n4_d64, 20",
    "hc_n4_d64_sharp, 20",
    "hc_n2_d32_it3, 3",
    "hc_n4_d64_bf16, 20",
    "hc_flash_d4096, 20"
  })
  void goldens(String name, int iterations) {
    Golden golden = Golden.read("deepseek_v4/" + name);
    HcModule module = HcModule.of(golden, iterations);
    HyperConnectionsReference.Pre pre = module.pre();
    double[] mixes = golden.doubles("mixes_f64");
    for (int i = 0; i < mixes.length; i++) {
      // Half of eps's 2^-28.6, and double's roundings: bound is 5e-8 of the sum of magnitudes.
      assertThat(pre.m()[i])
          .as("m %d", i)
          .isCloseTo(mixes[i], within(0x1p-29 * Math.abs(mixes[i]) + 1e-5 * pre.bound()[i]));
    }
    HcExpectation expected = module.expect();
    assertWithin(pre.post(), golden.doubles("post_f64"), expected.post().tolerances(), "post");
    assertWithin(pre.comb(), golden.doubles("comb_f64"), expected.comb().tolerances(), "comb");
    double[] collapsed =
        golden.has("collapsed_f64")
            ? golden.doubles("collapsed_f64")
            : collapse(module, golden.doubles("pre_f64"));
    assertWithin(pre.collapsed(), collapsed, expected.collapsed().tolerances(), "collapsed");
    if (module.dtype() == DType.BF16) {
      requireRounded(pre.collapsed(), collapsed, "collapsed");
      requireTorch(golden.floats("collapsed"), module, golden.doubles("pre_f64"), collapsed);
    }
  }

  private static double[] collapse(HcModule module, double[] pre) {
    double[] collapsed = new double[module.tokens() * module.columns()];
    for (int i = 0; i < collapsed.length; i++) {
      int t = i / module.columns();
      for (int j = 0; j < module.n(); j++) {
        int stream = t * module.n() + j;
        collapsed[i] += pre[stream] * module.x()[stream * module.columns() + i % module.columns()];
      }
    }
    return collapsed;
  }

  /// The exact results, rounded, in at least 999 of 1000: errors are below 1e-6 of what is added
  /// up, and so 2^-12 of a step of BF16 unless most of it cancels.
  private static void requireRounded(float[] actual, double[] exact, String what) {
    int same = 0;
    for (int i = 0; i < actual.length; i++) {
      same += actual[i] == Bf16.round((float) exact[i]) ? 1 : 0;
    }
    assertThat(same / (double) actual.length).as(what).isGreaterThanOrEqualTo(0.999);
  }

  /// PyTorch's mixing weights come of a sum in F32 whose order is not known, so that no bound of
  /// them follows; it is held to what a device must keep, 1e-6 of what is added up.
  private static void requireTorch(float[] torch, HcModule module, double[] pre, double[] exact) {
    float[] magnitudes = module.x().clone();
    for (int i = 0; i < magnitudes.length; i++) {
      magnitudes[i] = Math.abs(magnitudes[i]);
    }
    double[] sums = collapse(module.withX(magnitudes), pre);
    for (int i = 0; i < torch.length; i++) {
      double off = 1e-6 * sums[i];
      double half = Math.ulp((float) (Math.abs(exact[i]) + off)) * 0x1p15;
      assertThat((double) torch[i]).as("torch's %d", i).isCloseTo(exact[i], within(off + half));
    }
    requireRounded(torch, exact, "torch");
  }

  /// PyTorch adds the same n + 1 products in an order of its own; each result is within n + 1
  /// roundings of the sum of magnitudes and half a unit of its type of the exact one.
  @ParameterizedTest
  @ValueSource(
      strings = {
        "hc_n4_d64",
        "hc_n4_d64_sharp",
        "hc_n2_d32_it3",
        "hc_n4_d64_bf16",
        "hc_flash_d4096"
      })
  void goldensOfPost(String name) {
    Golden golden = Golden.read("deepseek_v4/" + name);
    HcModule module = HcModule.of(golden, 1);
    float[] sub = golden.floats("sub");
    float[] post = golden.floats("post");
    float[] comb = golden.floats("comb");
    int n = module.n();
    int columns = module.columns();
    float[] out =
        HyperConnectionsReference.post(
            module.x(), sub, post, comb, module.tokens(), n, columns, module.dtype());
    boolean bf16 = module.dtype() == DType.BF16;
    float[] torch = golden.floats(bf16 ? "out_ds_fp32mix" : "out_hf");
    double[] exact = new double[out.length];
    for (int i = 0; i < out.length; i++) {
      int t = i / columns / n;
      int k = i / columns % n;
      int d = i % columns;
      double sum = (double) post[t * n + k] * sub[t * columns + d];
      double magnitude = Math.abs(sum);
      for (int j = 0; j < n; j++) {
        double term = (double) comb[(t * n + j) * n + k] * module.x()[(t * n + j) * columns + d];
        sum += term;
        magnitude += Math.abs(term);
      }
      exact[i] = sum;
      double off = (n + 1) * U * magnitude;
      double half = bf16 ? Math.ulp((float) (Math.abs(sum) + off)) * 0x1p15 : 0;
      assertThat((double) out[i]).as("out %d", i).isCloseTo(sum, within(off + half));
      assertThat((double) torch[i]).as("torch's %d", i).isCloseTo(sum, within(off + half));
    }
    if (bf16) {
      requireRounded(out, exact, "out");
      requireRounded(torch, exact, "torch");
      // Mixing in BF16, as Hugging Face's model does, is another op.
      float[] other = golden.floats("out_hf");
      int different = 0;
      for (int i = 0; i < out.length; i++) {
        different += out[i] == other[i] ? 0 : 1;
      }
      assertThat(different).isGreaterThan(out.length / 10);
    } else {
      assertThat(golden.doubles("out_f64")).hasSameSizeAs(out);
      chain(golden, module, sub);
    }
  }

  /// hc_pre, then hc_post, against the float64 chain.
  private static void chain(Golden golden, HcModule module, float[] sub) {
    int n = module.n();
    int columns = module.columns();
    HcModule all = HcModule.of(golden, n == 2 ? 3 : 20);
    HyperConnectionsReference.Pre pre = all.pre();
    HcExpectation expected = all.expect();
    float[] out =
        HyperConnectionsReference.post(
            all.x(), sub, pre.post(), pre.comb(), all.tokens(), n, columns, DType.F32);
    double[] tolerances = new double[out.length];
    for (int i = 0; i < out.length; i++) {
      int t = i / columns / n;
      int k = i / columns % n;
      int d = i % columns;
      int p = t * n + k;
      double off = weighted(pre.post(), expected.post(), p, n, sub[t * columns + d]);
      for (int j = 0; j < n; j++) {
        float x = all.x()[(t * n + j) * columns + d];
        off += weighted(pre.comb(), expected.comb(), (t * n + j) * n + k, n, x);
      }
      tolerances[i] = off;
    }
    assertWithin(out, golden.doubles("out_f64"), tolerances, "out");
  }

  /// What the error of a mixing weight and n + 1 roundings of its product make.
  private static double weighted(
      float[] weights, GemmExpectation expected, int at, int n, float x) {
    return (expected.tolerances()[at] + (n + 1) * U * weights[at]) * Math.abs(x);
  }

  @ParameterizedTest
  @ValueSource(strings = {"hc_head_d64", "hc_head_flash_d4096"})
  void goldensOfHead(String name) {
    Golden golden = Golden.read("deepseek_v4/" + name);
    boolean bf16 = golden.dtype("x").equals("BF16");
    DType dtype = bf16 ? DType.BF16 : DType.F32;
    float[] x = golden.floats("x");
    int tokens = golden.shape("x", 0);
    int n = golden.shape("x", 1);
    int columns = golden.shape("x", 2);
    float[] fn = golden.floats("hc_fn");
    float[] base = golden.floats("hc_base");
    float[] scale = golden.floats("hc_scale");
    float[] y =
        HyperConnectionsReference.head(x, fn, base, scale, tokens, n, columns, EPS, EPS, dtype)
            .collapsed();
    GemmExpectation expected =
        HcExpectation.head(x, fn, base, scale, tokens, n, columns, EPS, EPS, dtype);
    HcModule module = new HcModule(x, fn, base, scale, tokens, n, columns, 0, dtype);
    double[] exact = collapse(module, golden.doubles("pre_f64"));
    assertWithin(y, exact, expected.tolerances(), "y");
    if (bf16) {
      requireRounded(y, exact, "y");
      requireTorch(golden.floats("y"), module, golden.doubles("pre_f64"), exact);
      assertThat(HcExpectation.shareRounded(expected, y, dtype)).isGreaterThanOrEqualTo(0.999);
    } else {
      double[] golden64 = golden.doubles("y_f64");
      for (int i = 0; i < exact.length; i++) {
        assertThat(golden64[i]).isCloseTo(exact[i], within(1e-12 * (1 + Math.abs(exact[i]))));
      }
    }
  }
}
