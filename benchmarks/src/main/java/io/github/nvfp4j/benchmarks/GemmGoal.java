// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.benchmarks.Goal.Outcome;
import java.util.Locale;
import java.util.function.ToDoubleFunction;

/// What a matrix product should reach. Microseconds are stated for one card only; everything else
/// is a ratio within one run.
///
/// A product has two figures: launched plainly, as a graph node like any other, and in a chain
/// whose kernels are launched programmatically. Which one a goal is about, it says.
sealed interface GemmGoal {

  /// Plain: at least `fraction` of the speed of the best kernel that reads as many bytes.
  ///
  /// @param fraction 0.95 for 95 %
  record OfRead(double fraction) implements GemmGoal {
    @Override
    public String toString() {
      return String.format(Locale.ROOT, ">= %.0f %% of read", 100 * fraction);
    }
  }

  /// Plain: at most so many microseconds on the named card.
  ///
  /// @param micros the bound
  /// @param card a part of the card's name
  record Micros(double micros, String card) implements GemmGoal {
    @Override
    public String toString() {
      return String.format(Locale.ROOT, "<= %.1f us (%s)", micros, card);
    }
  }

  /// In a chain: at most so many microseconds on the named card.
  ///
  /// @param micros the bound
  /// @param card a part of the card's name
  record Chain(double micros, String card) implements GemmGoal {
    @Override
    public String toString() {
      return String.format(Locale.ROOT, "<= %.1f us in a chain (%s)", micros, card);
    }
  }

  /// Plain: at least `fraction` of (floor + an empty node).
  ///
  /// @param fraction 0.65 for 65 %
  record OfFloor(double fraction) implements GemmGoal {
    @Override
    public String toString() {
      return String.format(Locale.ROOT, ">= %.0f %% of floor", 100 * fraction);
    }
  }

  /// Plain: at least `factor` times as fast as a peer.
  ///
  /// @param factor the bound
  /// @param peer the peer's name in the result file
  record TimesPeer(double factor, String peer) implements GemmGoal {
    @Override
    public String toString() {
      return String.format(Locale.ROOT, ">= %s x %s", number(factor), peer);
    }

    private static String number(double factor) {
      return String.format(Locale.ROOT, "%.2f", factor).replaceFirst("\\.?0+$", "");
    }
  }

  /// Plain: at most so many microseconds more than another product.
  ///
  /// @param micros the bound
  /// @param other its name
  record Within(double micros, String other) implements GemmGoal {
    @Override
    public String toString() {
      return String.format(Locale.ROOT, "<= %.1f us more than %s", micros, other);
    }
  }

  /// What was found about a goal.
  ///
  /// @param goal the goal
  /// @param reached what is compared with it; NaN when there is nothing to compare
  /// @param outcome met or not
  record Verdict(GemmGoal goal, double reached, Outcome outcome) {

    /// For example `met: 96 %, >= 95 % of read`.
    @Override
    public String toString() {
      String word =
          switch (outcome) {
            case MET -> "met: ";
            case SHORT -> "short: ";
            case NOT_COMPARED -> "not compared: ";
          };
      return word + (outcome == Outcome.NOT_COMPARED ? "" : text() + ", ") + goal;
    }

    private String text() {
      return switch (goal) {
        case OfRead _, OfFloor _ -> String.format(Locale.ROOT, "%.1f %%", 100 * reached);
        case TimesPeer _ -> String.format(Locale.ROOT, "%.2f x", reached);
        case Micros _, Chain _, Within _ -> String.format(Locale.ROOT, "%.2f us", reached);
      };
    }
  }

  /// Compares.
  ///
  /// @param measured what was found
  /// @param card the device's name
  /// @param plainMicros the plain figure of another product, by its name; NaN when it has none
  default Verdict judge(
      GemmMeasurement measured, String card, ToDoubleFunction<String> plainMicros) {
    return switch (this) {
      case OfRead goal -> atLeast(measured.ofRead(), goal.fraction);
      case OfFloor goal -> atLeast(measured.ofFloor(), goal.fraction);
      case TimesPeer goal -> atLeast(measured.timesPeer(goal.peer), goal.factor);
      case Micros goal -> atMost(onCard(card, goal.card, measured.plain()), goal.micros);
      case Chain goal -> atMost(onCard(card, goal.card, measured.chain()), goal.micros);
      case Within goal ->
          atMost(measured.plain() - plainMicros.applyAsDouble(goal.other), goal.micros);
    };
  }

  private static double onCard(String card, String wanted, double micros) {
    return card.contains(wanted) ? micros : Double.NaN;
  }

  private Verdict atLeast(double reached, double bound) {
    return verdict(reached, reached >= bound);
  }

  private Verdict atMost(double reached, double bound) {
    return verdict(reached, reached <= bound);
  }

  private Verdict verdict(double reached, boolean met) {
    Outcome outcome =
        Double.isNaN(reached) ? Outcome.NOT_COMPARED : met ? Outcome.MET : Outcome.SHORT;
    return new Verdict(this, reached, outcome);
  }
}
