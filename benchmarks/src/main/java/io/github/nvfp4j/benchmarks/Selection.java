// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import java.util.Arrays;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/// Whether a choice of the highest scores, in their order, can be right where each score is known
/// to lie in an interval only: where intervals are apart it is the exact one.
final class Selection {
  private Selection() {}

  /// The first difference in words; null when there is none.
  ///
  /// @param chosen what was chosen, the best first; behind the last candidate -1
  /// @param low the least that each candidate's score may be
  /// @param high the most
  /// @param candidates how many there are
  static @Nullable String differs(int[] chosen, double[] low, double[] high, int candidates) {
    int count = Math.min(chosen.length, candidates);
    boolean[] taken = new boolean[candidates];
    for (int j = 0; j < chosen.length; j++) {
      int choice = chosen[j];
      if (j >= count) {
        if (choice != -1) {
          return "choice " + j + " is " + choice + ", expected -1";
        }
      } else if (choice < 0 || choice >= candidates) {
        return "choice " + j + " is " + choice + " of " + candidates;
      } else if (taken[choice]) {
        return "choice " + j + ", " + choice + ", was made before";
      } else {
        taken[choice] = true;
      }
    }
    int best = -1; // of those that are not chosen, then of those chosen behind j too
    for (int i = 0; i < candidates; i++) {
      best = !taken[i] && (best < 0 || low[i] > low[best]) ? i : best;
    }
    int[] left = new int[count]; // the best one that was left when j was chosen
    for (int j = count - 1; j >= 0; j--) {
      left[j] = best;
      best = best < 0 || low[chosen[j]] > low[best] ? chosen[j] : best;
    }
    for (int j = 0; j < count; j++) {
      if (left[j] >= 0 && high[chosen[j]] < low[left[j]]) {
        return String.format(
            Locale.ROOT,
            "choice %d, %d, has a score of at most %s; that of %d, which is %s, is at least %s",
            j,
            chosen[j],
            high[chosen[j]],
            left[j],
            contains(chosen, count, left[j]) ? "chosen behind it" : "not chosen",
            low[left[j]]);
      }
    }
    return null;
  }

  private static boolean contains(int[] chosen, int count, int candidate) {
    return Arrays.stream(chosen, 0, count).anyMatch(choice -> choice == candidate);
  }
}
