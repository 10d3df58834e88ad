// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.Device;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// The README's example, taken from the README: it compiles, and prints what the README says.
class ReadmeExampleTest {
  @TempDir Path directory;

  private static String example() throws IOException {
    String readme = Files.readString(Cli.root("README.md"));
    int start = readme.indexOf("```java\n") + "```java\n".length();
    return readme.substring(start, readme.indexOf("```", start));
  }

  @Test
  void theConsumerProjectHasTheSameExample() throws IOException {
    String license = "// SPDX-License-Identifier: Apache-2.0\n";
    assertThat(Cli.root("samples/consumer/src/main/java/Example.java"))
        .hasContent(license + example());
  }

  @Test
  void itRunsOnTheCpu() throws Exception {
    assertThat(run("cpu")).isEqualTo("0.8415 became 1.0000");
  }

  @Test
  @Tag("gpu")
  void itRunsOnTheGpu() throws Exception {
    Gpu.require();
    assertThat(run("cuda:0")).isEqualTo("0.8415 became 1.0000");
  }

  /// Where the library is: modules in one build, a class path in another.
  private static List<String> libraryPath() {
    return Device.class.getModule().isNamed()
        ? List.of(
            "--module-path",
            System.getProperty("jdk.module.path"),
            "--add-modules",
            "io.github.nvfp4j")
        : List.of("-cp", System.getProperty("java.class.path"));
  }

  private String run(String device) throws Exception {
    Path source = Files.writeString(directory.resolve("Example.java"), example());
    List<String> compile = new ArrayList<>();
    compile.add(tool("javac"));
    compile.addAll(libraryPath());
    compile.addAll(List.of("-Xlint:all", "-Werror", "-d", directory.toString()));
    compile.add(source.toString());
    assertThat(execute(compile)).isEmpty();

    List<String> command = new ArrayList<>();
    command.add(tool("java"));
    command.add("-Duser.language=en");
    System.getProperties()
        .forEach((key, value) -> {
          if (key.toString().startsWith("nvfp4j.")) {
            command.add("-D" + key + "=" + value);
          }
        });
    List<String> path = new ArrayList<>(libraryPath());
    if (path.getFirst().equals("--module-path")) {
      command.add("--enable-native-access=io.github.nvfp4j.bindings");
      path.addAll(List.of("-cp", directory.toString()));
    } else {
      command.add("--enable-native-access=ALL-UNNAMED");
      path.set(1, directory + ":" + path.get(1));
    }
    command.addAll(path);
    command.addAll(List.of("Example", device));
    return execute(command);
  }

  private static String tool(String name) {
    return Path.of(System.getProperty("java.home"), "bin", name).toString();
  }

  /// Runs a program that must end well.
  ///
  /// @return what it printed
  private String execute(List<String> command) throws Exception {
    Path output = directory.resolve("output.txt");
    Process process =
        new ProcessBuilder(command)
            .redirectErrorStream(true)
            .redirectOutput(output.toFile())
            .start();
    if (!process.waitFor(120, TimeUnit.SECONDS)) {
      process.destroyForcibly();
      throw new AssertionError(command.getFirst() + " did not end in 120 s");
    }
    String text = Files.readString(output).strip();
    assertThat(process.exitValue()).as(text).isZero();
    return text;
  }
}
