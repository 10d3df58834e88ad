// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/// The sampler's reference: its noise, its ties, its edges, and DeepSeek's form of the same draw.
@Tag("cpu")
class SampleTest {
  private static final float INF = Float.POSITIVE_INFINITY;

  private final RandomGenerator random = Seeds.generator(SampleTest.class);

  /// u has 23 bits and the half behind them: no rounding, and neither 0 nor 1.
  @Test
  void uniformsAreExact() {
    assertThat(SampleReference.uniform(0)).isEqualTo(0x1p-24f);
    assertThat(SampleReference.uniform(511)).isEqualTo(0x1p-24f);
    assertThat(SampleReference.uniform(512)).isEqualTo(0x1.8p-23f);
    assertThat(SampleReference.uniform(-1)).isEqualTo(1 - 0x1p-24f);
    for (int n = 0; n < 1 << 23; n++) {
      float u = SampleReference.uniform(n << 9 | n & 511);
      if (u != (n + 0.5) * 0x1p-23 || !(u > 0 && u < 1)) {
        throw new AssertionError(n + ": " + u);
      }
    }
  }

  @Test
  void noiseIsAddressedByRowColumnSeedAndOffset() {
    for (int n = 0; n < 1000; n++) {
      long seed = random.nextLong();
      long offset = random.nextLong();
      int row = random.nextInt(1 << 30);
      int column = random.nextInt(Integer.MAX_VALUE);
      int word =
          Philox.words(
              new int[] {column >> 2, row, (int) offset, (int) (offset >> 32)},
              new int[] {(int) seed, (int) (seed >> 32)})[column & 3];
      double u = ((word >>> 9) + 0.5) / (1 << 23);
      float e = SampleReference.exponential(seed, offset, row, column);
      assertThat((double) e).isCloseTo(-Math.log(u), within(2e-7 * Math.max(1, -Math.log(u))));
      assertThat(e).isBetween(0x1p-24f, 16.7f);
    }
  }

  private static org.assertj.core.data.Offset<Double> within(double x) {
    return org.assertj.core.data.Offset.offset(x);
  }

  /// argmax(p / E), p the softmax, as DeepSeek has it, in double: the same token wherever the two
  /// best are apart by more than the roundings.
  @Test
  void isTheExponentialRace() {
    int compared = 0;
    for (int n = 0; n < 2000; n++) {
      int columns = 1 + random.nextInt(40);
      float temperature = new float[] {0.3f, 1, 2.5f}[n % 3];
      float[] logits = Seeds.gaussian(random, columns);
      float[] noise = new float[columns];
      for (int i = 0; i < columns; i++) {
        noise[i] = (float) -Math.log(1 - random.nextDouble());
      }
      double max = 0;
      for (float logit : logits) {
        max = Math.max(max, logit / (double) temperature);
      }
      double sum = 0;
      for (float logit : logits) {
        sum += Math.exp(logit / (double) temperature - max);
      }
      double[] race = new double[columns];
      for (int i = 0; i < columns; i++) {
        race[i] = Math.exp(logits[i] / (double) temperature - max) / sum / noise[i];
      }
      int best = 0;
      for (int i = 1; i < columns; i++) {
        best = race[i] > race[best] ? i : best;
      }
      double second = 0;
      for (int i = 0; i < columns; i++) {
        second = i == best ? second : Math.max(second, race[i]);
      }
      if (second > race[best] * (1 - 1e-5)) {
        continue;
      }
      compared++;
      assertThat(SampleReference.sample(logits, 1, columns, noise, temperature, 0, 0))
          .containsExactly(best);
    }
    assertThat(compared).isGreaterThan(1900);
  }

  @Test
  void greedyTakesTheLowestOfTheLargest() {
    assertThat(greedy(3, 1, 2, 2, 2, 1, 2, -1, -3, -2)).containsExactly(1, 0, 0);
    assertThat(greedy(3, -0f, 0f, -1, 0f, -0f, -1)).containsExactly(0, 0);
    assertThat(greedy(4, 1, INF, INF, 2, -INF, -3e38f, -INF, -INF)).containsExactly(1, 1);
    assertThat(greedy(2, Float.MIN_VALUE, 2 * Float.MIN_VALUE, -Float.MIN_VALUE, -1))
        .containsExactly(1, 0);
    assertThat(greedy(1, -5, INF, 0)).containsExactly(0, 0, 0);
  }

