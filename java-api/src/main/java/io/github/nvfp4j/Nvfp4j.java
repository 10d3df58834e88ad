// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// What the loaded native library is.
public final class Nvfp4j {
  private static final Pattern VERSION = Pattern.compile("\"version\"\\s*:\\s*\"([^\"]*)\"");

  private Nvfp4j() {}

  /// The version of the native library, for example `0.1.0`.
  ///
  /// @throws LibraryLoadException if it cannot be loaded
  public static String version() {
    Matcher matcher = VERSION.matcher(buildInfo());
    if (!matcher.find()) {
      throw new AssertionError("the library's build_info has no version: " + buildInfo());
    }
    return matcher.group(1);
  }

  /// What was built: one JSON object with the keys `version`, `revision`, `compiler`, `cuda` (null
  /// when built without), `architectures` and `build_type`.
  ///
  /// @throws LibraryLoadException if the library cannot be loaded
  public static String buildInfo() {
    Library.require();
    return Nvfp4jNative.buildInfo();
  }

  /// The version of the C ABI, raised when a struct, a signature or a constant changes its meaning.
  ///
  /// @throws LibraryLoadException if the library cannot be loaded
  public static int abiVersion() {
    Library.require();
    return Nvfp4jNative.abiVersion();
  }
}
