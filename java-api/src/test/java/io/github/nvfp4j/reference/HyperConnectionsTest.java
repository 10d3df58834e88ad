// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.nvfp4j.DType;
import java.util.Arrays;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Hyper-connections against PyTorch's and a float64 computation, and what others got wrong: the
/// order of the parameters, the transpose, where eps goes.
@Tag("cpu")
class HyperConnectionsTest {
  private static final float EPS = 1e-6f;

  /// The goldens' eps is the double 1e-6, 2^-28.6 of it away: it adds a 24th to the rounding of
  /// each sum + eps, and 2^-29 of m to each logit, an eighth of a rounding.
  private static final double OF_EPS = 1.05;

  private static final double U = 0x1p-24;

  private final RandomGenerator random = Seeds.generator(HyperConnectionsTest.class);

  /// A module and its streams.
  private record Module(
      float[] x,
      float[] fn,
      float[] base,
      float[] scale,
      int tokens,
      int n,
      int columns,
      int iterations,
      DType dtype) {
    static Module of(Golden golden, int iterations) {
      return new Module(
          golden.floats("x"),
          golden.floats("fn"),
          golden.floats("base"),
          golden.floats("scale"),
          golden.shape("x", 0),
          golden.shape("x", 1),
          golden.shape("x", 2),
          iterations,
          golden.dtype("x").equals("BF16") ? DType.BF16 : DType.F32);
    }

    int mixes() {
      return n * (n + 2);
    }

    Module withX(float[] other) {
      return new Module(other, fn, base, scale, tokens, n, columns, iterations, dtype);
    }

    Module withBase(float[] other) {
      return new Module(x, fn, other, scale, tokens, n, columns, iterations, dtype);
    }

    Module withScale(float... other) {
      return new Module(x, fn, base, other, tokens, n, columns, iterations, dtype);
    }

    HyperConnectionsReference.Pre pre() {
      return HyperConnectionsReference.pre(
          x, fn, base, scale, tokens, n, columns, iterations, EPS, EPS, dtype);
    }

    HcExpectation expect() {
      return HcExpectation.pre(x, fn, base, scale, tokens, n, columns, iterations, EPS, EPS, dtype);
    }
  }

  /// Streams, `fn` of 1 / sqrt(n * D), so that m is of size 1, and `base`.
  private Module any(int tokens, int n, int columns, DType dtype) {
    int mixes = n * (n + 2);
    float[] fn = Seeds.gaussian(random, mixes * n * columns);
    for (int i = 0; i < fn.length; i++) {
      fn[i] *= (float) (1 / Math.sqrt(n * columns));
    }
    float[] x = Seeds.gaussian(random, tokens * n * columns);
    return new Module(
        dtype == DType.BF16 ? Bf16.decode(Bf16.encode(x)) : x,
        fn,
        Seeds.gaussian(random, mixes),
        new float[] {1.25f, -0.75f, 2},
        tokens,
        n,
        columns,
        20,
        dtype);
  }

