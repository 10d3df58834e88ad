// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/// The indexer's reference against PyTorch, by hand, and in its corners.
@Tag("cpu")
class IndexerTest {
  private final RandomGenerator random = Seeds.generator(IndexerTest.class);

  @Test
  void goldens() {
    Golden golden = Golden.read("deepseek_v4/indexer_score");
    float[] q = golden.floats("q");
    float[] keys = golden.floats("k_comp");
    double[] weights64 = golden.doubles("weights_f64");
    float[] weights = new float[weights64.length];
    for (int i = 0; i < weights.length; i++) {
      weights[i] = (float) (weights64[i] / Math.sqrt(128)); // d^-1/2 is not in them
    }
    int[] valid = golden.ints("valid");
    double[] exact = golden.doubles("scores_f64");
    double[] ours = IndexerReference.exactScores(q, keys, weights, valid, 64, 128);
    double[] tolerances = IndexerReference.tolerances(q, keys, weights, valid, 64, 128);
    float[] scores = IndexerReference.scores(q, keys, weights, valid, 64, 128);
    float[] torch = golden.floats("scores");
    for (int s = 0; s < 5; s++) {
      for (int t = 0; t < 37; t++) {
        int i = s * 37 + t;
        if (t >= valid[s]) {
          assertThat(scores[i]).isEqualTo(Float.NEGATIVE_INFINITY);
          continue;
        }
        // The golden's weights are F64: rounding them moves a score by 2^-24 of its parts at most.
        assertThat(Math.abs(ours[i] - exact[i]))
            .as("score %d", i)
            .isLessThanOrEqualTo(tolerances[i]);
        assertThat(Math.abs(scores[i] - torch[i]))
            .as("score %d", i)
            .isLessThanOrEqualTo((float) (2 * tolerances[i]));
      }
    }
    int k = golden.shape("topk_idx", 1);
    assertThat(IndexerReference.indices(scores, valid, 37, k)).isEqualTo(golden.ints("topk_idx"));
  }

  /// One head of sixteen columns, of which one counts: scores are weight * max(q * key, 0).
  private static float[] scores(float q, float weight, float... keys) {
    float[] query = new float[16];
    query[5] = q;
    float[] rows = new float[16 * keys.length];
    for (int t = 0; t < keys.length; t++) {
      rows[16 * t + 5] = keys[t];
    }
    return IndexerReference.scores(
        query, rows, new float[] {weight}, new int[] {keys.length}, 1, 16);
  }

  @Test
  void byHand() {
    assertThat(scores(2, 3, 1, -1, 0.5f)).containsExactly(6, 0, 3);
    assertThat(scores(-2, -3, 1, -1, 0.5f)).containsExactly(0, -6, 0);
    // No score is -0, and none is lost where another is 0.
    Bits.assertEqual(scores(2, -3, -1, 0), new float[] {0, 0});
    // Two heads are added behind their maxima.
    float[] q = new float[32];
    q[0] = 1;
    q[16] = -1;
    float[] keys = new float[32];
    keys[0] = 4;
    keys[16] = -2;
    assertThat(IndexerReference.scores(q, keys, new float[] {1, 10}, new int[] {2}, 2, 16))
        .containsExactly(4, 20);
  }

  @Test
  void everySumAgainstTheFormula() {
    for (int heads : new int[] {1, 3, 64}) {
      for (int columns : new int[] {16, 48, 256}) {
        float[] q = Seeds.gaussian(random, 2 * heads * columns);
        float[] keys = Seeds.gaussian(random, 5 * columns);
        float[] weights = Seeds.gaussian(random, 2 * heads);
        int[] valid = {5, 3};
        double[] scores = IndexerReference.exactScores(q, keys, weights, valid, heads, columns);
        double[] tolerances = IndexerReference.tolerances(q, keys, weights, valid, heads, columns);
        for (int s = 0; s < 2; s++) {
          for (int t = 0; t < 5; t++) {
            double score = 0;
            double sizes = 0;
            for (int h = heads - 1; h >= 0; h--) {
              double dot = 0;
              double size = 0;
              for (int i = columns - 1; i >= 0; i--) {
                double product = (double) q[(s * heads + h) * columns + i] * keys[t * columns + i];
                dot += product;
                size += Math.abs(product);
              }
              score += dot > 0 ? weights[s * heads + h] * dot : 0;
              sizes += Math.abs(weights[s * heads + h]) * size;
            }
            if (t >= valid[s]) {
              assertThat(scores[s * 5 + t]).isEqualTo(Double.NEGATIVE_INFINITY);
              assertThat(tolerances[s * 5 + t]).isZero();
            } else {
              assertThat(Math.abs(scores[s * 5 + t] - score)).isLessThanOrEqualTo(1e-12 * sizes);
              assertThat(tolerances[s * 5 + t])
                  .isCloseTo(
                      0x1p-24 * (columns / 4.0 + heads + 8) * sizes,
                      org.assertj.core.data.Percentage.withPercentage(1e-6));
            }
          }
        }
      }
    }
  }

