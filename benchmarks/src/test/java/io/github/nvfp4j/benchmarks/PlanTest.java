// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class PlanTest {
  private static final long LAST_LEVEL_CACHE = 50L << 20;

  @ParameterizedTest
  @ValueSource(longs = {18_372, 293_952, 1_175_808, 18_812_928, 150_503_424, 301_006_848})
  void noBufferIsStillInTheCacheWhenItsTurnComesAgain(long bytesPerCall) {
    Plan plan = Plan.cuda(bytesPerCall);
    assertThat(plan.buffers() * bytesPerCall).isGreaterThan(4 * LAST_LEVEL_CACHE - (1 << 20));
    assertThat(plan.nodes()).isBetween(40, 1024);
    assertThat((long) plan.nodes() * plan.graphs()).isGreaterThanOrEqualTo(plan.buffers());
    assertThat(plan.replays()).isGreaterThanOrEqualTo(Math.max(15, plan.graphs()));
    assertThat(plan.flush()).isFalse();
  }

  @ParameterizedTest
  @ValueSource(longs = {1, 128, 13_000})
  void theCacheIsEmptiedWhereSmallBuffersWouldFitIt(long bytesPerCall) {
    Plan plan = Plan.cuda(bytesPerCall);
    assertThat(plan.flush()).isTrue();
    assertThat(plan.nodes()).isEqualTo(plan.buffers()).isEqualTo(1024);
    assertThat(plan.graphs()).isOne();
    assertThat(plan.replays()).isGreaterThanOrEqualTo(21);
  }

  @Test
  void noMoreBuffersAreMadeThanFitWhereCallsNeedAPartOfThem() {
    Plan plan = Plan.cudaWithin(100_000, 8 << 20); // 2000 of them would have 17 GB
    assertThat(plan).isEqualTo(new Plan(512, 512, 1, 21, true));
    assertThat(Plan.cudaWithin(10_000_000, 16 << 20)).isEqualTo(Plan.cuda(10_000_000));
    assertThat(Plan.cudaWithin(3L << 30, 3L << 30)).isEqualTo(Plan.cuda(3L << 30));
    assertThat(Plan.cudaWithin(1 << 20, 3L << 30).buffers()).isEqualTo(2);
  }

  @ParameterizedTest
  @ValueSource(doubles = {2, 10, 150, 1_000, 2_500})
  void graphsOfLongProductsHaveFewerCalls(double micros) {
    for (long bytes : new long[] {6_300_000, 24_900_000, 150_000_000, 1_600_000_000}) {
      Plan plan = Plan.cuda(bytes, micros);
      assertThat(plan.buffers()).isEqualTo(Plan.buffers(bytes));
      assertThat(plan.nodes()).isBetween(4, 1024).isGreaterThanOrEqualTo(plan.buffers());
      assertThat(plan.nodes() * micros).isGreaterThanOrEqualTo(Math.min(6_000, 40 * micros));
      assertThat(plan.graphs()).isOne();
      assertThat(plan.replays()).isGreaterThanOrEqualTo(21);
    }
  }
}
