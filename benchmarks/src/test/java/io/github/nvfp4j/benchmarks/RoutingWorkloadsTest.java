// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

/// Bytes and goals of the rows of routing and decoding.
class RoutingWorkloadsTest {

  @Test
  void theGateIsReadOnceACall() {
    Workload dense = workload("router_dense (bf16, 6 of 384) 8192x7168");
    long tokens = 8192;
    assertThat(dense.bytesRead()).isEqualTo(tokens * 7168 * 2 + 384 * 7168 * 2 + 384 * 4);
    assertThat(dense.bytesWritten()).isEqualTo(tokens * 6 * 8);
    assertThat(dense.goal()).isEqualTo(new Goal.TimeOfPeer(1.3, "torch_gate_gemm"));

    Workload nvfp4 = workload("router_dense (NVFP4, 6 of 384) 1x7168");
    assertThat(nvfp4.bytesRead()).isEqualTo(7168 * 2 + 384 * 7168 / 16 * 9 + 4 + 384 * 4);
  }

  @Test
  void ofTheGateAHashRouterReadsTheRowsThatAreChosen() {
    Workload one = workload("router_hash (bf16, 6 of 384) 1x7168");
    assertThat(one.bytesRead()).isEqualTo(7168 * 2 + 6 * 7168 * 2 + 6 * 4 + 4);
    assertThat(one.bytesWritten()).isEqualTo(6 * 8);
    assertThat(one.allocated()).isGreaterThan(384 * 7168 * 2 + 129_280 * 6 * 4);

    Workload many = workload("router_hash (bf16, 6 of 384) 8192x7168");
    long tokens = 8192;
    assertThat(many.bytesRead())
        .as("all of it, once")
        .isEqualTo(tokens * 7168 * 2 + 384 * 7168 * 2 + tokens * 6 * 4 + tokens * 4);
  }

  @Test
  void tokensShareExperts() {
    assertThat(RoutingWorkloads.chosenExperts(1)).isEqualTo(6);
    assertThat(RoutingWorkloads.chosenExperts(2)).isEqualTo(12);
    assertThat(RoutingWorkloads.chosenExperts(64)).isEqualTo(244); // 384 * (1 - (378/384)^64)
    assertThat(RoutingWorkloads.chosenExperts(8192)).isEqualTo(384);
  }

  @Test
  void dispatchAndCombineMoveWhatTheySort() {
    Workload dispatch = workload("expert_dispatch (6 of 384) 128x6");
    assertThat(dispatch.bytesRead()).isEqualTo(128 * 6 * 8);
    assertThat(dispatch.bytesWritten()).isEqualTo(385 * 4 + 128 * 6 * 12);

    Workload combine = workload("expert_combine (6 rows) 8192x7168");
    long tokens = 8192;
    assertThat(combine.bytesRead()).isEqualTo(tokens * 6 * (7168 * 2 + 8));
    assertThat(combine.bytesWritten()).isEqualTo(tokens * 7168 * 2);
    assertThat(combine.goal()).isEqualTo(new Goal.FractionOf(Ceiling.COPY, 0.75));
  }

  @Test
  void theIndexerReadsTheKeysAndSampleTheLogits() {
    Workload indexer = workload("indexer_topk (top 1024, 64 x 128) 1x32768");
    assertThat(indexer.bytesRead()).isEqualTo(32_768 * 128 * 2 + 64 * (128 * 2 + 4) + 4);
    assertThat(indexer.bytesWritten()).isEqualTo(1024 * 4);
    assertThat(indexer.goal()).isEqualTo(new Goal.FractionOf(Ceiling.READ, 0.4));

    Workload greedy = workload("sample (greedy) 1x129280");
    assertThat(greedy.bytesRead()).isEqualTo(129_280 * 4);
    Workload drawn = workload("sample (drawn) 64x129280");
    assertThat(drawn.bytesRead()).isEqualTo(64 * 129_280 * 4 + 8);
    assertThat(drawn.bytesWritten()).isEqualTo(64 * 4);
  }

  @Test
  void ofACacheTheRowsThatAreAppendedCount() {
    Workload window = workload("cache_append_window (window 128) 1x512");
    assertThat(window.bytesRead()).isEqualTo(512 * 2 + 8);
    assertThat(window.bytesWritten()).isEqualTo(512 * 2);
    Workload append = workload("cache_append 128x512");
    assertThat(append.bytesRead()).isEqualTo(128 * 512 * 2);
    assertThat(append.bytesWritten()).isEqualTo(128 * 512 * 2 + 8);
  }

  /// A call of cache_append moves its cache's length, and every call of a measurement is made.
  @Test
  void aMeasurementDoesNotFillACache() {
    for (Workload workload : Workloads.all(false)) {
      if (workload.op().equals("cache_append")) {
        Plan plan = Plan.cudaWithin(workload.bytes(), workload.allocated());
        int timesEach = Math.ceilDiv(plan.nodes() * plan.graphs(), plan.buffers());
        int rounds = 1 + 2 * Math.ceilDiv(plan.replays(), plan.graphs());
        long capacity = workload.outputs().getFirst().rows();
        assertThat(timesEach * rounds * workload.rows()).isLessThanOrEqualTo(capacity);
      }
    }
  }

  private static Workload workload(String name) {
    return Workloads.all(false).stream()
        .filter(w -> w.toString().equals(name))
        .findFirst()
        .orElseThrow(() -> new AssertionError(name));
  }
}
