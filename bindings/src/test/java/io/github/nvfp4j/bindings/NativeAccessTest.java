// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.lang.module.ModuleFinder;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// What a program must grant, and what a call costs the garbage collector.
class NativeAccessTest {
  @TempDir Path folder;

  /// Everywhere else `-Xlint:restricted -Werror` proves that there is no restricted call.
  @Test
  void thisModuleAloneNeedsNativeAccess() throws Exception {
    Path program = Path.of(System.getProperty("java.home"), "bin", "jnativescan");
    assumeTrue(Files.isExecutable(program), program + " does not exist");
    Path natives = Files.createDirectory(folder.resolve("natives"));
    Path jar = Stubs.jar(folder.resolve("natives.jar"), natives);
    Process process =
        new ProcessBuilder(
                program.toString(),
                "--module-path",
                Fork.bindings() + ":" + jar,
                "--add-modules",
                "io.github.nvfp4j.bindings,io.github.nvfp4j.natives",
                "--print-native-access")
            .redirectErrorStream(true)
            .start();
    String output = new String(process.getInputStream().readAllBytes());
    assertThat(process.waitFor()).as(output).isZero();
    assertThat(output.strip()).isEqualTo("io.github.nvfp4j.bindings");
  }

  @Test
  void aCallAllocatesNothing() throws Exception {
    assumeTrue(
        ModuleFinder.ofSystem().find("jdk.management").isPresent(),
        "this Java runtime has no module jdk.management, which counts allocated bytes");
    Path library = Stubs.good(folder.resolve("library"));
    String[] words =
        Fork.onClassPath().property("nvfp4j.library", library).line("allocations").split(" ");
    assertThat(words[0]).isEqualTo("allocations");
    assertThat(Double.parseDouble(words[1])).as("bytes per op call").isLessThan(0.1);
    assertThat(Double.parseDouble(words[2])).as("bytes per two CUDA calls").isLessThan(0.1);
  }
}
