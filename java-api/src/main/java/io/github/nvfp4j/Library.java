// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.NativeLibrary;
import io.github.nvfp4j.bindings.NativeLibraryException;

/// Loads the native library at the first use that needs it.
final class Library {
  private Library() {}

  /// @throws LibraryLoadException if the library cannot be loaded, now or earlier
  static void require() {
    NativeLibraryException failure = NativeLibrary.failure();
    if (failure != null) {
      throw new LibraryLoadException(String.valueOf(failure.getMessage()), failure);
    }
  }
}
