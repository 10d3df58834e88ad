// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

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
  }
}
