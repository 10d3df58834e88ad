// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.LibraryLoadException;
import io.github.nvfp4j.Nvfp4Exception;
import io.github.nvfp4j.ReportedByKernelException;
import io.github.nvfp4j.checkpoint.SafetensorsException;
import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.util.regex.Pattern;

/// The exit code and the sentence that an exception comes to.
///
/// @param exitCode one of the constants
/// @param sentence for the user, without a line break
record Verdict(int exitCode, String sentence) {
  private static final Pattern CONTROL = Pattern.compile("[\\p{Cc}\\p{Cf}]");

  /// The command did what it was asked.
  static final int GOOD = 0;

  /// The command ran and what it checked is not so: a kernel reported a fault in the data, two runs
  /// differ, a self-test failed.
  static final int CHECK_FAILED = 1;

  /// Wrong usage, a file that cannot be read or written, or a file that is not what it must be.
  static final int BAD_INPUT = 2;

  /// The device or the library failed, or is not there.
  static final int DEVICE_FAILED = 3;

  static Verdict of(Throwable failure) {
    return switch (failure) {
      case Failure f -> of(f.exitCode(), f);
      case ReportedByKernelException e -> of(CHECK_FAILED, e);
      case LibraryLoadException e -> of(DEVICE_FAILED, e);
      case Nvfp4Exception e -> of(DEVICE_FAILED, e);
      case SafetensorsException e -> of(BAD_INPUT, e);
      case NoSuchFileException e ->
          new Verdict(BAD_INPUT, oneLine(e.getFile() + ": " + reason(e, "no such file")));
      case AccessDeniedException e ->
          new Verdict(BAD_INPUT, oneLine(e.getFile() + ": " + reason(e, "permission denied")));
      case FileSystemException e ->
          new Verdict(
              BAD_INPUT, oneLine(e.getFile() + ": " + reason(e, e.getClass().getSimpleName())));
      case IOException e -> of(BAD_INPUT, e);
      case IllegalArgumentException e -> of(BAD_INPUT, e);
      case OutOfMemoryError e ->
          new Verdict(DEVICE_FAILED, oneLine("out of memory: " + e.getMessage()));
      // A defect: the class name is the one thing that helps whoever reports it.
      default ->
          new Verdict(
              DEVICE_FAILED, oneLine("internal error: " + failure + " (--stacktrace shows where)"));
    };
  }

  private static Verdict of(int exitCode, Throwable failure) {
    String message = failure.getMessage();
    return new Verdict(exitCode, oneLine(message == null ? failure.toString() : message));
  }

  private static String reason(FileSystemException e, String otherwise) {
    return e.getReason() == null ? otherwise : e.getReason();
  }

  /// Names in a sentence come from files: none breaks the line, or gives the terminal orders.
  private static String oneLine(String text) {
    String line = text.strip().replaceAll("\\s*\\R\\s*", "; ");
    return CONTROL
        .matcher(line)
        .replaceAll(c -> String.format("\\\\u%04x", (int) c.group().charAt(0)));
  }
}
