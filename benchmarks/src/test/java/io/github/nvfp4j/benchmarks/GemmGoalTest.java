// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.github.nvfp4j.benchmarks.Goal.Outcome;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class GemmGoalTest {
  private static final String H100 = "NVIDIA H100 80GB HBM3";

  @Test
  void shareOfReadAndOfPeersAreOfThePlainFigure() {
    GemmMeasurement measured = measured(rows(1), 8, 10, 9.6, Map.of("cublaslt_bf16", 33.0));
    assertThat(measured.ofRead()).isCloseTo(0.96, within(1e-9));
    assertThat(measured.timesPeer("cublaslt_bf16")).isCloseTo(3.3, within(1e-9));
    assertThat(judge(new GemmGoal.OfRead(0.95), measured))
        .isEqualTo("met: 96.0 %, >= 95 % of read");
    assertThat(judge(new GemmGoal.OfRead(0.97), measured))
        .isEqualTo("short: 96.0 %, >= 97 % of read");
    assertThat(judge(new GemmGoal.TimesPeer(3, "cublaslt_bf16"), measured))
        .isEqualTo("met: 3.30 x, >= 3 x cublaslt_bf16");
    assertThat(judge(new GemmGoal.TimesPeer(1.05, "marlin"), measured))
        .isEqualTo("not compared: >= 1.05 x marlin");
  }

  @Test
  void microsecondsHoldForTheirCardOnlyAndAChainForItsFigure() {
    GemmMeasurement measured = measured(rows(1), 8, 10, 9.6, Map.of());
    assertThat(judge(new GemmGoal.Chain(8.3, "H100"), measured)).startsWith("met: 8.00 us");
    assertThat(judge(new GemmGoal.Micros(8.3, "H100"), measured)).startsWith("short: 10.00 us");
    assertThat(judge(new GemmGoal.Micros(8.3, "L4"), measured)).startsWith("not compared");
  }

  @Test
  void theFloorIsTheLongerOfReadingAndMultiplying() {
    GemmCase many = rows(1024);
    double rate = many.flops() / 100;
    assertThat(measured(many, 120, 125, 20, Map.of(), rate).floor()).isCloseTo(100, within(1e-9));
    assertThat(measured(many, 120, 125, 110, Map.of(), rate).floor()).isEqualTo(110);
    assertThat(measured(many, 120, 126, 20, Map.of(), rate).ofFloor())
        .as("an empty node of 0.8 us belongs to it")
        .isCloseTo(0.8, within(1e-9));
    assertThat(judge(new GemmGoal.OfFloor(0.8), measured(many, 1, 1, 1, Map.of(), Double.NaN)))
        .as("no cuBLASLt, no rate")
        .isEqualTo("not compared: >= 80 % of floor");
  }

  @Test
  void aProductIsComparedWithAnother() {
    GemmGoal goal = new GemmGoal.Within(1.5, "other");
    GemmMeasurement measured = measured(rows(16), 8, 10, 9, Map.of());
    assertThat(goal.judge(measured, H100, name -> 8.5).outcome()).isEqualTo(Outcome.MET);
    assertThat(goal.judge(measured, H100, name -> 8.4).outcome()).isEqualTo(Outcome.SHORT);
    assertThat(goal.judge(measured, H100, name -> Double.NaN).outcome())
        .isEqualTo(Outcome.NOT_COMPARED);
  }

  @Test
  void aRowIsShortWhenOneOfItsGoalsIs() {
    // w13, one row: 95 % of read, 8.3 us in a chain.
    GemmMeasurement met = measured(rows(1), 8.3, 10, 9.5, Map.of());
    GemmMeasurement slow = measured(rows(1), 8.4, 10, 9.5, Map.of());
    GemmMeasurement blind = measured(rows(1), 8.3, 10, Double.NaN, Map.of());
    List<List<GemmGoal.Verdict>> verdicts = GemmMeasurement.judge(List.of(met, slow, blind), H100);
    assertThat(verdicts.stream().map(GemmMeasurement::outcome))
        .containsExactly(Outcome.MET, Outcome.SHORT, Outcome.MET);
    assertThat(met.json(verdicts.getFirst()))
        .containsEntry("outcome", "met")
        .containsEntry(
            "goals", "met: 95.0 %, >= 95 % of read; met: 8.30 us, <= 8.3 us in a chain (H100)")
        .containsEntry("tile_right", true);
    assertThat(met.line()).contains("8.30", "10.00", "95 %");
  }

  private static String judge(GemmGoal goal, GemmMeasurement measured) {
    return goal.judge(measured, H100, name -> Double.NaN).toString();
  }

  private static GemmCase rows(long m) {
    return GemmCase.gemm("w13", m, 6144, 7168);
  }

  private static GemmMeasurement measured(
      GemmCase product, double chain, double plain, double read, Map<String, Double> peers) {
    return measured(product, chain, plain, read, peers, Double.NaN);
  }

  private static GemmMeasurement measured(
      GemmCase product,
      double chain,
      double plain,
      double read,
      Map<String, Double> peers,
      double rate) {
    return new GemmMeasurement(
        product,
        "path",
        new Timing(chain, chain, chain, 1, 1),
        plain,
        read,
        0.8,
        rate,
        peers,
        null);
  }
}
