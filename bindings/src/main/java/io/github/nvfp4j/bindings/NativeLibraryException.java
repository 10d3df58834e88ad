// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import org.jspecify.annotations.Nullable;

/// libnvfp4j could not be loaded. The message has every place that was tried, in order, and why
/// each failed.
public final class NativeLibraryException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  NativeLibraryException(String message, @Nullable Throwable cause) {
    super(message, cause);
  }

  /// The same failure for another caller: same message, the stack of whoever asks now, the first
  /// failure as its cause.
  NativeLibraryException again() {
    return new NativeLibraryException(getMessage(), this);
  }
}
