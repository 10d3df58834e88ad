// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Sinkhorn against PyTorch's and a float64 computation, where it starts, and where eps goes.
@Tag("cpu")
class SinkhornTest {
  private static final float EPS = 1e-6f;

  private final RandomGenerator random = Seeds.generator(SinkhornTest.class);

  /// The goldens' eps is the double 1e-6, from which the float is 2^-28.6 of it away: that adds a
  /// 24th to each rounding of a sum + eps, and to that of the softmax + eps.
  private static final double OF_EPS = 1.05;

  /// PyTorch divides instead of multiplying with the reciprocal, and adds in order: n - 1 additions
  /// and eps in a sum, for n up to 8 at most twice log2(P), eps and the reciprocal; its exp is
  /// within one unit in the last place, ours 0.9. So its error is at most twice ours.
  private static final double OF_TORCH = 3;

  @ParameterizedTest
  @ValueSource(ints = {2, 4, 8})
  void goldens(int n) {
    Golden golden = Golden.read("deepseek_v4/sinkhorn_hc" + n);
    float[] logits = golden.floats("logits");
    for (int iterations : new int[] {1, 2, 5, 20}) {
      float[] comb = SinkhornReference.sinkhorn(logits, 10, n, iterations, EPS);
      double[] tolerances = expectation(logits, 10, n, iterations, EPS).tolerances();
      double[] exact = golden.doubles("comb_it" + iterations + "_f64");
      float[] torch = golden.floats("comb_it" + iterations);
      assertThat(exact).hasSameSizeAs(comb);
      for (int i = 0; i < comb.length; i++) {
        String what = "element " + i + " after " + iterations;
        assertThat(Math.abs(comb[i] - exact[i]))
            .as(what)
            .isLessThanOrEqualTo(OF_EPS * tolerances[i]);
        assertThat((double) Math.abs(comb[i] - torch[i]))
            .as(what)
            .isLessThanOrEqualTo(OF_TORCH * tolerances[i]);
      }
    }
  }

  private static GemmExpectation expectation(
      float[] logits, int tokens, int n, int iterations, float eps) {
    double[] exact = new double[logits.length];
    for (int i = 0; i < exact.length; i++) {
      exact[i] = logits[i];
    }
    return HcExpectation.sinkhorn(exact, new double[exact.length], tokens, n, iterations, eps);
  }

  /// The formula once more, in double and with the plainest loops.
  static double[] model(double[] logits, int n, int iterations, double eps) {
    double[] c = logits.clone();
    for (int j = 0; j < n; j++) {
      double max = Arrays.stream(logits, j * n, j * n + n).max().orElseThrow();
      double sum = Arrays.stream(logits, j * n, j * n + n).map(x -> Math.exp(x - max)).sum();
      for (int k = 0; k < n; k++) {
        c[j * n + k] = Math.exp(logits[j * n + k] - max) / sum + eps;
      }
    }
    for (int i = 0; i < iterations; i++) {
      for (int j = 0; i > 0 && j < n; j++) {
        double sum = Arrays.stream(c, j * n, j * n + n).sum();
        for (int k = 0; k < n; k++) {
          c[j * n + k] /= sum + eps;
        }
      }
      for (int k = 0; k < n; k++) {
        double sum = columnSum(c, n, k);
        for (int j = 0; j < n; j++) {
          c[j * n + k] /= sum + eps;
        }
      }
    }
    return c;
  }

  private static double columnSum(double[] c, int n, int k) {
    double sum = 0;
    for (int j = 0; j < n; j++) {
      sum += c[j * n + k];
    }
    return sum;
  }

  private static double[] doubles(float[] x) {
    double[] y = new double[x.length];
    for (int i = 0; i < y.length; i++) {
      y[i] = x[i];
    }
    return y;
  }

  private float[] logits(int n, float spread) {
    float[] logits = new float[n * n];
    for (int i = 0; i < logits.length; i++) {
      logits[i] = (random.nextFloat() * 2 - 1) * spread;
    }
    return logits;
  }

  /// Every n, flat and peaked, against the model, and column sums: C is divided by S + eps, so that
  /// a column sums to 1 - eps / (S + eps), off by roundings of log2(P) + 4 operations.
  @Test
  void everySize() {
    for (int n = 1; n <= 16; n++) {
      for (float spread : new float[] {0, 1, 10, 80}) {
        for (int iterations : new int[] {1, 2, 20}) {
          float[] logits = logits(n, spread);
          float[] comb = SinkhornReference.sinkhorn(logits, 1, n, iterations, EPS);
          double[] model = model(doubles(logits), n, iterations, EPS);
          GemmExpectation expected = expectation(logits, 1, n, iterations, EPS);
          Bits.assertEqual(comb, expected.values());
          assertThat(expected.difference(comb)).isNull();
          for (int i = 0; i < comb.length; i++) {
            assertThat(expected.exact()[i]).isCloseTo(model[i], within(1e-12));
            assertThat((double) comb[i])
                .as("n %d, spread %s, %d iterations, element %d", n, spread, iterations, i)
                .isCloseTo(model[i], within(expected.tolerances()[i]));
          }
          for (int k = 0; k < n && iterations == 20; k++) {
            assertThat(columnSum(doubles(comb), n, k)).isCloseTo(1, within(2e-6));
          }
        }
      }
    }
  }

