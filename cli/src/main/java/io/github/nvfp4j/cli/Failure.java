// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import java.io.Serial;

/// The end of a command: one sentence for the user, and the exit code.
final class Failure extends RuntimeException {
  @Serial private static final long serialVersionUID = 1L;

  private final int exitCode;

  Failure(int exitCode, String sentence) {
    super(sentence);
    this.exitCode = exitCode;
  }

  Failure(int exitCode, String sentence, Throwable cause) {
    super(sentence, cause);
    this.exitCode = exitCode;
  }

  /// Bad usage or bad input.
  static Failure badInput(String sentence) {
    return new Failure(Verdict.BAD_INPUT, sentence);
  }

  int exitCode() {
    return exitCode;
  }
}
