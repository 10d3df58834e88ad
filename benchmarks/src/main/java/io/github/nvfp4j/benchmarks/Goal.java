// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import java.util.Locale;

/// What a measurement should reach. A fraction of a ceiling holds on any card; microseconds are
/// stated for one card only.
sealed interface Goal {

  /// At least `fraction` of the speed of a ceiling kernel over the same bytes in the same run.
  ///
  /// @param ceiling the ceiling
  /// @param fraction 0.85 for 85 %
  record FractionOf(Ceiling ceiling, double fraction) implements Goal {
    @Override
    public String toString() {
      return String.format(Locale.ROOT, ">= %.0f %% of %s", 100 * fraction, ceiling.label());
    }
  }

  /// At most so many microseconds a graph node on the named card.
  ///
  /// @param micros the bound
  /// @param card a part of the card's name
  record Micros(double micros, String card) implements Goal {
    @Override
    public String toString() {
      return String.format(Locale.ROOT, "<= %.1f us (%s)", micros, card);
    }
  }

  /// At least `factor` times as fast as a peer measured in the same session.
  ///
  /// @param factor the bound
  /// @param peer the peer's name in the peers' result file
  record TimesPeer(double factor, String peer) implements Goal {
    @Override
    public String toString() {
      return String.format(Locale.ROOT, ">= %.1f x %s", factor, peer);
    }
  }

  /// At most `factor` times as long as a peer measured in the same session, one that does only a
  /// part of the same.
  ///
  /// @param factor the bound
  /// @param peer the peer's name in the peers' result file
  record TimeOfPeer(double factor, String peer) implements Goal {
    @Override
    public String toString() {
      return String.format(Locale.ROOT, "<= %.1f x the time of %s", factor, peer);
    }
  }

  /// Whether a goal was reached.
  enum Outcome {
    MET,
    SHORT,
    /// The other side of the comparison was not measured, or the goal is another card's.
    NOT_COMPARED
  }
}
