// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import org.jspecify.annotations.Nullable;

/// The native library could not be loaded. The message has every place tried, in order, and why
/// each failed.
///
/// It is thrown again, with the same message, by every later use in the same JVM.
public final class LibraryLoadException extends Nvfp4Exception {
  private static final long serialVersionUID = 1L;

  LibraryLoadException(String message, @Nullable Throwable cause) {
    super(message, null, Status.INTERNAL, 0, "", cause);
  }
}
