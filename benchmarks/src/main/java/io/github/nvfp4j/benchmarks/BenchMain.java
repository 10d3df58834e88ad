// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.Nvfp4Exception;
import java.io.IOException;
import java.io.PrintStream;
import java.util.List;

/// What the programs of this module have in common: their command line, and what becomes of what
/// they throw.
final class BenchMain {
  /// A program.
  interface Body {
    /// @return its exit status
    int run(PrintStream out, BenchOptions options) throws IOException;
  }

  private BenchMain() {}

  /// Runs a program.
  ///
  /// @return its exit status; 0 for `--help`, 2 for a wrong command line, 3 for a device or library
  ///   failure, [NothingMatches#STATUS] when `--only` leaves nothing to measure
  static int run(PrintStream out, PrintStream err, Body body, String... arguments) {
    if (List.of(arguments).contains("--help")) {
      out.print(BenchOptions.USAGE);
      return 0;
    }
    try {
      return body.run(out, BenchOptions.parse(arguments));
    } catch (NothingMatches e) {
      err.println(e.getMessage());
      return NothingMatches.STATUS;
    } catch (IllegalArgumentException e) {
      err.println(e.getMessage());
      return 2;
    } catch (Nvfp4Exception | IOException e) {
      err.println(e.getMessage());
      return 3;
    }
  }
}
