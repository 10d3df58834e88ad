// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class SelectionTest {
  private static final double[] SCORES = {1, 5, 3, 4, 2};

  @Test
  void theBestInTheirOrderAreRight() {
    assertThat(differs(0, 1, 3, 2)).isNull();
    assertThat(differs(0, 1, 3, 2, 4, 0)).isNull();
    assertThat(differs(0)).isNull();
  }

  @Test
  void behindTheLastCandidateIsMinusOne() {
    assertThat(differs(0, 1, 3, 2, 4, 0, -1, -1)).isNull();
    assertThat(differs(0, 1, 3, 2, 4, 0, -1, 3)).isEqualTo("choice 6 is 3, expected -1");
    assertThat(differs(0, 1, 3, 2, 4, -1)).isEqualTo("choice 4 is -1 of 5");
    assertThat(Selection.differs(new int[] {-1}, new double[0], new double[0], 0)).isNull();
  }

  @Test
  void whatIsNoCandidateOrChosenTwiceIsSeen() {
    assertThat(differs(0, 1, 5)).isEqualTo("choice 1 is 5 of 5");
    assertThat(differs(0, 0xA5A5A5A5)).startsWith("choice 0 is -");
    assertThat(differs(9, 1, 1)).isEqualTo("choice 1, 1, was made before");
  }

  @Test
  void anotherChoiceIsRightOnlyWhereIntervalsMeet() {
    assertThat(differs(0.4, 3, 1))
        .isEqualTo(
            "choice 0, 3, has a score of at most 4.4; that of 1, which is chosen behind it, is at"
                + " least 4.6");
    assertThat(differs(0.5, 3, 1)).isNull();
    assertThat(differs(0.4, 1, 2))
        .contains("choice 1, 2, ")
        .contains("that of 3, which is not chosen");
    assertThat(differs(0.5, 1, 2)).isNull();
    assertThat(differs(0.5, 1, 4)).contains("choice 1, 4, ");
    assertThat(differs(0.5, 2, 3, 1)).as("two places from its own").contains("choice 0, 2, ");
  }

  @Test
  void equalScoresMayComeInAnyOrder() {
    double[] equal = new double[4];
    assertThat(Selection.differs(new int[] {2, 0}, equal, equal, 4)).isNull();
  }

  private static String differs(double bound, int... chosen) {
    double[] low = SCORES.clone();
    double[] high = SCORES.clone();
    for (int i = 0; i < low.length; i++) {
      low[i] -= bound;
      high[i] += bound;
    }
    return Selection.differs(chosen, low, high, low.length);
  }
}