  @Test
  void ties() {
    float[] scores = {1, 3, -0f, 0, 3, Float.NaN, Float.NEGATIVE_INFINITY, 0, Float.NaN, 7};
    assertThat(IndexerReference.indices(scores, new int[] {10}, 10, 12))
        .containsExactly(9, 1, 4, 0, 2, 3, 7, 6, 5, 8, -1, -1);
    assertThat(IndexerReference.indices(scores, new int[] {9}, 10, 3)).containsExactly(1, 4, 0);
    assertThat(IndexerReference.indices(new float[6], new int[] {3, 3}, 3, 2))
        .containsExactly(0, 1, 0, 1);
  }

  @Test
  void whatIsNotVisible() {
    float[] scores = {4, 3, 2, 1};
    for (int hostile : new int[] {-1, 5, Integer.MIN_VALUE, Integer.MAX_VALUE, 0}) {
      assertThat(IndexerReference.indices(scores, new int[] {hostile}, 4, 2))
          .containsExactly(-1, -1);
    }
    assertThat(IndexerReference.indices(scores, new int[] {1}, 4, 2)).containsExactly(0, -1);
    float[] hidden =
        IndexerReference.scores(new float[16], new float[32], new float[1], new int[] {1}, 1, 16);
    assertThat(hidden).containsExactly(0, Float.NEGATIVE_INFINITY);
  }

  @Test
  void notFinite() {
    Bits.assertEqual(scores(1, 1, Float.NaN, 2), new float[] {Float.NaN, 2});
    assertThat(scores(1, 1, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY))
        .containsExactly(Float.POSITIVE_INFINITY, 0);
    assertThat(scores(1, -1, Float.POSITIVE_INFINITY)).containsExactly(Float.NEGATIVE_INFINITY);
    Bits.assertEqual(scores(1, 0, Float.POSITIVE_INFINITY), new float[] {Float.NaN});
  }

  @Test
  void noQueriesAndNoRows() {
    float[] none = {};
    assertThat(IndexerReference.scores(none, new float[32], none, new int[0], 3, 16)).isEmpty();
    assertThat(IndexerReference.scores(new float[16], none, new float[1], new int[1], 1, 16))
        .isEmpty();
    assertThat(IndexerReference.indices(none, new int[2], 0, 2)).containsExactly(-1, -1, -1, -1);
  }

  @Test
  void wrongArguments() {
    float[] x = new float[64];
    int[] one = {1};
    assertThatThrownBy(() -> IndexerReference.scores(x, x, x, one, 0, 16))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("indexer_topk: heads is 0, expected from 1 to 128");
    for (int columns : new int[] {0, 8, 24, 272}) {
      assertThatThrownBy(() -> IndexerReference.scores(x, x, x, one, 1, columns))
          .hasMessage(
              "indexer_topk: columns is " + columns + ", expected a multiple of 16 from 16 to 256");
    }
    assertThatThrownBy(() -> IndexerReference.scores(x, x, x, one, 2, 16))
        .hasMessage("indexer_topk: q has 64 elements, expected 32");
    float[] q = Arrays.copyOf(x, 32);
    assertThatThrownBy(() -> IndexerReference.tolerances(q, new float[40], x, one, 2, 16))
        .hasMessage("indexer_topk: keys has 40 elements, expected 32");
    assertThatThrownBy(() -> IndexerReference.exactScores(q, x, x, one, 2, 16))
        .hasMessage("indexer_topk: weights has 64 elements, expected 2");
    assertThatThrownBy(() -> IndexerReference.indices(x, one, 63, 1))
        .hasMessage("indexer_topk: scores has 64 elements, expected 63");
    assertThatThrownBy(() -> IndexerReference.indices(x, one, 64, 0))
        .hasMessage("indexer_topk: k is 0, expected 1 or more");
  }
}
