// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.abort;

import io.github.nvfp4j.bindings.NativeLibrary;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.URISyntaxException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.spi.ToolProvider;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// The README's example compiles, without a warning, and prints what the README says.
final class ReadmeExampleTest {
  private static final Pattern BLOCK =
      Pattern.compile("```java\n(.*?public final class (\\w+) .*?)```", Pattern.DOTALL);

  @TempDir Path folder;

  @Test
  @Tag("cpu")
  void runsOnTheCpu() throws Exception {
    run("cpu");
  }

  @Test
  @Gpu
  void runsOnAGpu() throws Exception {
    run("cuda:0");
  }

  private void run(String device) throws Exception {
    Matcher block = BLOCK.matcher(Files.readString(readme()).replace("\r\n", "\n"));
    assertThat(block.find()).as("a java block with a public final class in README.md").isTrue();
    String name = block.group(2);
    Path source = folder.resolve(name + ".java");
    Files.writeString(source, block.group(1));
    compile(source);
    PrintStream out = System.out;
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (URLClassLoader loader = new URLClassLoader(new URL[] {folder.toUri().toURL()})) {
      System.setOut(new PrintStream(bytes, true, StandardCharsets.UTF_8));
      loader
          .loadClass(name)
          .getMethod("main", String[].class)
          .invoke(null, (Object) new String[] {device});
    } finally {
      System.setOut(out);
    }
    assertThat(bytes.toString(StandardCharsets.UTF_8))
        .isEqualToIgnoringNewLines("0.8415 became 1.0000");
  }

  private void compile(Path source) throws Exception {
    ToolProvider javac =
        ToolProvider.findFirst("javac")
            .orElseGet(() -> abort("this Java runtime has no javac (a jlinked one)"));
    StringWriter messages = new StringWriter();
    PrintWriter writer = new PrintWriter(messages);
    int status =
        javac.run(
            writer,
            writer,
            "--release",
            "25",
            "-Xlint:all",
            "-Werror",
            "-classpath",
            location(Device.class) + File.pathSeparator + location(NativeLibrary.class),
            "-d",
            folder.toString(),
            source.toString());
    assertThat(status).as("javac: %s", messages).isZero();
  }

  // The folder or jar that a class comes from.
  private static String location(Class<?> type) throws URISyntaxException {
    return Path.of(type.getProtectionDomain().getCodeSource().getLocation().toURI()).toString();
  }

  private static Path readme() throws IOException {
    String root = System.getProperty("nvfp4j.root");
    Path start = (root == null ? Path.of("") : Path.of(root)).toAbsolutePath();
    for (Path at = start; at != null; at = at.getParent()) {
      if (Files.isRegularFile(at.resolve("README.md"))
          && Files.isDirectory(at.resolve("java-api"))) {
        return at.resolve("README.md");
      }
    }
    return abort("no repository above " + start + ": tests that were packed without it");
  }
}
