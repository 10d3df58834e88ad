// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.github.nvfp4j.GlobalScale;
import java.math.BigDecimal;
import java.util.Arrays;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// The routers against PyTorch's and a float64 computation, and where they are easily wrong.
@Tag("cpu")
class RouterTest {
  private final RandomGenerator random = Seeds.generator(RouterTest.class);

  /// What is far below 1e-20 in F32 as in float64: scores of logits below -104 are 0 in F32.
  private static final double VANISHED = 1e-18;

  private static void assertNear(float[] weights, double[] exact, double relative, String what) {
    assertThat(weights).hasSameSizeAs(exact);
    for (int i = 0; i < exact.length; i++) {
      assertThat((double) weights[i])
          .as("%s %d", what, i)
          .isCloseTo(exact[i], within(VANISHED + relative * exact[i]));
    }
  }

  @Test
  void goldensOfTheDenseRouter() {
    Golden golden = Golden.read("deepseek_v4/router_dense_flash");
    float[] x = golden.floats("x");
    float[] bias = golden.floats("bias");
    RouterReference.Logits logits =
        RouterReference.logits(x, golden.floats("weight"), 24, 256, 512);
    float[] torch = golden.floats("logits");
    for (int i = 0; i < torch.length; i++) {
      assertThat((double) torch[i]).isCloseTo(logits.exact()[i], within(logits.bound(i)));
      assertThat((double) logits.values()[i])
          .isCloseTo(logits.exact()[i], within(0x1p-24 * Math.abs(logits.exact()[i])));
    }
    RouterReference.Choice choice = RouterReference.choose(logits.values(), bias, 24, 256, 6, 1.5f);
    assertThat(choice.indices()).containsExactly(golden.ints("indices"));
    assertThat(choice.indices()).containsExactly(golden.ints("indices_f64"));
    double[] exact =
        RouterReference.weightsExact(logits.exact(), choice.indices(), 24, 256, 6, 1.5);
    double[] golden64 = golden.doubles("weights_f64");
    for (int i = 0; i < exact.length; i++) {
      assertThat(exact[i]).isCloseTo(golden64[i], within(1e-12));
    }
    assertNear(choice.weights(), golden64, 2e-6, "weight");
    assertNear(golden.floats("weights"), golden64, 2e-6, "torch's weight");
    double[] gaps = golden.doubles("topk_gap_f64");
    double[] margins = RouterReference.margins(logits.exact(), bias, 24, 256, 6);
    for (int t = 0; t < gaps.length; t++) {
      assertThat(margins[t]).isCloseTo(gaps[t], within(1e-12));
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"b0", "bbig", "bneg", "brand"})
  void goldensOfEdges(String variant) {
    Golden golden = Golden.read("deepseek_v4/router_dense_edges");
    float[] logits = golden.floats("x");
    float[] bias = golden.floats(variant + "_bias");
    RouterReference.Choice choice = RouterReference.choose(logits, bias, 10, 16, 4, 2.5f);
    assertThat(choice.indices()).containsExactly(golden.ints(variant + "_indices_stable"));
    assertNear(choice.weights(), golden.doubles(variant + "_weights_f64"), 2e-6, "weight");
    assertNear(
        golden.floats(variant + "_weights_stable"),
        golden.doubles(variant + "_weights_f64"),
        2e-6,
        "torch's weight");
    float[] scores = golden.floats("scores");
    double[] exact = golden.doubles("scores_f64");
    for (int i = 0; i < scores.length; i++) {
      assertThat((double) RouterReference.score(logits[i]))
          .as("score of %s", logits[i])
          .isCloseTo(exact[i], within(VANISHED + 3e-7 * exact[i]));
      // The golden has log(1 + e^z) above 20 too: there a score is off by e^-20 / 40, relative.
      assertThat(RouterReference.score((double) logits[i]))
          .isCloseTo(exact[i], within((logits[i] > 20 ? 6e-11 : 1e-13) * exact[i]));
    }
  }

