// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.benchmarks.Goal.Outcome;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

class MeasurementTest {
  private static final String H100 = "NVIDIA H100 80GB HBM3";

  @Test
  void aFractionIsTheCeilingsTimeOverTheOps() {
    Measurement measured =
        measurement(new Goal.FractionOf(Ceiling.COPY, 0.85), 100, Map.of(Ceiling.COPY, 86.0));
    assertThat(measured.fraction(Ceiling.COPY)).isCloseTo(0.86, within(1e-9));
    assertThat(measured.outcome(H100)).isEqualTo(Outcome.MET);
    assertThat(measured.line(H100)).contains("met: 86 %, >= 85 % of copy");
  }

  @Test
  void belowTheFractionIsShort() {
    Measurement measured =
        measurement(new Goal.FractionOf(Ceiling.COPY, 0.85), 100, Map.of(Ceiling.COPY, 84.9));
    assertThat(measured.outcome(H100)).isEqualTo(Outcome.SHORT);
    assertThat(measured.json(H100)).containsEntry("outcome", "short");
  }

  @Test
  void withoutTheCeilingNothingIsCompared() {
    Measurement measured = measurement(new Goal.FractionOf(Ceiling.COPY, 0.85), 1, Map.of());
    assertThat(measured.outcome(H100)).isEqualTo(Outcome.NOT_COMPARED);
  }

  @Test
  void microsecondsHoldForTheirCardOnly() {
    Measurement fast = measurement(new Goal.Micros(2.2, "H100"), 2.2, Map.of());
    Measurement slow = measurement(new Goal.Micros(2.2, "H100"), 2.3, Map.of());
    assertThat(fast.outcome(H100)).isEqualTo(Outcome.MET);
    assertThat(slow.outcome(H100)).isEqualTo(Outcome.SHORT);
    assertThat(slow.outcome("NVIDIA L4")).isEqualTo(Outcome.NOT_COMPARED);
  }

  @Test
  void aPeerIsComparedWhenItWasMeasured() {
    Goal goal = new Goal.TimesPeer(1.9, "triton");
    assertThat(withPeers(goal, Map.of("triton", 190.0)).outcome(H100)).isEqualTo(Outcome.MET);
    assertThat(withPeers(goal, Map.of("triton", 189.0)).outcome(H100)).isEqualTo(Outcome.SHORT);
    assertThat(withPeers(goal, Map.of("other", 500.0)).outcome(H100))
        .isEqualTo(Outcome.NOT_COMPARED);
  }

  @Test
  void thePartOfAPeerMayBeExceededByTheFactor() {
    Goal goal = new Goal.TimeOfPeer(1.3, "torch_gate_gemm");
    Measurement met = withPeers(goal, Map.of("torch_gate_gemm", 77.0));
    assertThat(met.outcome(H100)).isEqualTo(Outcome.MET);
    assertThat(met.line(H100)).contains("met: 1.30 x, <= 1.3 x the time of torch_gate_gemm");
    assertThat(met.json(H100)).containsEntry("reached", "1.30 x");
    Measurement slow = withPeers(goal, Map.of("torch_gate_gemm", 76.0));
    assertThat(slow.outcome(H100)).isEqualTo(Outcome.SHORT);
    assertThat(slow.line(H100)).contains("short: 1.32 x, ");
    Measurement alone = withPeers(goal, Map.of("torch_compile", 190.0));
    assertThat(alone.outcome(H100)).isEqualTo(Outcome.NOT_COMPARED);
    assertThat(alone.json(H100)).containsEntry("reached", null);
  }

  @Test
  void bytesAreThoseThatTheOpHasToMove() {
    Workload quantize =
        Workloads.all(false).stream()
            .filter(w -> w.toString().equals("quantize (dynamic, row) 8192x7168"))
            .findFirst()
            .orElseThrow();
    long elements = 8192L * 7168;
    assertThat(quantize.bytesRead()).isEqualTo(2 * elements);
    assertThat(quantize.bytesWritten()).isEqualTo(elements / 2 + elements / 16 + 4 * 8192);
  }

  @Test
  void theStreamsOfHcPreAreReadOnceAndItsParametersOnce() {
    Workload pre =
        Workloads.all(false).stream()
            .filter(w -> w.toString().equals("hc_pre (4 streams) 8192x7168"))
            .findFirst()
            .orElseThrow();
    long tokens = 8192;
    assertThat(pre.bytesRead()).isEqualTo(tokens * 4 * 7168 * 2 + 24 * 4 * 7168 * 4 + 24 * 4 + 12);
    assertThat(pre.bytesWritten()).isEqualTo(tokens * (7168 * 2 + 4 * 4 + 16 * 4));
  }

  @Test
  void whatIsComparedWithinBoundsIsNotCalledBitEqual() {
    Workload plain = workload(null);
    Workload bounded =
        new Workload(
            "hc_pre",
            "",
            16,
            16,
            plain.inputs(),
            plain.outputs(),
            plain.binding(),
            HcBounds.PRE,
            null);
    assertThat(json(plain, 3, null)).containsEntry("bit_equal", true);
    assertThat(json(plain, 3, "wrong")).containsEntry("bit_equal", false);
    assertThat(json(plain, 0, null)).containsEntry("bit_equal", null);
    assertThat(json(plain, 3, null)).doesNotContainKeys("within_bounds", "compared");
    assertThat(json(bounded, 3, null))
        .doesNotContainKey("bit_equal")
        .containsEntry("within_bounds", true)
        .containsEntry("compared", HcBounds.PRE.toString());
    assertThat(json(bounded, 3, "wrong")).containsEntry("within_bounds", false);
    assertThat(json(bounded, 0, null)).containsEntry("within_bounds", null);
  }

  private static Map<String, @Nullable Object> json(
      Workload workload, int checked, @Nullable String difference) {
    return new Measurement(workload, timing(1), Map.of(), Map.of(), checked, difference).json(H100);
  }

  @Test
  void theMedianReplayIsDividedByItsNodes() {
    Timing timing = Timing.of(new double[] {500, 100, 300, 200}, 10);
    assertThat(timing.median()).isEqualTo(25);
    assertThat(timing.min()).isEqualTo(10);
    assertThat(timing.p90()).isEqualTo(50);
  }

  private static Measurement measurement(
      @Nullable Goal goal, double micros, Map<Ceiling, Double> ceilings) {
    return new Measurement(workload(goal), timing(micros), ceilings, Map.of(), 3, null);
  }

  private static Measurement withPeers(Goal goal, Map<String, Double> peers) {
    return new Measurement(workload(goal), timing(100), Map.of(), peers, 3, null);
  }

  private static Timing timing(double micros) {
    return new Timing(micros, micros, micros, 1, 1);
  }

  private static Workload workload(@Nullable Goal goal) {
    Buffer buffer = new Buffer("x", DType.U8, 16, 16, Buffer.Fill.BYTES);
    return new Workload(
        "swiglu",
        "",
        16,
        16,
        List.of(buffer),
        List.of(buffer),
        (stream, arena, in, out) -> () -> {},
        goal);
  }
}
