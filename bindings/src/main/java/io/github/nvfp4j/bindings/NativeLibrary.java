// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/// Which libnvfp4j this class loader has, or why it has none. Decided once, at the first use.
///
/// The order of places; a place that is set explicitly is the only one tried:
///
/// 1. the file `-Dnvfp4j.library=FILE`;
/// 2. `libnvfp4j.so` in the folder `-Dnvfp4j.native.dir=DIR`;
/// 3. the resources `META-INF/native/linux-x86_64/` of the natives jar, unpacked once into
///    `$XDG_CACHE_HOME/nvfp4j` (else `~/.cache/nvfp4j`), in a folder named after version and
///    content;
/// 4. the same resources, unpacked into a fresh folder of `java.io.tmpdir` that is removed again as
///    soon as the library is loaded, when the cache cannot be written or does not allow execution.
public final class NativeLibrary {
  // A failure is a value, not an exception out of this initialiser: that would be an
  // ExceptionInInitializerError for
  // the first caller and a NoClassDefFoundError without any reason for the others.
  private static final LibraryLoader.Outcome OUTCOME = LibraryLoader.load();

  private NativeLibrary() {}

  /// Loads the library if that was not tried yet.
  ///
  /// @throws NativeLibraryException when it could not be loaded, now or earlier; the same message
  ///   each time
  public static void require() {
    NativeLibraryException failure = OUTCOME.failure();
    if (failure != null) {
      throw failure.again();
    }
  }

  /// Why the library could not be loaded, or null when it is loaded.
  public static @Nullable NativeLibraryException failure() {
    return OUTCOME.failure();
  }

  /// The file that was loaded. (In case 4 it is gone by now.)
  ///
  /// @throws NativeLibraryException when none was
  public static Path file() {
    require();
    Path file = OUTCOME.file();
    if (file == null) {
      throw new AssertionError("loaded, but from no file");
    }
    return file;
  }
}