  private static org.assertj.core.data.Offset<Double> within(double x) {
    return org.assertj.core.data.Offset.offset(x);
  }

  /// What the tolerances rest on: the derivative by each logit, against differences of the model.
  @Test
  void tolerancesAreTheDerivative() {
    double h = 1e-5;
    for (int n : new int[] {2, 3, 4, 7}) {
      float[] logits = logits(n, 4);
      double[] exact = doubles(logits);
      double[] off = new double[n * n];
      Arrays.fill(off, h);
      double[] rounding = expectation(logits, 1, n, 20, EPS).tolerances();
      double[] with = HcExpectation.sinkhorn(exact, off, 1, n, 20, EPS).tolerances();
      double[] moved = new double[n * n];
      for (int i = 0; i < n * n; i++) {
        double[] up = exact.clone();
        up[i] += h;
        double[] down = exact.clone();
        down[i] -= h;
        double[] high = model(up, n, 20, EPS);
        double[] low = model(down, n, 20, EPS);
        for (int e = 0; e < n * n; e++) {
          moved[e] += Math.abs(high[e] - low[e]) / 2;
        }
      }
      for (int e = 0; e < n * n; e++) {
        // A central difference is off by h^3, and by the model's roundings of 2^-53.
        assertThat(with[e] - rounding[e]).isCloseTo(moved[e], within(1e-12));
      }
    }
  }

  /// 9 and 25 values computed with exact rationals, rounded after each operation. Others come of a
  /// sum in order (5 and 16 of them), of divisions for reciprocals (2 and 9), of a softmax divided
  /// by its sum (2 and 13), and of one that is rounded before eps is added (0 and 2).
  @Test
  void everyBit() {
    Bits.assertEqual(
        SinkhornReference.sinkhorn(pattern(3), 1, 3, 3, EPS),
        new float[] {
          0x1.1a54d8p-6f, 0x1.03607p-1f, 0x1.035ff6p-1f,
          0x1.f72d3cp-2f, 0x1.f93edap-3f, 0x1.f93fd2p-3f,
          0x1.f72d3cp-2f, 0x1.f93edap-3f, 0x1.f93fd2p-3f
        });
    Bits.assertEqual(
        SinkhornReference.sinkhorn(pattern(5), 1, 5, 2, EPS),
        new float[] {
          0x1.5bcda8p-6f, 0x1.00348ep-2f, 0x1.904e9p-5f, 0x1.1e7158p-1f, 0x1.cdb5bap-4f,
          0x1.86de98p-5f, 0x1.1ff0acp-1f, 0x1.c1e2e4p-4f, 0x1.5fdc64p-6f, 0x1.03730cp-2f,
          0x1.af314p-4f, 0x1.5b322cp-6f, 0x1.f04d48p-3f, 0x1.84284p-5f, 0x1.1e37dp-1f,
          0x1.005f72p-2f, 0x1.9cd99p-5f, 0x1.271628p-1f, 0x1.cd91b8p-4f, 0x1.7400cep-6f,
          0x1.269da4p-1f, 0x1.da6dfap-4f, 0x1.72a408p-6f, 0x1.0935d2p-2f, 0x1.ab7cdcp-5f
        });
  }

  private static float[] pattern(int n) {
    float[] logits = new float[n * n];
    for (int i = 0; i < logits.length; i++) {
      logits[i] = (i * 7 % 11 - 5) * 0.37f;
    }
    return logits;
  }

  /// Softmax of rows, then columns: from [0, ln 3; 0, 0] come [1/4, 3/4; 1/2, 1/2] and [1/3, 3/5;
  /// 2/3, 2/5]. Without the softmax it would be [1/2, 3/4; 1/2, 1/4], with one of columns [1/2,
  /// 3/4; 1/2, 1/4] too; rows and columns exchanged, the transpose of another.
  @Test
  void startsWithTheSoftmaxOfRows() {
    float[] comb =
        SinkhornReference.sinkhorn(new float[] {0, (float) Math.log(3), 0, 0}, 1, 2, 1, 0x1p-100f);
    double[] expected = {1 / 3d, 3 / 5d, 2 / 3d, 2 / 5d};
    for (int i = 0; i < 4; i++) {
      // The logit's rounding, 2^-24 of 1.1 through a slope below 1, and 8 operations.
      assertThat((double) comb[i]).isCloseTo(expected[i], within(10 * 0x1p-24));
    }
  }