  @Test
  void goldensOfTheHashRouter() {
    Golden golden = Golden.read("deepseek_v4/router_hash_flash");
    RouterReference.Logits logits =
        RouterReference.logits(golden.floats("x"), golden.floats("weight"), 16, 256, 256);
    float[] torch = golden.floats("logits");
    for (int i = 0; i < torch.length; i++) {
      assertThat((double) torch[i]).isCloseTo(logits.exact()[i], within(logits.bound(i)));
    }
    long[] table = Arrays.stream(golden.ints("tid2eid")).asLongStream().toArray();
    long[] ids = Arrays.stream(golden.ints("input_ids")).asLongStream().toArray();
    int[] indices = RouterReference.lookUp(table, ids, 256, 6);
    assertThat(indices).containsExactly(golden.ints("indices"));
    double[] exact = golden.doubles("weights_f64");
    assertNear(
        RouterReference.weigh(logits.values(), indices, 16, 256, 6, 1.5f), exact, 2e-6, "weight");
    assertNear(golden.floats("weights"), exact, 2e-6, "torch's weight");
  }

  /// Sums and magnitudes against decimal arithmetic, which does not round.
  @Test
  void logitsAreExact() {
    for (int columns : new int[] {1, 3, 17, 100}) {
      float[] x = Seeds.gaussian(random, 2 * columns);
      float[] w = Seeds.gaussian(random, 3 * columns);
      RouterReference.Logits logits = RouterReference.logits(x, w, 2, 3, columns);
      for (int i = 0; i < 6; i++) {
        BigDecimal sum = BigDecimal.ZERO;
        BigDecimal magnitude = BigDecimal.ZERO;
        for (int d = 0; d < columns; d++) {
          BigDecimal product =
              new BigDecimal(x[i / 3 * columns + d])
                  .multiply(new BigDecimal(w[i % 3 * columns + d]));
          sum = sum.add(product);
          magnitude = magnitude.add(product.abs());
        }
        double off = columns * 0x1p-53 * magnitude.doubleValue();
        assertThat(logits.exact()[i]).isCloseTo(sum.doubleValue(), within(off));
        assertThat(logits.magnitudes()[i]).isCloseTo(magnitude.doubleValue(), within(off));
        assertThat(logits.bound(i))
            .isCloseTo((columns / 64.0 + 32) * 0x1p-24 * logits.magnitudes()[i], within(1e-12));
      }
    }
  }

  /// Of NVFP4: 1.5 * 2 * 0.25 and so on, by hand, and against the decoded matrix.
  @Test
  void logitsOfNvfp4() {
    byte[] codes = new byte[16];
    codes[0] = 0x43; // 1.5, then 2
    codes[8] = (byte) 0xf1; // 0.5, then -6
    byte[] scales = {0x38, 0x40}; // 1, 2
    Nvfp4Matrix gate =
        new Nvfp4Matrix(2, 16, codes, scales, GlobalScale.TENSOR, new float[] {0.25f});
    float[] x = new float[16];
    x[0] = 3;
    x[1] = 5;
    RouterReference.Logits logits = RouterReference.logits(x, gate, 1);
    assertThat(logits.values()).containsExactly(14.5f / 4, 2 * (1.5f - 30) / 4);
    assertThat(logits.magnitudes()).containsExactly(14.5 / 4, 2 * 31.5 / 4);
    for (int scale : new int[] {0x7f, 0x80, 0xb8, 0xff}) {
      scales[1] = (byte) scale;
      RouterReference.Logits bad = RouterReference.logits(x, gate, 1);
      assertThat(bad.values()[0]).isEqualTo(14.5f / 4);
      assertThat(Float.floatToRawIntBits(bad.values()[1])).isEqualTo(0x7fc00000);
      assertThat(bad.exact()[1]).isNaN();
    }
  }

