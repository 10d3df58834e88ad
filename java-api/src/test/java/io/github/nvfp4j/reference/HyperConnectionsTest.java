// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.github.nvfp4j.DType;
import java.util.Arrays;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// What the reference of hyper-connections computes, case by case, and what others got wrong: the
/// order of the parameters, the transpose, where eps goes. (HyperConnectionsGoldenTest: PyTorch's
/// and float64's results; HcExpectationTest: what a device may write.)
@Tag("cpu")
class HyperConnectionsTest {
  private static final float EPS = HcModule.EPS;

  private static final double U = 0x1p-24;

  private final RandomGenerator random = Seeds.generator(HyperConnectionsTest.class);

  /// Row 0 of the golden: r is 1000 and m 0, so base alone counts.
  @Test
  void anAllZeroToken() {
    HcModule module = HcModule.of(Golden.read("deepseek_v4/hc_n4_d64"), 20);
    HyperConnectionsReference.Pre pre = module.pre();
    for (int i = 0; i < 24; i++) {
      assertThat(pre.m()[i]).isZero();
      assertThat(pre.bound()[i]).isZero();
    }
    float[] post = new float[4];
    for (int i = 0; i < 4; i++) {
      post[i] = 2f * (1f / (1f + MathReference.exp(-module.base()[4 + i])));
    }
    Bits.assertEqual(Arrays.copyOf(pre.post(), 4), post);
    Bits.assertEqual(
        Arrays.copyOf(pre.comb(), 16),
        SinkhornReference.sinkhorn(Arrays.copyOfRange(module.base(), 8, 24), 1, 4, 20, EPS));
    assertThat(Arrays.copyOf(pre.collapsed(), 64)).containsOnly(0);
    // What is too small for eps to notice is multiplied with 1000.
    float[] tiny = new float[module.x().length];
    tiny[64 + 5] = 0x1p-60f; // stream 1, column 5: row i of fn at 69
    double[] m = module.withX(tiny).pre().m();
    for (int i = 0; i < 24; i++) {
      double fn = module.fn()[i * 256 + 69];
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
    HcModule once =
        new HcModule(x, new float[15 * 24], ofBase, new float[3], 1, n, 8, 1, DType.F32);
    HyperConnectionsReference.Pre before = once.pre();
    for (int row = 0; row < 15; row++) {
      float[] base = once.base().clone();
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
    HcModule module = HcModule.any(random, 2, 4, 16, DType.F32);
    HyperConnectionsReference.Pre before = module.pre();
    for (int group = 0; group < 3; group++) {
      float[] scale = module.scale().clone();
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
      HcModule module = HcModule.any(random, 3, 2, 8, dtype);
      HyperConnectionsReference.Pre clean = module.pre();
      float[] x = module.x().clone();
      x[16 + 3] = bad;
      HcModule spoilt = module.withX(x);
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
    HcModule module = HcModule.any(random, 1, 2, 8, DType.F32);
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
    float[] x = module.x().clone();
    x[3] = 0x1p64f;
    assertThat(module.withX(x).pre().bound()).containsOnly(Double.POSITIVE_INFINITY);
  }

  @Test
  void headIsPreAlone() {
    HcModule module = HcModule.any(random, 3, 4, 24, DType.BF16);
    int width = 4 * 24;
    HyperConnectionsReference.Head head =
        HyperConnectionsReference.head(
            module.x(),
            Arrays.copyOf(module.fn(), 4 * width),
            Arrays.copyOf(module.base(), 4),
            Arrays.copyOf(module.scale(), 1),
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
    HcModule module = HcModule.any(random, 0, 4, 8, DType.F32);
    assertThat(module.pre().collapsed()).isEmpty();
    assertThat(module.expect().comb().values()).isEmpty();
    float[] none = new float[0];
    assertThat(HyperConnectionsReference.post(none, none, none, none, 0, 4, 8, DType.F32))
        .isEmpty();
  }

  @Test
  void wrongArguments() {
    HcModule m = HcModule.any(random, 1, 2, 8, DType.F32);
    float[] f = new float[3];
    requireRefused(f, m.fn(), m.base(), m.scale(), 2, "hc_pre: x has 3 elements, expected 16");
    requireRefused(m.x(), f, m.base(), m.scale(), 2, "hc_pre: fn has 3 elements, expected 128");
    requireRefused(m.x(), m.fn(), f, m.scale(), 2, "hc_pre: base has 3 elements, expected 8");
    requireRefused(
        m.x(), m.fn(), m.base(), m.base(), 2, "hc_pre: scale has 8 elements, expected 3");
    requireRefused(
        m.x(), m.fn(), m.base(), m.scale(), 17, "hc_pre: n is 17, expected from 1 to 16");
    assertThatThrownBy(() ->
            HyperConnectionsReference.pre(
                m.x(), m.fn(), m.base(), m.scale(), 1, 2, 8, 0, EPS, EPS, DType.F32))
        .hasMessage("hc_pre: iterations is 0, expected 1 or more");
    assertThatThrownBy(() ->
            HyperConnectionsReference.pre(
                m.x(), m.fn(), m.base(), m.scale(), 1, 2, 8, 1, 0, EPS, DType.F32))
        .hasMessage("hc_pre: hcEps is 0.0, expected from 2^-100 to 1");
    assertThatThrownBy(() ->
            HyperConnectionsReference.head(
                m.x(), m.x(), new float[2], new float[1], 1, 2, 8, EPS, EPS, DType.F32))
        .hasMessage("hc_head: fn has 16 elements, expected 32");
    assertThatThrownBy(() ->
            HyperConnectionsReference.head(
                m.x(), new float[32], new float[2], new float[1], 1, 2, 8, EPS, 2, DType.F32))
        .hasMessage("hc_head: rmsEps is 2.0, expected from 2^-100 to 1");
    assertThatThrownBy(() -> HyperConnectionsReference.post(m.x(), f, f, f, 1, 2, 8, DType.F32))
        .hasMessage("hc_post: sub has 3 elements, expected 8");
    assertThatThrownBy(() -> HyperConnectionsReference.post(m.x(), f, f, f, 1, 2, 8, DType.F16))
        .hasMessage("hc_post: dtype is F16, expected F32 or BF16");
    assertThatThrownBy(() -> HyperConnectionsReference.norm(f, f, 1, 0, EPS, DType.F32))
        .hasMessage("hc_post_pre: columns is 0, expected 1 or more");
    assertThatThrownBy(() -> HyperConnectionsReference.norm(f, m.x(), 1, 3, EPS, DType.F32))
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