  /// A logit that exp cannot hold, and one so low that it vanishes.
  @Test
  void hugeLogits() {
    float[] shifted = pattern(4);
    float[] logits = shifted.clone();
    for (int i = 0; i < 16; i++) {
      logits[i] = Math.round(logits[i] * 64) / 64f;
      shifted[i] = logits[i] + 4096;
    }
    Bits.assertEqual(
        SinkhornReference.sinkhorn(shifted, 1, 4, 20, EPS),
        SinkhornReference.sinkhorn(logits, 1, 4, 20, EPS));
    float max = Float.MAX_VALUE;
    float[] far = {max, -max, -max, max};
    double[] model = model(new double[] {200, 0, 0, 200}, 2, 20, EPS);
    GemmExpectation expected = expectation(far, 1, 2, 20, EPS);
    for (int i = 0; i < 4; i++) {
      assertThat(expected.exact()[i]).isCloseTo(model[i], within(1e-15));
    }
    assertThat(expected.difference(SinkhornReference.sinkhorn(far, 1, 2, 20, EPS))).isNull();
  }

  /// All rows choose column 0. The other columns hold eps each, and eps is added to their sums:
  /// they sum to n / (n + 1). Without the softmax's eps that would be 0, without the sum's 1.
  @Test
  void emptyColumnsPinBothEps() {
    for (int n = 2; n <= 16; n++) {
      float[] logits = new float[n * n];
      for (int j = 0; j < n; j++) {
        logits[j * n] = 200;
      }
      double[] comb = doubles(SinkhornReference.sinkhorn(logits, 1, n, 1, EPS));
      for (int k = 1; k < n; k++) {
        assertThat(columnSum(comb, n, k)).isCloseTo(n / (n + 1d), within(0x1p-20));
      }
      assertThat(columnSum(comb, n, 0)).isCloseTo(1, within(1e-6));
      // One iteration is columns only: no rows between the softmax and them.
      assertThat(comb[0]).isCloseTo(1d / n, within(1e-6));
    }
  }

  /// The eps of later sums: with a large one, each step counts.
  @Test
  void epsInEachStep() {
    float[] comb = SinkhornReference.sinkhorn(new float[] {0, 0, 0, 0}, 1, 2, 2, 0.5f);
    // softmax + eps: 1; columns: 1 / 2.5; rows: 0.4 / 1.3; columns: 4/13 / (8/13 + 1/2) = 8/29
    for (float c : comb) {
      assertThat((double) c).isCloseTo(8 / 29d, within(8 * 0x1p-24));
    }
    assertThat(SinkhornReference.sinkhorn(new float[] {7}, 1, 1, 1, 0.5f)).containsExactly(0.75f);
  }

  @Test
  void tokensAreApartAndIterationsEnd() {
    float[] logits = Seeds.gaussian(random, 5 * 9);
    float[] all = SinkhornReference.sinkhorn(logits, 5, 3, 4, EPS);
    for (int t = 0; t < 5; t++) {
      float[] one = Arrays.copyOfRange(logits, t * 9, t * 9 + 9);
      Bits.assertEqual(
          SinkhornReference.sinkhorn(one, 1, 3, 4, EPS), Arrays.copyOfRange(all, t * 9, t * 9 + 9));
    }
    assertThat(SinkhornReference.sinkhorn(new float[0], 0, 3, 4, EPS)).isEmpty();
  }

  @Test
  void notFinite() {
    for (float bad : new float[] {Float.NaN, 1 / 0f, -1 / 0f, Float.intBitsToFloat(0xffc12345)}) {
      float[] logits = new float[3 * 4];
      logits[6] = bad;
      int[] bits = Bits.of(SinkhornReference.sinkhorn(logits, 3, 2, 3, EPS));
      for (int i = 0; i < 12; i++) {
        assertThat(bits[i] == 0x7fc00000).as("element %d", i).isEqualTo(i / 4 == 1);
      }
    }
  }

  @Test
  void wrongArguments() {
    float[] x = new float[8];
    assertThatThrownBy(() -> SinkhornReference.sinkhorn(x, 3, 2, 1, EPS))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("sinkhorn: logits has 8 elements, expected 12");
    assertThatThrownBy(() -> SinkhornReference.sinkhorn(x, -1, 2, 1, EPS))
        .hasMessage("sinkhorn: tokens is -1, expected 0 or more");
    for (int n : new int[] {0, 17}) {
      assertThatThrownBy(() -> SinkhornReference.sinkhorn(x, 2, n, 1, EPS))
          .hasMessage("sinkhorn: n is " + n + ", expected from 1 to 16");
    }
    assertThatThrownBy(() -> SinkhornReference.sinkhorn(x, 2, 2, 0, EPS))
        .hasMessage("sinkhorn: iterations is 0, expected 1 or more");
    for (float eps : new float[] {0, -1, 0x1p-101f, 1.5f, Float.NaN}) {
      assertThatThrownBy(() -> SinkhornReference.sinkhorn(x, 2, 2, 1, eps))
          .hasMessage("sinkhorn: eps is " + eps + ", expected from 2^-100 to 1");
    }
  }
}
