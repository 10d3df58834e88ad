// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.benchmarks.Goal.Outcome;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// What was found for one [Workload].
///
/// @param workload the op and shape
/// @param timing of one call
/// @param ceilings microseconds of the ceiling kernels over the same bytes; empty when not measured
/// @param peers microseconds of other implementations in the same session, by name
/// @param checked calls whose outputs were compared; 0 when the device is the CPU device
/// @param difference where an output was not what it has to be, or null
record Measurement(
    Workload workload,
    Timing timing,
    Map<Ceiling, Double> ceilings,
    Map<String, Double> peers,
    int checked,
    @Nullable String difference) {

  static final String HEADER =
      String.format(
          "%-37s %12s %9s %9s %8s %8s  %s", "op", "shape", "us", "MB", "GB/s", "of copy", "goal");

  /// @return 10^9 bytes a second
  double gigabytesPerSecond() {
    return workload.bytes() / timing.median() / 1e3;
  }

  /// @return 10^6 elements of rows x columns a second
  double megaElementsPerSecond() {
    return (double) workload.rows() * workload.columns() / timing.median();
  }

  /// @return share of a ceiling's speed, NaN when that was not measured
  double fraction(Ceiling ceiling) {
    return ceilings.getOrDefault(ceiling, Double.NaN) / timing.median();
  }

  /// @param card the device's name
  Outcome outcome(String card) {
    return switch (workload.goal()) {
      case null -> Outcome.NOT_COMPARED;
      case Goal.FractionOf goal -> of(fraction(goal.ceiling()), goal.fraction());
      case Goal.Micros goal when card.contains(goal.card()) -> of(-timing.median(), -goal.micros());
      case Goal.Micros goal -> Outcome.NOT_COMPARED;
      case Goal.TimesPeer goal -> of(speedup(goal.peer()), goal.factor());
      case Goal.TimeOfPeer goal -> of(speedup(goal.peer()), 1 / goal.factor());
    };
  }

  private double speedup(String peer) {
    return peers.getOrDefault(peer, Double.NaN) / timing.median();
  }

  private static Outcome of(double value, double bound) {
    if (Double.isNaN(value)) {
      return Outcome.NOT_COMPARED;
    }
    return value >= bound ? Outcome.MET : Outcome.SHORT;
  }

  /// What a relative goal compares, empty when it cannot be compared.
  private String reached() {
    return switch (workload.goal()) {
      case Goal.FractionOf goal when !Double.isNaN(fraction(goal.ceiling())) ->
          String.format(Locale.ROOT, "%.0f %%", 100 * fraction(goal.ceiling()));
      case Goal.TimesPeer goal when !Double.isNaN(speedup(goal.peer())) ->
          String.format(Locale.ROOT, "%.2f x", speedup(goal.peer()));
      case Goal.TimeOfPeer goal when !Double.isNaN(speedup(goal.peer())) ->
          String.format(Locale.ROOT, "%.2f x", 1 / speedup(goal.peer()));
      case null, default -> "";
    };
  }

  /// One line of the table.
  String line(String card) {
    Goal goal = workload.goal();
    String found =
        switch (outcome(card)) {
          case MET -> "met: ";
          case SHORT -> "short: ";
          case NOT_COMPARED -> goal == null ? "" : "not compared: ";
        };
    double copy = 100 * fraction(Ceiling.COPY);
    String op = workload.op();
    op += workload.variant().isEmpty() ? "" : " (" + workload.variant() + ")";
    return String.format(
            Locale.ROOT,
            "%-37s %12s %9.2f %9.2f %8.1f %8s  %s",
            op,
            workload.rows() + "x" + workload.columns(),
            timing.median(),
            workload.bytes() / 1e6,
            gigabytesPerSecond(),
            Double.isNaN(copy) ? "-" : String.format(Locale.ROOT, "%.0f %%", copy),
            found + (reached().isEmpty() ? "" : reached() + ", ") + (goal == null ? "" : goal))
        .stripTrailing();
  }

  /// The row of the result file.
  Map<String, @Nullable Object> json(String card) {
    Map<String, @Nullable Object> row = new LinkedHashMap<>();
    row.put("op", workload.op());
    row.put("variant", workload.variant());
    row.put("rows", workload.rows());
    row.put("columns", workload.columns());
    row.put("us", timing.median());
    row.put("us_min", timing.min());
    row.put("us_p90", timing.p90());
    row.put("nodes", timing.nodes());
    row.put("replays", timing.replays());
    row.put("bytes_read", workload.bytesRead());
    row.put("bytes_written", workload.bytesWritten());
    row.put("gb_per_s", gigabytesPerSecond());
    row.put("m_elements_per_s", megaElementsPerSecond());
    for (Ceiling ceiling : Ceiling.values()) {
      if (ceilings.containsKey(ceiling)) {
        row.put(ceiling.label() + "_us", ceilings.get(ceiling));
        row.put("of_" + ceiling.label(), fraction(ceiling));
      }
    }
    peers.forEach((name, micros) -> row.put("peer_" + name + "_us", micros));
    row.put("goal", workload.goal() == null ? null : workload.goal().toString());
    row.put("reached", reached().isEmpty() ? null : reached());
    row.put("outcome", outcome(card).name().toLowerCase(Locale.ROOT));
    row.put("calls_checked", checked);
    Boolean right = checked == 0 ? null : difference == null;
    if (workload.bounds() == null) {
      row.put("bit_equal", right);
    } else {
      row.put("within_bounds", right);
      row.put("compared", workload.bounds().toString());
    }
    return row;
  }

  /// @return the rows of many
  static List<Map<String, @Nullable Object>> json(List<Measurement> measurements, String card) {
    return measurements.stream().map(m -> m.json(card)).toList();
  }
}
