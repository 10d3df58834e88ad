// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;

/// A line on stderr that says how far the work is; silent unless stderr is a terminal.
final class Progress implements AutoCloseable {
  private static final long INTERVAL_NANOS = 100_000_000;

  private final PrintWriter err;
  private final boolean enabled;
  private final String what;
  private final long total;
  private long shownAt;
  private boolean shown;

  Progress(PrintWriter err, String what, long total) {
    this(err, what, total, stderrIsTerminal());
  }

  Progress(PrintWriter err, String what, long total, boolean enabled) {
    this.err = err;
    this.what = what;
    this.total = total;
    this.enabled = enabled;
    this.shownAt = System.nanoTime() - INTERVAL_NANOS;
  }

  void update(long done) {
    long now = System.nanoTime();
    if (enabled && now - shownAt >= INTERVAL_NANOS) {
      shownAt = now;
      shown = true;
      long percent = total == 0 ? 100 : Math.round(100.0 * done / total);
      err.print("\r" + what + ": " + percent + " %");
      err.flush();
    }
  }

  /// Wipes the line.
  @Override
  public void close() {
    if (shown) {
      err.print("\r" + " ".repeat(what.length() + 8) + "\r");
      err.flush();
    }
  }

  /// What isatty(2) says. `Console.isTerminal` asks about stdin and stdout, and stderr is what
  /// counts.
  private static boolean stderrIsTerminal() {
    try {
      String target = Files.readSymbolicLink(Path.of("/proc/self/fd/2")).toString();
      return target.startsWith("/dev/pts/")
          || target.startsWith("/dev/tty")
          || target.equals("/dev/console");
    } catch (IOException | UnsupportedOperationException e) {
      return false;
    }
  }
}
