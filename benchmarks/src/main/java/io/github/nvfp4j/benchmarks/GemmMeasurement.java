// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.benchmarks.Goal.Outcome;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// What was found for one [GemmCase].
///
/// @param product what was measured
/// @param path the implementation that the library took, with its reason
/// @param timing of a call on a stream of the library
/// @param plain microseconds of a call on a wrapped stream, on which nothing is launched
///   programmatically
/// @param read microseconds of the best kernel that reads as many bytes; NaN when not measured
/// @param node microseconds of an empty graph node; NaN when not measured
/// @param rate floating-point operations a microsecond of the best BF16 product of cuBLASLt; NaN
///   when not measured
/// @param peers microseconds of other implementations, by name
/// @param difference where the sampled tile of D was wrong, or null
record GemmMeasurement(
    GemmCase product,
    String path,
    Timing timing,
    double plain,
    double read,
    double node,
    double rate,
    Map<String, Double> peers,
    @Nullable String difference) {

  static final String HEADER =
      String.format(
          "%-52s %9s %9s %8s %8s %6s %6s %6s",
          "product", "chain us", "us", "GB/s", "TFLOP/s", "read", "floor", "x bf16");

  /// Products of fewer rows are bound by bandwidth.
  private static final long FEW_ROWS = 64;

  /// @return microseconds in a chain
  double chain() {
    return timing.median();
  }

  /// @return share of the speed of reading
  double ofRead() {
    return read / plain;
  }

  /// @return microseconds that memory and tensor cores need at least: the longer of reading the
  ///   bytes and multiplying at cuBLASLt's best rate; NaN when one of them is not known
  double floor() {
    return Math.max(read, product.flops() / rate);
  }

  /// @return share of floor and an empty node
  double ofFloor() {
    return (floor() + node) / plain;
  }

  /// @return how many times as fast as a peer; NaN when that was not measured
  double timesPeer(String peer) {
    return peers.getOrDefault(peer, Double.NaN) / plain;
  }

  /// @return 10^9 bytes a second
  double gigabytesPerSecond() {
    return product.bytes() / plain / 1e3;
  }

  /// @return 10^12 operations a second
  double teraflopsPerSecond() {
    return product.flops() / plain / 1e6;
  }

  /// One line of the table, without the goals: they are judged when everything is measured.
  String line() {
    return String.format(
            Locale.ROOT,
            "%-52s %9.2f %9.2f %8s %8s %6s %6s %6s",
            product,
            chain(),
            plain,
            few() ? number("%.0f", gigabytesPerSecond()) : "",
            few() ? "" : number("%.1f", teraflopsPerSecond()),
            percent(ofRead()),
            percent(ofFloor()),
            number("%.2f", timesPeer(CublasLt.Type.BF16.peer())))
        .stripTrailing();
  }

  private boolean few() {
    return product.rows() <= FEW_ROWS;
  }

  private static String percent(double fraction) {
    return Double.isNaN(fraction) ? "-" : number("%.0f %%", 100 * fraction);
  }

  private static String number(String format, double value) {
    return Double.isNaN(value) ? "-" : String.format(Locale.ROOT, format, value);
  }

  /// The row of the result file.
  Map<String, @Nullable Object> json(List<GemmGoal.Verdict> verdicts) {
    Map<String, @Nullable Object> row = new LinkedHashMap<>();
    row.put("op", product.op().opName());
    row.put("shape", product.shape());
    row.put("variant", product.variant());
    row.put("rows", product.rowsText());
    row.put("m", product.m());
    row.put("n", product.n());
    row.put("k", product.k());
    row.put("groups", product.groups());
    row.put("path", path);
    row.put("us", plain);
    row.put("chain_us", timing.median());
    row.put("chain_us_min", timing.min());
    row.put("chain_us_p90", timing.p90());
    row.put("nodes", timing.nodes());
    row.put("replays", timing.replays());
    row.put("bytes_read", product.bytesRead());
    row.put("bytes_written", product.bytesWritten());
    row.put("gb_per_s", gigabytesPerSecond());
    row.put("tflop_per_s", teraflopsPerSecond());
    row.put("read_us", read);
    row.put("of_read", ofRead());
    row.put("floor_us", floor());
    row.put("of_floor", ofFloor());
    peers.forEach((name, micros) -> {
      row.put(name + "_us", micros);
      row.put("times_" + name, timesPeer(name));
    });
    row.put(
        "goals",
        verdicts.isEmpty()
            ? null
            : String.join("; ", verdicts.stream().map(GemmGoal.Verdict::toString).toList()));
    row.put("outcome", outcome(verdicts).name().toLowerCase(Locale.ROOT));
    row.put("tile_right", difference == null);
    return row;
  }

  /// @return short when one goal is; met when one is and none is short
  static Outcome outcome(List<GemmGoal.Verdict> verdicts) {
    Outcome outcome = Outcome.NOT_COMPARED;
    for (GemmGoal.Verdict verdict : verdicts) {
      if (verdict.outcome() == Outcome.SHORT) {
        return Outcome.SHORT;
      }
      outcome = verdict.outcome() == Outcome.MET ? Outcome.MET : outcome;
    }
    return outcome;
  }

  /// Judges all goals of a run: those of one product may be about another.
  ///
  /// @return the verdicts of each measurement, in the same order
  static List<List<GemmGoal.Verdict>> judge(List<GemmMeasurement> measurements, String card) {
    Map<String, Double> plain = new HashMap<>();
    for (GemmMeasurement measurement : measurements) {
      plain.put(measurement.product.toString(), measurement.plain);
    }
    List<List<GemmGoal.Verdict>> all = new ArrayList<>();
    for (GemmMeasurement measurement : measurements) {
      List<GemmGoal.Verdict> verdicts = new ArrayList<>();
      for (GemmGoal goal : GemmPlan.goals(measurement.product)) {
        verdicts.add(goal.judge(measurement, card, name -> plain.getOrDefault(name, Double.NaN)));
      }
      all.add(verdicts);
    }
    return all;
  }
}