  private static org.assertj.core.data.Offset<Double> within(double x) {
    return org.assertj.core.data.Offset.offset(x);
  }

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
    Module module = Module.of(golden, iterations);
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
    if (module.dtype == DType.BF16) {
      requireRounded(pre.collapsed(), collapsed, "collapsed");
      requireTorch(golden.floats("collapsed"), module, golden.doubles("pre_f64"), collapsed);
    }
  }

  private static double[] collapse(Module module, double[] pre) {
    double[] collapsed = new double[module.tokens * module.columns];
    for (int i = 0; i < collapsed.length; i++) {
      int t = i / module.columns;
      for (int j = 0; j < module.n; j++) {
        int stream = t * module.n + j;
        collapsed[i] += pre[stream] * module.x[stream * module.columns + i % module.columns];
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
  private static void requireTorch(float[] torch, Module module, double[] pre, double[] exact) {
    float[] magnitudes = module.x.clone();
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
    Module module = Module.of(golden, 1);
    float[] sub = golden.floats("sub");
    float[] post = golden.floats("post");
    float[] comb = golden.floats("comb");
    int n = module.n;
    int columns = module.columns;
    float[] out =
        HyperConnectionsReference.post(
            module.x, sub, post, comb, module.tokens, n, columns, module.dtype);
    boolean bf16 = module.dtype == DType.BF16;
    float[] torch = golden.floats(bf16 ? "out_ds_fp32mix" : "out_hf");
    double[] exact = new double[out.length];
    for (int i = 0; i < out.length; i++) {
      int t = i / columns / n;
      int k = i / columns % n;
      int d = i % columns;
      double sum = (double) post[t * n + k] * sub[t * columns + d];
      double magnitude = Math.abs(sum);
      for (int j = 0; j < n; j++) {
        double term = (double) comb[(t * n + j) * n + k] * module.x[(t * n + j) * columns + d];
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
  private static void chain(Golden golden, Module module, float[] sub) {
    int n = module.n;
    int columns = module.columns;
    Module all = Module.of(golden, n == 2 ? 3 : 20);
    HyperConnectionsReference.Pre pre = all.pre();
    HcExpectation expected = all.expect();
    float[] out =
        HyperConnectionsReference.post(
            all.x, sub, pre.post(), pre.comb(), all.tokens, n, columns, DType.F32);
    double[] tolerances = new double[out.length];
    for (int i = 0; i < out.length; i++) {
      int t = i / columns / n;
      int k = i / columns % n;
      int d = i % columns;
      int p = t * n + k;
      double off = weighted(pre.post(), expected.post(), p, n, sub[t * columns + d]);
      for (int j = 0; j < n; j++) {
        float x = all.x[(t * n + j) * columns + d];
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
    Module module = new Module(x, fn, base, scale, tokens, n, columns, 0, dtype);
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

  /// The formula once more in double, with plain loops: `[pre | post | comb]` of one token, m off
  /// by `off` of each bound.
  private static double[] model(Module module, int t, double[] off) {
    int n = module.n;
    int width = n * module.columns;
    double squares = 0;
    for (int c = 0; c < width; c++) {
      squares += Math.pow(module.x[t * width + c], 2);
    }
    double r = Math.pow(squares / width + EPS, -0.5);
    double[] z = new double[module.mixes()];
    for (int i = 0; i < z.length; i++) {
      double sum = 0;
      double magnitude = 0;
      for (int c = 0; c < width; c++) {
        sum += (double) module.fn[i * width + c] * module.x[t * width + c];
        magnitude += Math.abs((double) module.fn[i * width + c] * module.x[t * width + c]);
      }
      double m = sum * r;
      m += off[i] * (5e-8 * r * magnitude + Math.abs(m) / (1 << 22));
      z[i] = m * module.scale[i < n ? 0 : i < 2 * n ? 1 : 2] + module.base[i];
    }
    for (int i = 0; i < n; i++) {
      z[i] = 1 / (1 + Math.exp(-z[i])) + EPS;
      z[n + i] = 2 / (1 + Math.exp(-z[n + i]));
    }
    double[] comb =
        SinkhornTest.model(Arrays.copyOfRange(z, 2 * n, z.length), n, module.iterations, EPS);
    System.arraycopy(comb, 0, z, 2 * n, n * n);
    return z;
  }

  /// Every n and both types against the model; and what a device may be off in m, it may be.
  @Test
  void everySize() {
    for (int n = 1; n <= 16; n++) {
      for (DType dtype : new DType[] {DType.F32, DType.BF16}) {
        Module module = any(2, n, 24, dtype);
        HyperConnectionsReference.Pre pre = module.pre();
        HcExpectation expected = module.expect();
        assertThat(expected.collapsed().difference(pre.collapsed())).isNull();
        assertThat(expected.post().difference(pre.post())).isNull();
        assertThat(expected.comb().difference(pre.comb())).isNull();
        for (int t = 0; t < 2; t++) {
          requireModel(module, pre, expected, t);
        }
      }
    }
  }

  private void requireModel(
      Module module, HyperConnectionsReference.Pre pre, HcExpectation expected, int t) {
    int n = module.n;
    double[] exact = model(module, t, new double[module.mixes()]);
    double[] off = new double[module.mixes()];
    for (int i = 0; i < off.length; i++) {
      off[i] = random.nextBoolean() ? 1 : -1;
    }
    double[] moved = model(module, t, off);
    for (int i = 0; i < n; i++) {
      int at = t * n + i;
      assertThat(expected.post().exact()[at]).isCloseTo(exact[n + i], within(1e-13));
      requireAllowed(expected.post(), at, pre.post()[at], moved[n + i]);
    }
    for (int i = 0; i < n * n; i++) {
      int at = t * n * n + i;
      assertThat(expected.comb().exact()[at]).isCloseTo(exact[2 * n + i], within(1e-13));
      requireAllowed(expected.comb(), at, pre.comb()[at], moved[2 * n + i]);
    }
    for (int d = 0; d < module.columns; d++) {
      double sum = 0;
      double other = 0;
      for (int i = 0; i < n; i++) {
        double x = module.x[(t * n + i) * module.columns + d];
        sum += exact[i] * x;
        other += moved[i] * x;
      }
      int at = t * module.columns + d;
      assertThat(expected.collapsed().exact()[at]).isCloseTo(sum, within(1e-13 * n));
      float rounded = DequantizeReference.round((float) other, module.dtype);
      assertThat(expected.collapsed().allows(at, rounded)).as("collapsed %d", at).isTrue();
    }
  }

  private static void requireAllowed(GemmExpectation expected, int at, float actual, double moved) {
    assertThat(expected.allows(at, actual)).isTrue();
    assertThat(expected.allows(at, (float) moved)).as("%d moved to %s", at, moved).isTrue();
  }

  /// What others got wrong lies outside of what a device may write.
  @Test
  void faultsAreNotAllowed() {
    Module module = any(3, 4, 64, DType.F32);
    HcExpectation expected = module.expect();
    HyperConnectionsReference.Pre pre = module.pre();
    float[] transposed = pre.comb().clone();
    float[] eps = pre.post().clone();
    for (int t = 0; t < 3; t++) {
      for (int i = 0; i < 16; i++) {
        transposed[t * 16 + i] = pre.comb()[t * 16 + i % 4 * 4 + i / 4];
      }
    }
    for (int i = 0; i < eps.length; i++) {
      eps[i] += 2e-6f;
    }
    assertThat(expected.comb().difference(transposed)).contains("of 48 values differ");
    assertThat(expected.post().difference(eps)).startsWith("12 of 12 values differ");
    // A base of BF16 is off by 2^-9 of it.
    float[] base = Bf16.decode(Bf16.encode(module.base));
    HyperConnectionsReference.Pre rounded = module.withBase(base).pre();
    assertThat(expected.post().difference(rounded.post())).isNotNull();
    assertThat(expected.comb().difference(rounded.comb())).isNotNull();
    assertThat(expected.collapsed().difference(rounded.collapsed())).isNotNull();
    float[] shorter = pre.collapsed().clone();
    for (int i = 0; i < shorter.length; i++) {
      shorter[i] = Bf16.round(shorter[i]);
    }
    assertThat(expected.collapsed().difference(shorter)).isNotNull();
    assertThat(HcExpectation.shareRounded(expected.collapsed(), shorter, DType.F32))
        .isLessThan(0.1);
    assertThat(HcExpectation.shareRounded(expected.collapsed(), shorter, DType.BF16))
        .isGreaterThan(0.98);
  }

  /// Row 0 of the golden: r is 1000 and m 0, so base alone counts.
  @Test
  void anAllZeroToken() {
    Module module = Module.of(Golden.read("deepseek_v4/hc_n4_d64"), 20);
    HyperConnectionsReference.Pre pre = module.pre();
    for (int i = 0; i < 24; i++) {
      assertThat(pre.m()[i]).isZero();
      assertThat(pre.bound()[i]).isZero();
    }
    float[] post = new float[4];
    for (int i = 0; i < 4; i++) {
      post[i] = 2f * (1f / (1f + MathReference.exp(-module.base[4 + i])));
    }
    Bits.assertEqual(Arrays.copyOf(pre.post(), 4), post);
    Bits.assertEqual(
        Arrays.copyOf(pre.comb(), 16),
        SinkhornReference.sinkhorn(Arrays.copyOfRange(module.base, 8, 24), 1, 4, 20, EPS));
    assertThat(Arrays.copyOf(pre.collapsed(), 64)).containsOnly(0);
    // What is too small for eps to notice is multiplied with 1000.
    float[] tiny = new float[module.x.length];
    tiny[64 + 5] = 0x1p-60f; // stream 1, column 5: row i of fn at 69
    double[] m = module.withX(tiny).pre().m();
    for (int i = 0; i < 24; i++) {
      double fn = module.fn[i * 256 + 69];
      assertThat(m[i] * 0x1p60).isCloseTo(1000 * fn, within(1e-5 * Math.abs(fn)));
    }
  }

  /// One mean over all streams, of x as it is: equal values of v, apart from their sign, have r = 1
  /// / sqrt(v^2 + rmsEps).
  @Test
  void rootMeanSquare() {
    float[] x = new float[16];
    Arrays.fill(x, 0, 8, 3f);
    Arrays.fill(x, 8, 16, -3f);
    float[] fn = new float[8 * 16];
    fn[3 * 16 + 2] = 0.5f; // post[1] from stream 0
    fn[7 * 16 + 9] = 0.25f; // L[1,1] from stream 1
    HyperConnectionsReference.Pre pre =
        HyperConnectionsReference.pre(
            x, fn, new float[8], new float[3], 1, 2, 8, 1, 0.5f, 0.25f, DType.F32);
    double r = 1 / Math.sqrt(9.25);
    double[] m = {0, 0, 0, 1.5 * r, 0, 0, 0, -0.75 * r};
    for (int i = 0; i < 8; i++) {
      assertThat(pre.m()[i]).isCloseTo(m[i], within(1e-15));
      double bound = 5e-8 * Math.abs(m[i]) + Math.abs(m[i]) / 4194304;
      assertThat(pre.bound()[i]).isCloseTo(bound, within(1e-20));
    }
    // scale 0: pre = 1/2 + hcEps, post = 1, and comb of equal logits.
    assertThat(pre.collapsed()).containsOnly(0);
    assertThat(pre.post()).containsExactly(1f, 1f);
  }

  /// Rows are [pre | post | comb], comb j * n + k: a higher base in one of them moves its own
  /// output, and no other group's.
  @Test
  void orderOfParameters() {
    int n = 3;
    float[] x = pattern(24, 5, 7, -3, 1); // some of them 0
    float[] ofBase = pattern(15, 4, 9, -4, 0.125f);
    Module once = new Module(x, new float[15 * 24], ofBase, new float[3], 1, n, 8, 1, DType.F32);
    HyperConnectionsReference.Pre before = once.pre();
    for (int row = 0; row < 15; row++) {
      float[] base = once.base.clone();
      base[row] += 1;
      HyperConnectionsReference.Pre after = once.withBase(base).pre();
      boolean ofPre = row < n;
      boolean ofPost = row >= n && row < 2 * n;
      boolean ofComb = row >= 2 * n;
      assertThat(Arrays.equals(after.collapsed(), before.collapsed())).isEqualTo(!ofPre);
      assertThat(Arrays.equals(after.comb(), before.comb())).isEqualTo(!ofComb);
      for (int i = 0; i < n; i++) {
        boolean moves = ofPost && i == row - n;
        assertThat(after.post()[i] > before.post()[i]).isEqualTo(moves);
        assertThat(after.post()[i] == before.post()[i]).isEqualTo(!moves);
      }
      if (ofPre) {
        // More of stream `row`.
        for (int d = 0; d < 8; d++) {
          float moved = after.collapsed()[d] - before.collapsed()[d];
          assertThat(Math.signum(moved)).isEqualTo(Math.signum(x[row * 8 + d]));
        }
      }
      for (int i = 0; ofComb && i < n * n; i++) {
        // Softmax and one step of columns: the element grows, the rest of its row shrinks, and of
        // its column; other columns gain in their other rows.
        int at = row - 2 * n;
        boolean grows = i == at || i / n != at / n && i % n != at % n;
        assertThat(after.comb()[i] > before.comb()[i]).as("%d by %d", i, at).isEqualTo(grows);
      }
    }
  }

  /// scale is of pre, post, comb.
  @Test
  void orderOfScales() {
    Module module = any(2, 4, 16, DType.F32);
    HyperConnectionsReference.Pre before = module.pre();
    for (int group = 0; group < 3; group++) {
      float[] scale = module.scale.clone();
      scale[group] *= 2;
      HyperConnectionsReference.Pre after = module.withScale(scale).pre();
      assertThat(Arrays.equals(after.collapsed(), before.collapsed())).isEqualTo(group != 0);
      assertThat(Arrays.equals(after.post(), before.post())).isEqualTo(group != 1);
      assertThat(Arrays.equals(after.comb(), before.comb())).isEqualTo(group != 2);
    }
  }

  /// Where every sigmoid is 0, pre is eps and post 0.
  @Test
  void epsIsOfPreAndNotOfPost() {
    float[] x = {3, -5, 7, 11};
    float[] base = new float[8];
    Arrays.fill(base, 0, 4, -200);
    float[] fn = new float[8 * 4];
    float[] scale = {1, 1, 1};
    HyperConnectionsReference.Pre pre =
        HyperConnectionsReference.pre(x, fn, base, scale, 1, 2, 2, 1, EPS, EPS, DType.F32);
    assertThat(pre.post()).containsExactly(0f, 0f);
    float[] expected = {Math.fma(EPS, 7f, EPS * 3f), Math.fma(EPS, 11f, EPS * -5f)};
    Bits.assertEqual(pre.collapsed(), expected);
    float[] head =
        HyperConnectionsReference.head(
                x,
                new float[8],
                new float[] {-200, -200},
                new float[] {1},
                1,
                2,
                2,
                EPS,
                EPS,
                DType.F32)
            .collapsed();
    Bits.assertEqual(head, expected);
    // And where it is 1, post is 2, and hcEps is not rmsEps.
    Arrays.fill(base, 0, 4, 200);
    HyperConnectionsReference.Pre ones =
        HyperConnectionsReference.pre(x, fn, base, scale, 1, 2, 2, 1, 0.5f, EPS, DType.F32);
    assertThat(ones.post()).containsExactly(2f, 2f);
    assertThat(ones.collapsed()).containsExactly(15f, 9f);
  }

  /// out[k] takes column k of comb: comb[0,1] = 1 moves stream 0 to stream 1.
  @Test
  void combIsTransposed() {
    float[] out =
        HyperConnectionsReference.post(
            new float[] {2, 3, 5, 7},
            new float[] {11, 13},
            new float[] {1, 100},
            new float[] {0, 1, 0, 0},
            1,
            2,
            2,
            DType.F32);
    assertThat(out).containsExactly(11, 13, 1102, 1303);
  }

  /// Computed with exact rationals, rounded after each operation. Unfused, 3 of the 12 differ, with
  /// the module's result added last 2, with streams from the last to the first 4.
  @Test
  void everyBitOfPost() {
    float[] x = pattern(12, 5, 13, -6, 0.31f);
    float[] sub = pattern(4, 3, 7, -3, 0.77f);
    float[] post = {0.43f, 2 * 0.43f, 3 * 0.43f};
    float[] comb = pattern(9, 4, 9, 1, 0.083f);
    float[] expected = {
      -0x1.f1ffd4p0f, 0x1.2eff18p-1f, 0x1.ca7a62p0f, -0x1.54c836p-1f,
      -0x1.67acc4p1f, 0x1.1b3c6p0f, 0x1.2c6498p1f, -0x1.6d64dap-1f,
      -0x1.44191p2f, 0x1.da415cp-3f, 0x1.21844cp2f, -0x1.1358e2p1f
    };
    Bits.assertEqual(
        HyperConnectionsReference.post(x, sub, post, comb, 1, 3, 4, DType.F32), expected);
  }

  /// Unfused, one of the four differs; without eps, all.
  @Test
  void everyBitOfCollapsed() {
    float[] x = pattern(12, 5, 13, -6, 0.31f);
    float[] base = new float[15];
    System.arraycopy(new float[] {0.3f, -1.1f, 2.2f, 0.3f, -1.1f, 2.2f}, 0, base, 0, 6);
    HyperConnectionsReference.Pre pre =
        HyperConnectionsReference.pre(
            x, new float[15 * 12], base, new float[3], 1, 3, 4, 1, EPS, EPS, DType.F32);
    Bits.assertEqual(
        pre.collapsed(),
        new float[] {-0x1.3176a8p1f, 0x1.2550acp-2f, 0x1.f3ee9p0f, -0x1.513986p0f});
    Bits.assertEqual(pre.post(), new float[] {0x1.261d54p0f, 0x1.ff77ap-2f, 0x1.cced82p0f});
  }

  /// With the weight or c multiplied by s first, 2 and 4 of the 8 differ.
  @Test
  void everyBitOfNorm() {
    float[] c = pattern(8, 5, 13, -6, 0.31f);
    float[] g = pattern(8, 1, 100, 2, 0.19f);
    float[] expected = {
      -0x1.2eacbcp-1f, -0x1.2eacbcp-3f, 0x1.9390fap-1f, -0x1.f87538p-1f,
      0x1.2eacbcp-2f, 0x1.08d724p1f, -0x1.9390fap-1f, 0x1.548254p0f
    };
    Bits.assertEqual(HyperConnectionsReference.norm(c, g, 1, 8, EPS, DType.F32), expected);
  }

  private static float[] pattern(int count, int step, int modulus, int from, float scale) {
    float[] x = new float[count];
    for (int i = 0; i < count; i++) {
      x[i] = (i * step % modulus + from) * scale;
    }
    return x;
  }

  /// Rows in the middle of two numbers of their type, either of which a device may have collapsed.
  @ParameterizedTest
  @EnumSource(names = {"F32", "BF16"})
  void normOfWhatMayBeCollapsed(DType dtype) {
    float[] low = any(5, 1, 40, dtype).x;
    float[] moved = low.clone();
    double[] exact = new double[low.length];
    double[] tolerances = new double[low.length];
    for (int i = 0; i < low.length; i++) {
      float high = low[i] + Math.ulp(low[i]) * (dtype == DType.BF16 ? 0x1p16f : 1);
      exact[i] = ((double) low[i] + high) / 2;
      tolerances[i] = 1.01 * (exact[i] - low[i]);
      moved[i] = random.nextBoolean() ? high : low[i];
    }
    GemmExpectation collapsed = new GemmExpectation(low, exact, tolerances);
    assertThat(collapsed.difference(moved)).isNull();
    float[] g = Seeds.gaussian(random, 40);
    GemmExpectation expected = HcExpectation.norm(collapsed, g, 5, 40, EPS, dtype);
    requireExactNorm(expected, collapsed, g);
    Bits.assertEqual(expected.values(), norm(low, g, EPS, dtype));
    assertThat(expected.difference(expected.values())).isNull();
    assertThat(expected.difference(norm(moved, g, EPS, dtype))).isNull();
    // Without the weight, or with another eps, it is another norm.
    float[] ones = new float[40];
    Arrays.fill(ones, 1);
    assertThat(expected.difference(norm(low, ones, EPS, dtype))).isNotNull();
    assertThat(expected.difference(norm(low, g, 0.5f, dtype))).isNotNull();
  }

  private static float[] norm(float[] c, float[] g, float eps, DType dtype) {
    return HyperConnectionsReference.norm(c, g, 5, 40, eps, dtype);
  }

  private static void requireExactNorm(
      GemmExpectation expected, GemmExpectation collapsed, float[] g) {
    for (int t = 0; t < 5; t++) {
      double[] c = Arrays.copyOfRange(collapsed.exact(), t * 40, t * 40 + 40);
      double root = Math.sqrt(Arrays.stream(c).map(x -> x * x).sum() / 40 + EPS);
      for (int d = 0; d < 40; d++) {
        double y = g[d] * c[d] / root;
        assertThat(expected.exact()[t * 40 + d]).isCloseTo(y, within(1e-12 * Math.abs(y)));
      }
    }
  }

  /// Columns of comb sum to at most 1 and roundings, so that no residual grows by being mixed.
  @Test
  void mixingDoesNotGrow() {
    float[] logits = Seeds.gaussian(random, 60 * 16);
    for (int i = 0; i < logits.length; i++) {
      logits[i] *= 50;
    }
    float[] comb = SinkhornReference.sinkhorn(logits, 60, 4, 20, EPS);
    float[] x = {1, 1, 1, 1};
    for (int layer = 0; layer < 60; layer++) {
      x = mixed(x, Arrays.copyOfRange(comb, layer * 16, layer * 16 + 16));
      for (float value : x) {
        // 8 roundings in a column's sum, 4 in the mix.
        assertThat((double) value).isLessThanOrEqualTo(1 + (layer + 1) * 12.1 * U);
      }
    }
  }

  /// Rows of comb are not that close to 1: mixed with the transpose, a residual grows.
  @Test
  void mixingWithTheTransposeGrows() {
    float[] logits = {50, 0, 0, 0, 50, 0, 0, 0, 0, 0, 0, 50, 0, 0, 50, 0};
    float[] comb = SinkhornReference.sinkhorn(logits, 1, 4, 20, EPS);
    float[] transpose = new float[16];
    for (int i = 0; i < 16; i++) {
      transpose[i] = comb[i % 4 * 4 + i / 4];
    }
    float[] right = {1, 1, 1, 1};
    float[] wrong = right;
    for (int layer = 0; layer < 60; layer++) {
      right = mixed(right, comb);
      wrong = mixed(wrong, transpose);
    }
    assertThat(right[3]).isLessThan(1);
    assertThat(wrong[3]).isGreaterThan(1.7f);
  }

  /// Four streams of one column, without a module.
  private static float[] mixed(float[] x, float[] comb) {
    return HyperConnectionsReference.post(x, new float[1], new float[4], comb, 1, 4, 1, DType.F32);
  }

  @ParameterizedTest
  @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY})
  void notFinite(float bad) {
    for (DType dtype : new DType[] {DType.F32, DType.BF16}) {
      Module module = any(3, 2, 8, dtype);
      HyperConnectionsReference.Pre clean = module.pre();
      float[] x = module.x.clone();
      x[16 + 3] = bad;
      Module spoilt = module.withX(x);
      HyperConnectionsReference.Pre pre = spoilt.pre();
      requireNanToken(pre.collapsed(), clean.collapsed());
      requireNanToken(pre.post(), clean.post());
      requireNanToken(pre.comb(), clean.comb());
      HcExpectation expected = spoilt.expect();
      assertThat(expected.collapsed().difference(pre.collapsed())).isNull();
      assertThat(expected.post().difference(pre.post())).isNull();
      assertThat(expected.comb().difference(pre.comb())).isNull();
      assertThat(expected.collapsed().difference(clean.collapsed())).isNotNull();
      float[] out =
          HyperConnectionsReference.post(
              x, new float[24], clean.post(), clean.comb(), 3, 2, 8, dtype);
      for (int i = 0; i < out.length; i++) {
        boolean reached = i / 16 == 1 && i % 8 == 3;
        assertThat(Float.isFinite(out[i])).isEqualTo(!reached);
        assertThat(Float.isNaN(out[i])).isEqualTo(reached && Float.isNaN(bad));
      }
    }
  }

  /// Token 1 of 3.
  private static void requireNanToken(float[] actual, float[] clean) {
    int third = clean.length / 3;
    for (int i = 0; i < actual.length; i++) {
      if (i / third == 1) {
        assertThat(Float.floatToRawIntBits(actual[i])).isEqualTo(0x7fc00000);
      } else {
        assertThat(actual[i]).isEqualTo(clean[i]);
      }
    }
  }

  /// A logit of infinity: its sigmoid is 0 or 1, its comb NaN.
  @Test
  void infiniteLogits() {
    Module module = any(1, 2, 8, DType.F32);
    float inf = Float.POSITIVE_INFINITY;
    float[] base = {0, 0, inf, -inf, 0, 0, 0, inf};
    HyperConnectionsReference.Pre pre = module.withBase(base).pre();
    assertThat(pre.post()).containsExactly(2f, 0f);
    assertThat(Bits.of(pre.comb())).containsOnly(0x7fc00000);
    HcExpectation expected = module.withBase(base).expect();
    assertThat(expected.post().difference(pre.post())).isNull();
    assertThat(expected.comb().difference(pre.comb())).isNull();
    assertThat(expected.comb().allows(0, 0.5f)).isFalse();
    assertThat(expected.post().allows(0, 1.99f)).isFalse();
    // A sum of squares beyond F32: the bound says nothing about m.
    float[] x = module.x.clone();
    x[3] = 0x1p64f;
    assertThat(module.withX(x).pre().bound()).containsOnly(Double.POSITIVE_INFINITY);
  }

  @Test
  void headIsPreAlone() {
    Module module = any(3, 4, 24, DType.BF16);
    int width = 4 * 24;
    HyperConnectionsReference.Head head =
        HyperConnectionsReference.head(
            module.x,
            Arrays.copyOf(module.fn, 4 * width),
            Arrays.copyOf(module.base, 4),
            Arrays.copyOf(module.scale, 1),
            3,
            4,
            24,
            EPS,
            EPS,
            DType.BF16);
    HyperConnectionsReference.Pre pre = module.pre();
    Bits.assertEqual(head.collapsed(), pre.collapsed());
    for (int i = 0; i < 12; i++) {
      assertThat(head.m()[i]).isEqualTo(pre.m()[i / 4 * 24 + i % 4]);
      assertThat(head.bound()[i]).isEqualTo(pre.bound()[i / 4 * 24 + i % 4]);
    }
  }

  @Test
  void noTokens() {
    Module module = any(0, 4, 8, DType.F32);
    assertThat(module.pre().collapsed()).isEmpty();
    assertThat(module.expect().comb().values()).isEmpty();
    float[] none = new float[0];
    assertThat(HyperConnectionsReference.post(none, none, none, none, 0, 4, 8, DType.F32))
        .isEmpty();
  }

  @Test
  void wrongArguments() {
    Module m = any(1, 2, 8, DType.F32);
    float[] f = new float[3];
    requireRefused(f, m.fn, m.base, m.scale, 2, "hc_pre: x has 3 elements, expected 16");
    requireRefused(m.x, f, m.base, m.scale, 2, "hc_pre: fn has 3 elements, expected 128");
    requireRefused(m.x, m.fn, f, m.scale, 2, "hc_pre: base has 3 elements, expected 8");
    requireRefused(m.x, m.fn, m.base, m.base, 2, "hc_pre: scale has 8 elements, expected 3");
    requireRefused(m.x, m.fn, m.base, m.scale, 17, "hc_pre: n is 17, expected from 1 to 16");
    assertThatThrownBy(() ->
            HyperConnectionsReference.pre(
                m.x, m.fn, m.base, m.scale, 1, 2, 8, 0, EPS, EPS, DType.F32))
        .hasMessage("hc_pre: iterations is 0, expected 1 or more");
    assertThatThrownBy(() ->
            HyperConnectionsReference.pre(
                m.x, m.fn, m.base, m.scale, 1, 2, 8, 1, 0, EPS, DType.F32))
        .hasMessage("hc_pre: hcEps is 0.0, expected from 2^-100 to 1");
    assertThatThrownBy(() ->
            HyperConnectionsReference.head(
                m.x, m.x, new float[2], new float[1], 1, 2, 8, EPS, EPS, DType.F32))
        .hasMessage("hc_head: fn has 16 elements, expected 32");
    assertThatThrownBy(() ->
            HyperConnectionsReference.head(
                m.x, new float[32], new float[2], new float[1], 1, 2, 8, EPS, 2, DType.F32))
        .hasMessage("hc_head: rmsEps is 2.0, expected from 2^-100 to 1");
    assertThatThrownBy(() -> HyperConnectionsReference.post(m.x, f, f, f, 1, 2, 8, DType.F32))
        .hasMessage("hc_post: sub has 3 elements, expected 8");
    assertThatThrownBy(() -> HyperConnectionsReference.post(m.x, f, f, f, 1, 2, 8, DType.F16))
        .hasMessage("hc_post: dtype is F16, expected F32 or BF16");
    assertThatThrownBy(() -> HyperConnectionsReference.norm(f, f, 1, 0, EPS, DType.F32))
        .hasMessage("hc_post_pre: columns is 0, expected 1 or more");
    assertThatThrownBy(() -> HyperConnectionsReference.norm(f, m.x, 1, 3, EPS, DType.F32))
        .hasMessage("hc_post_pre: weight has 16 elements, expected 3");
  }

  private static void requireRefused(
      float[] x, float[] fn, float[] base, float[] scale, int n, String message) {
    assertThatThrownBy(() ->
            HyperConnectionsReference.pre(x, fn, base, scale, 1, n, 8, 1, EPS, EPS, DType.F32))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(message);
  }
}
