// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/// Whether this machine can run the library at all.
final class Platform {
  private Platform() {}

  /// Why not, or null.
  static @Nullable String unsupported() {
    return unsupported(
        System.getProperty("os.name", ""), System.getProperty("os.arch", ""), mappings());
  }

  static @Nullable String unsupported(String osName, String osArch, String mappings) {
    if (!osName.equals("Linux") || !(osArch.equals("amd64") || osArch.equals("x86_64"))) {
      return "not Linux x86-64: os.name=" + osName + ", os.arch=" + osArch;
    }
    // Both names of musl's loader: ld-musl-x86_64.so.1, and libc.musl-x86_64.so.1 as Alpine links
    // it.
    if (mappings.contains("/ld-musl-") || mappings.contains("/libc.musl-")) {
      return "not Linux x86-64 with glibc: this JVM runs on musl (Alpine); use a glibc-based system"
          + " or image";
    }
    return null;
  }

  /// What this process has mapped; empty when /proc does not say.
  private static String mappings() {
    try {
      return Files.readString(Path.of("/proc/self/maps"), StandardCharsets.ISO_8859_1);
    } catch (IOException e) {
      return "";
    }
  }
}