  /// The k best by looking for the best k times.
  @Test
  void choosesTheBest() {
    for (int experts : new int[] {1, 2, 7, 16, 100, 1024}) {
      for (int topk : new int[] {1, 2, 6, 16}) {
        if (topk > experts) {
          continue;
        }
        // Few values, so that there are ties.
        float[] logits = new float[3 * experts];
        float[] bias = new float[experts];
        for (int i = 0; i < logits.length; i++) {
          logits[i] = random.nextInt(9) - 4;
        }
        for (int e = 0; e < experts; e++) {
          bias[e] = random.nextInt(3);
        }
        int[] indices = RouterReference.choose(logits, bias, 3, experts, topk, 1).indices();
        for (int t = 0; t < 3; t++) {
          boolean[] taken = new boolean[experts];
          for (int j = 0; j < topk; j++) {
            int best = -1;
            for (int e = 0; e < experts; e++) {
              float b = RouterReference.score(logits[t * experts + e]) + bias[e];
              if (!taken[e]
                  && (best < 0
                      || b > RouterReference.score(logits[t * experts + best]) + bias[best])) {
                best = e;
              }
            }
            taken[best] = true;
            assertThat(indices[t * topk + j]).isEqualTo(best);
          }
        }
      }
    }
  }

  @Test
  void ordersWhatIsNoOrdinaryNumber() {
    float infinity = Float.POSITIVE_INFINITY;
    float nan = Float.intBitsToFloat(0xffc12345);
    float[] logits = new float[7];
    float[] bias = {nan, -infinity, 3, infinity, -0f, 0, infinity};
    assertThat(RouterReference.choose(logits, bias, 1, 7, 7, 1).indices())
        .containsExactly(3, 6, 2, 4, 5, 1, 0);
    // Of no difference to the weights, which are those of equal scores.
    for (float weight : RouterReference.choose(logits, bias, 1, 7, 7, 7).weights()) {
      assertThat(weight).isCloseTo(1f, within(1e-6f));
    }
    // A logit that is NaN is chosen last, and one that is infinite first: infinite / infinite.
    float[] bad = {1, nan, infinity, -infinity};
    RouterReference.Choice choice = RouterReference.choose(bad, new float[4], 1, 4, 2, 1);
    assertThat(choice.indices()).containsExactly(2, 0);
    assertThat(Bits.of(choice.weights())).containsExactly(0x7fc00000, 0);
    choice = RouterReference.choose(bad, new float[4], 1, 4, 4, 1);
    assertThat(choice.indices()).containsExactly(2, 0, 3, 1);
    assertThat(Bits.of(choice.weights())).containsOnly(0x7fc00000);
  }

  /// By hand: 1e-20 counts where scores are that small, the scale counts once, and the sum is in
  /// the order of the choice.
  @Test
  void weighs() {
    float[] zeros = {-200, -200};
    assertThat(RouterReference.weigh(zeros, new int[] {0, 1}, 1, 2, 2, 2.5f)).containsExactly(0, 0);
    float tiny = RouterReference.score(-100f);
    float[] small = RouterReference.weigh(new float[] {-100}, new int[] {0}, 1, 1, 1, 2.5f);
    assertThat(small[0]).isEqualTo(tiny / (tiny + 1e-20f) * 2.5f).isBetween(0.01f, 0.1f);
    float[] logits = new float[9];
    int[] order = {3, 1, 4, 0, 5};
    for (int i = 0; i < 9; i++) {
      logits[i] = random.nextFloat() * 30 - 10;
    }
    float sum = RouterReference.score(logits[3]);
    for (int j = 1; j < 5; j++) {
      sum += RouterReference.score(logits[order[j]]);
    }
    float[] weights = RouterReference.weigh(logits, order, 1, 9, 5, 1.5f);
    for (int j = 0; j < 5; j++) {
      assertThat(weights[j]).isEqualTo(RouterReference.score(logits[order[j]]) / sum * 1.5f);
    }
    // An expert that is none: the others are weighed without it. One that comes twice counts twice.
    float[] some = RouterReference.weigh(logits, new int[] {-1, 2, 2, -1}, 1, 9, 4, 1.5f);
    assertThat(some).containsExactly(0, 0.75f, 0.75f, 0);
  }