  private static int[] greedy(int columns, float... logits) {
    return SampleReference.sample(logits, logits.length / columns, columns, null, 0, 1, 2);
  }

  @Test
  void rowsWithoutAToken() {
    float nan = Float.intBitsToFloat(0xffc12345);
    assertThat(greedy(2, -INF, -INF, 1, nan, Float.NaN, INF, 0, -INF))
        .containsExactly(-1, -1, -1, 0);
    float[] logits = new float[16];
    float[] noise = new float[16];
    Arrays.fill(noise, 1);
    noise[3] = 0;
    noise[4] = -1;
    noise[7] = INF;
    noise[8] = Float.NaN;
    noise[11] = -0f;
    noise[12] = Float.MIN_VALUE;
    noise[15] = Float.MAX_VALUE;
    logits[7] = -INF; // where the logit cannot win, too
    assertThat(SampleReference.sample(logits, 8, 2, noise, 1, 0, 0))
        .containsExactly(0, -1, -1, -1, -1, -1, 0, 0);
    assertThat(SampleReference.sample(logits, 8, 2, noise, 0, 0, 0))
        .containsExactly(0, 0, 0, 0, 0, 0, 0, 0);
    // Finite logits whose quotients are all -infinity have a token.
    float low = -Float.MAX_VALUE;
    assertThat(SampleReference.sample(new float[] {low, low}, 1, 2, null, 1e-30f, 0, 0))
        .containsExactly(0);
  }

  @Test
  void aTinyTemperatureCountsAs1e5() {
    float[] logits = Seeds.gaussian(random, 600);
    for (int i = 0; i < logits.length; i++) {
      logits[i] *= 1e-5f;
    }
    int[] expected = SampleReference.sample(logits, 20, 30, null, 1e-5f, 5, 6);
    for (float temperature : new float[] {1e-30f, Float.MIN_VALUE, 0.9e-5f}) {
      assertThat(SampleReference.sample(logits, 20, 30, null, temperature, 5, 6))
          .isEqualTo(expected);
    }
    assertThat(SampleReference.sample(logits, 20, 30, null, 1e-2f, 5, 6)).isNotEqualTo(expected);
  }

  /// Rows, seeds and offsets have other numbers each.
  @Test
  void drawsDiffer() {
    float[] flat = new float[4 * 5000];
    int[] tokens = SampleReference.sample(flat, 4, 5000, null, 1, 7, 8);
    assertThat(Arrays.stream(tokens).distinct().count()).isGreaterThan(1);
    assertThat(SampleReference.sample(flat, 4, 5000, null, 1, 7, 8)).isEqualTo(tokens);
    for (long bit : new long[] {1, 1L << 32, 1L << 63}) {
      assertThat(SampleReference.sample(flat, 4, 5000, null, 1, 7 ^ bit, 8)).isNotEqualTo(tokens);
      assertThat(SampleReference.sample(flat, 4, 5000, null, 1, 7, 8 ^ bit)).isNotEqualTo(tokens);
    }
  }

  @Test
  void wrongArguments() {
    float[] x = new float[6];
    assertThatThrownBy(() -> SampleReference.sample(x, 2, 4, null, 0, 0, 0))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("sample: logits has 6 elements, expected 8");
    assertThatThrownBy(() -> SampleReference.sample(x, 2, 3, new float[5], 0, 0, 0))
        .hasMessage("sample: noise has 5 elements, expected 6");
    assertThatThrownBy(() -> SampleReference.sample(x, 2, 0, null, 0, 0, 0))
        .hasMessage("sample: rows, columns are 2, 0, expected 0 or more, and 1 or more");
    assertThatThrownBy(() -> SampleReference.sample(x, -1, 3, null, 0, 0, 0))
        .hasMessage("sample: rows, columns are -1, 3, expected 0 or more, and 1 or more");
    for (float temperature : new float[] {-1, Float.NaN, INF}) {
      assertThatThrownBy(() -> SampleReference.sample(x, 2, 3, null, temperature, 0, 0))
          .hasMessage(
              "sample: temperature is " + temperature + ", expected a finite number, not negative");
    }
    assertThat(SampleReference.sample(new float[0], 0, 3, null, 1, 0, 0)).isEmpty();
  }
}
