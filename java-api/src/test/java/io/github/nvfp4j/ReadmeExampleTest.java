// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.net.URI;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/// The README's example prints what the README says. The build compiled it (`tools/ReadmeExample`):
/// a host that only runs tests has neither the README nor a compiler.
final class ReadmeExampleTest {
  // No package's name, so that the module does not hide what is in it.
  private static final String FOLDER = "/readme-example/";

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

  @Test
  @Tag("cpu")
  void isTheReadmesOwn() throws IOException {
    Path readme = Path.of(System.getProperty("nvfp4j.root", "")).resolve("README.md");
    if (!Files.isRegularFile(readme)) {
      return; // Tests that were packed without it, from a build in which this ran.
    }
    String text = Files.readString(readme);
    assertThat(text)
        .contains("```java\n" + resource(resource("class.txt") + ".java") + "```")
        .contains("It prints `" + resource("prints.txt") + "`");
  }

  private static void run(String device) throws Exception {
    String name = resource("class.txt");
    URL place = ReadmeExampleTest.class.getResource(FOLDER + name + ".class");
    assertThat(place)
        .as("%s%s.class, which the build makes of README.md", FOLDER, name)
        .isNotNull();
    String folder = place.toString();
    folder = folder.substring(0, folder.length() - (name + ".class").length());
    PrintStream out = System.out;
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (URLClassLoader loader = new URLClassLoader(new URL[] {URI.create(folder).toURL()})) {
      System.setOut(new PrintStream(bytes, true, StandardCharsets.UTF_8));
      loader
          .loadClass(name)
          .getMethod("main", String[].class)
          .invoke(null, (Object) new String[] {device});
    } finally {
      System.setOut(out);
    }
    assertThat(bytes.toString(StandardCharsets.UTF_8))
        .isEqualToIgnoringNewLines(resource("prints.txt"));
  }

  private static String resource(String name) throws IOException {
    try (InputStream in = ReadmeExampleTest.class.getResourceAsStream(FOLDER + name)) {
      assertThat(in).as("%s%s, which the build makes of README.md", FOLDER, name).isNotNull();
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    }
  }
}