  /// Logits over the whole range in which a weight has a bound.
  @Test
  void weightsAreNearTheExactOnes() {
    for (int round = 0; round < 200; round++) {
      float[] logits = new float[64];
      double[] exact = new double[64];
      double largest = 0;
      for (int i = 0; i < 64; i++) {
        exact[i] = random.nextDouble() * 120 - 60;
        logits[i] = (float) exact[i];
        largest = Math.max(largest, Math.abs(exact[i]));
      }
      float[] bias = Seeds.gaussian(random, 64);
      RouterReference.Choice choice = RouterReference.choose(logits, bias, 1, 64, 6, 2.5f);
      double[] weights = RouterReference.weightsExact(exact, choice.indices(), 1, 64, 6, 2.5);
      for (int j = 0; j < 6; j++) {
        assertThat((double) choice.weights()[j])
            .isCloseTo(weights[j], within(RouterReference.weightBound(largest) * weights[j]));
      }
    }
  }

  @Test
  void margins() {
    double[] logits = {30, 40, 50, 40, 10, 20};
    double[] margins = RouterReference.margins(logits, new float[3], 2, 3, 2);
    assertThat(margins[0]).isCloseTo(Math.sqrt(40) - Math.sqrt(30), within(1e-12));
    assertThat(RouterReference.margins(logits, new float[] {0, 0, 1000}, 2, 3, 3))
        .containsOnly(Double.POSITIVE_INFINITY);
    assertThat(RouterReference.margins(new double[] {5, 5, 5}, new float[3], 1, 3, 1)[0]).isZero();
    float infinity = Float.POSITIVE_INFINITY;
    float[] infinite = {infinity, infinity, 0};
    assertThat(RouterReference.margins(new double[] {5, 5, 5}, infinite, 1, 3, 1)[0]).isZero();
  }

  @Test
  void looksUp() {
    long[] table = {0, 1, 2, 3, 7, 8, -1, Long.MIN_VALUE};
    long[] ids = {3, 0, 2, -1, 4, Long.MAX_VALUE, Long.MIN_VALUE, 1L << 32, 1};
    assertThat(RouterReference.lookUp(table, ids, 8, 2))
        .containsExactly(-1, -1, 0, 1, 7, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 2, 3);
    table[6] = 1L << 32;
    assertThat(RouterReference.lookUp(table, new long[] {3}, 8, 2)).containsExactly(-1, -1);
  }

  @Test
  void wrongArguments() {
    float[] two = new float[2];
    assertThatThrownBy(() -> RouterReference.logits(two, two, 1, 1, 3))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("logits: x has 2 elements, expected 3");
    assertThatThrownBy(() -> RouterReference.logits(two, two, 1, 2, 2))
        .hasMessage("logits: weight has 2 elements, expected 4");
    Nvfp4Matrix perRow = new Nvfp4Matrix(2, 16, new byte[16], new byte[2], GlobalScale.ROW, two);
    assertThatThrownBy(() -> RouterReference.logits(new float[16], perRow, 1))
        .hasMessage("logits: global scales has 2 elements, expected 1");
    assertThatThrownBy(() -> RouterReference.choose(two, two, 1, 2, 3, 1))
        .hasMessage("choose: topk is 3, expected from 1 to 2");
    assertThatThrownBy(() -> RouterReference.choose(two, two, 1, 2, 0, 1))
        .hasMessage("choose: topk is 0, expected from 1 to 2");
    assertThatThrownBy(() -> RouterReference.choose(two, two, 1, 1025, 1, 1))
        .hasMessage("choose: experts is 1025, expected from 1 to 1024");
    assertThatThrownBy(() -> RouterReference.choose(two, new float[3], 1, 2, 1, 1))
        .hasMessage("choose: bias has 3 elements, expected 2");
    assertThatThrownBy(() -> RouterReference.weigh(two, new int[3], 1, 2, 2, 1))
        .hasMessage("weigh: indices has 3 elements, expected 2");
    assertThatThrownBy(() -> RouterReference.weightsExact(new double[3], new int[2], 1, 2, 2, 1))
        .hasMessage("weightsExact: logits has 3 elements, expected 2");
    assertThatThrownBy(() -> RouterReference.margins(new double[2], new float[2], 2, 2, 1))
        .hasMessage("margins: logits has 2 elements, expected 4");
    assertThatThrownBy(() -> RouterReference.lookUp(new long[3], new long[1], 1, 2))
        .hasMessage("lookUp: table has 3 elements, expected a multiple of k = 2");
  }
}
