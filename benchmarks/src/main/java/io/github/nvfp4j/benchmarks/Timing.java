// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import java.util.Arrays;

/// Microseconds of one call, from repeated replays of a graph of many.
///
/// @param median the reported figure
/// @param min the fastest replay
/// @param p90 nine replays of ten were at most this long
/// @param replays how many were timed
/// @param nodes calls in a graph
record Timing(double median, double min, double p90, int replays, int nodes) {

  /// @param replayMicros microseconds of each replay
  /// @param nodes calls in each
  static Timing of(double[] replayMicros, int nodes) {
    double[] sorted = Arrays.stream(replayMicros).map(us -> us / nodes).sorted().toArray();
    int n = sorted.length;
    double median = (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
    return new Timing(median, sorted[0], sorted[Math.min(n - 1, n * 9 / 10)], n, nodes);
  }
}
