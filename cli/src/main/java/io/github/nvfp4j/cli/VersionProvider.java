// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.LibraryLoadException;
import io.github.nvfp4j.Nvfp4j;
import picocli.CommandLine.IVersionProvider;

/// What `--version` prints: the version, what the library was built with, and the Java that runs
/// it.
final class VersionProvider implements IVersionProvider {
  @Override
  public String[] getVersion() {
    String java = "java " + Runtime.version() + ", " + System.getProperty("java.vm.vendor");
    try {
      return new String[] {
        "nvfp4j " + Nvfp4j.version(),
        "library: ABI " + Nvfp4j.abiVersion() + ", " + escape(Nvfp4j.buildInfo()),
        java
      };
    } catch (LibraryLoadException e) {
      return new String[] {
        "nvfp4j, version unknown: the library has it",
        "library: " + escape(Verdict.of(e).sentence()),
        java
      };
    }
  }

  /// picocli formats these lines: a percent sign and markup would be taken for its own.
  private static String escape(String text) {
    return text.replace("%", "%%").replace("@|", "@ |");
  }
}
