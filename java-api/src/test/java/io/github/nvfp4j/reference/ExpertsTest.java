// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import java.util.Comparator;
import java.util.random.RandomGenerator;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/// The way to the experts and back, against sorting, against double, and by hand.
@Tag("cpu")
class ExpertsTest {
  private final RandomGenerator random = Seeds.generator(ExpertsTest.class);

  @Test
  void byHand() {
    // Token 0 chooses experts 2 and 0, token 1 experts 0 and none, token 2 experts 2 and 3.
    int[] indices = {2, 0, 0, -1, 2, 3};
    float[] weights = {1, 2, 3, 4, 5, 6};
    ExpertsReference.Dispatch d = ExpertsReference.dispatch(indices, weights, 3, 2, 4);
    assertThat(d.offsets()).containsExactly(0, 2, 2, 4, 5);
    assertThat(d.rows()).containsExactly(0, 1, 0, 2, 2, -1);
    assertThat(d.positions()).containsExactly(2, 0, 1, -1, 3, 4);
    assertThat(d.rowWeights()).containsExactly(2, 3, 1, 5, 6, 0);
    float[] y = {10, 20, 30, 40, 50, 999};
    assertThat(ExpertsReference.combine(y, 1, d.positions(), null, null, 3, 2))
        .containsExactly(40, 20, 90);
    assertThat(ExpertsReference.combine(y, 1, d.positions(), weights, null, 3, 2))
        .containsExactly(30 + 2 * 10, 3 * 20, 5 * 40 + 6 * 50);
    assertThat(ExpertsReference.combine(y, 1, d.positions(), weights, new float[] {1, 2, 3}, 3, 2))
        .containsExactly(51, 62, 503);
  }

  @Test
  void dispatchIsAStableSort() {
    for (int experts : new int[] {1, 2, 8, 100}) {
      for (int slots = 1; slots <= 16; slots++) {
        int tokens = random.nextInt(40);
        int count = tokens * slots;
        // A few are no expert's.
        int[] indices = random.ints(count, -1, experts + 1).toArray();
        float[] weights = Seeds.gaussian(random, count);
        ExpertsReference.Dispatch d =
            ExpertsReference.dispatch(indices, weights, tokens, slots, experts);
        int[] order =
            IntStream.range(0, count)
                .filter(i -> indices[i] >= 0 && indices[i] < experts)
                .boxed()
                .sorted(Comparator.comparing(i -> indices[i]))
                .mapToInt(i -> i)
                .toArray();
        int[] rows = new int[count];
        int[] positions = new int[count];
        float[] rowWeights = new float[count];
        Arrays.fill(rows, -1);
        Arrays.fill(positions, -1);
        for (int p = 0; p < order.length; p++) {
          rows[p] = order[p] / slots;
          positions[order[p]] = p;
          rowWeights[p] = weights[order[p]];
        }
        assertThat(d.rows()).isEqualTo(rows);
        assertThat(d.positions()).isEqualTo(positions);
        assertThat(d.rowWeights()).isEqualTo(rowWeights);
        assertThat(d.offsets()).hasSize(experts + 1).startsWith(0).endsWith(order.length);
        for (int e = 0; e < experts; e++) {
          for (int p = d.offsets()[e]; p < d.offsets()[e + 1]; p++) {
            assertThat(indices[order[p]]).isEqualTo(e);
          }
        }
        assertThat(ExpertsReference.dispatch(indices, null, tokens, slots, experts).rowWeights())
            .isNull();
      }
    }
  }

  /// One rounding a term, none of which is larger than 2^-24 of the largest sum on the way.
  @Test
  void combineIsNearTheExactSum() {
    int tokens = 20;
    int slots = 6;
    int columns = 33;
    float[] y = Seeds.gaussian(random, tokens * slots * columns);
    float[] shared = Seeds.gaussian(random, tokens * columns);
    float[] weights = Seeds.gaussian(random, tokens * slots);
    int[] positions = random.ints(tokens * slots, -1, tokens * slots).toArray();
    float[] out = ExpertsReference.combine(y, columns, positions, weights, shared, tokens, slots);
    for (int t = 0; t < tokens; t++) {
      for (int d = 0; d < columns; d++) {
        double sum = shared[t * columns + d];
        double magnitudes = Math.abs(sum);
        for (int j = 0; j < slots; j++) {
          int p = positions[t * slots + j];
          double term = p < 0 ? 0 : (double) weights[t * slots + j] * y[p * columns + d];
          sum += term;
          magnitudes += Math.abs(term);
        }
        assertThat(Math.abs(out[t * columns + d] - sum))
            .isLessThanOrEqualTo((slots + 1) * 0x1p-24 * (1 + 0x1p-20) * magnitudes);
      }
    }
  }

  @Test
  void combineLeavesOutWhatIsNoRow() {
    float[] y = {1, 2};
    float[] nan = {Float.NaN, Float.NaN, Float.NaN, 3};
    int[] positions = {-1, 2, Integer.MIN_VALUE, 1};
    assertThat(ExpertsReference.combine(y, 1, positions, nan, null, 1, 4)).containsExactly(6);
    assertThat(ExpertsReference.combine(new float[0], 1, positions, nan, null, 2, 2))
        .containsExactly(0, 0);
    float[] minus = ExpertsReference.combine(new float[] {-0f}, 1, new int[] {0}, null, null, 1, 1);
    assertThat(Float.floatToRawIntBits(minus[0])).isZero(); // +0 + -0
    float[] wrong = {Float.intBitsToFloat(0xFFC12345)};
    float[] result = ExpertsReference.combine(wrong, 1, new int[] {0}, null, null, 1, 1);
    assertThat(Float.floatToRawIntBits(result[0])).isEqualTo(0x7FC00000);
  }

  @Test
  void rejections() {
    float[] none = {};
    assertThatThrownBy(() -> ExpertsReference.dispatch(new int[5], null, 2, 3, 4))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("expert_dispatch: indices has 5 elements, expected 6");
    assertThatThrownBy(() -> ExpertsReference.dispatch(new int[6], none, 2, 3, 4))
        .hasMessage("expert_dispatch: weights has 0 elements, expected 6");
    assertThatThrownBy(() -> ExpertsReference.dispatch(new int[6], null, 2, 3, 0))
        .hasMessage("expert_dispatch: experts is 0, expected 1 or more");
    assertThatThrownBy(() -> ExpertsReference.dispatch(new int[0], null, -1, 3, 4))
        .hasMessage("expert_dispatch: tokens is -1, expected 0 or more");
    assertThatThrownBy(() -> ExpertsReference.dispatch(new int[0], null, 1, 0, 4))
        .hasMessage("expert_dispatch: slots is 0, expected 1 or more");
    int[] positions = new int[6];
    assertThatThrownBy(() -> ExpertsReference.combine(new float[7], 2, positions, null, null, 2, 3))
        .hasMessage("expert_combine: y has 7 elements, expected rows of 2");
    assertThatThrownBy(() -> ExpertsReference.combine(new float[8], 2, positions, null, null, 3, 3))
        .hasMessage("expert_combine: positions has 6 elements, expected 9");
    assertThatThrownBy(() -> ExpertsReference.combine(new float[8], 2, positions, none, null, 2, 3))
        .hasMessage("expert_combine: weights has 0 elements, expected 6");
    assertThatThrownBy(() -> ExpertsReference.combine(new float[8], 2, positions, null, none, 2, 3))
        .hasMessage("expert_combine: shared has 0 elements, expected 4");
  }
}
