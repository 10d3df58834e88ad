// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.github.nvfp4j.DType;
import java.util.Arrays;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/// What a device may write, against a float64 model with plain loops: what may be off is allowed,
/// and what others got wrong is not.
@Tag("cpu")
class HcExpectationTest {
  private static final float EPS = HcModule.EPS;

  private final RandomGenerator random = Seeds.generator(HcExpectationTest.class);

  /// The formula once more in double, with plain loops: `[pre | post | comb]` of one token, m off
  /// by `off` of each bound.
  private static double[] model(HcModule module, int t, double[] off) {
    int n = module.n();
    int width = n * module.columns();
    double squares = 0;
    for (int c = 0; c < width; c++) {
      squares += Math.pow(module.x()[t * width + c], 2);
    }
    double r = Math.pow(squares / width + EPS, -0.5);
    double[] z = new double[module.mixes()];
    for (int i = 0; i < z.length; i++) {
      double sum = 0;
      double magnitude = 0;
      for (int c = 0; c < width; c++) {
        sum += (double) module.fn()[i * width + c] * module.x()[t * width + c];
        magnitude += Math.abs((double) module.fn()[i * width + c] * module.x()[t * width + c]);
      }
      double m = sum * r;
      m += off[i] * (5e-8 * r * magnitude + Math.abs(m) / (1 << 22));
      z[i] = m * module.scale()[i < n ? 0 : i < 2 * n ? 1 : 2] + module.base()[i];
    }
    for (int i = 0; i < n; i++) {
      z[i] = 1 / (1 + Math.exp(-z[i])) + EPS;
      z[n + i] = 2 / (1 + Math.exp(-z[n + i]));
    }
    double[] comb =
        SinkhornTest.model(Arrays.copyOfRange(z, 2 * n, z.length), n, module.iterations(), EPS);
    System.arraycopy(comb, 0, z, 2 * n, n * n);
    return z;
  }

  /// Every n and both types against the model; and what a device may be off in m, it may be.
  @Test
  void everySize() {
    for (int n = 1; n <= 16; n++) {
      for (DType dtype : new DType[] {DType.F32, DType.BF16}) {
        HcModule module = HcModule.any(random, 2, n, 24, dtype);
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
      HcModule module, HyperConnectionsReference.Pre pre, HcExpectation expected, int t) {
    int n = module.n();
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
    for (int d = 0; d < module.columns(); d++) {
      double sum = 0;
      double other = 0;
      for (int i = 0; i < n; i++) {
        double x = module.x()[(t * n + i) * module.columns() + d];
        sum += exact[i] * x;
        other += moved[i] * x;
      }
      int at = t * module.columns() + d;
      assertThat(expected.collapsed().exact()[at]).isCloseTo(sum, within(1e-13 * n));
      float rounded = DequantizeReference.round((float) other, module.dtype());
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
    HcModule module = HcModule.any(random, 3, 4, 64, DType.F32);
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
    float[] base = Bf16.decode(Bf16.encode(module.base()));
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

  /// Rows in the middle of two numbers of their type, either of which a device may have collapsed.
  @ParameterizedTest
  @EnumSource(names = {"F32", "BF16"})
  void normOfWhatMayBeCollapsed(DType dtype) {
    float[] low = HcModule.any(random, 5, 1, 40, dtype).x();
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
}
