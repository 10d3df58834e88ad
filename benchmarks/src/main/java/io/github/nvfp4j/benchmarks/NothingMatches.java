// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

/// `--only` leaves nothing to measure: an exit status of its own, because another program of the
/// same session may have something.
final class NothingMatches extends IllegalArgumentException {
  /// The exit status.
  static final int STATUS = 4;

  private static final long serialVersionUID = 1L;

  NothingMatches(BenchOptions options) {
    super("--only: no workload matches " + options.only());
  }
}
