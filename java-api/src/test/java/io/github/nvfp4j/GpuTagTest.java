// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.abort;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.opentest4j.TestAbortedException;

/// Tests that need a GPU say so in one way, so that `-Dnvfp4j.gpu=required` means all of them.
@Tag("cpu")
final class GpuTagTest {
  @Test
  void onlyTheGpuAnnotationTags() throws IOException {
    Path root = Path.of(System.getProperty("nvfp4j.root", ""));
    if (!Files.isDirectory(root.resolve("java-api/src/test/java"))) {
      abort("no repository: tests that were packed without it");
    }
    for (String module : List.of("java-api", "bindings", "cli")) {
      try (Stream<Path> files = Files.walk(root.resolve(module).resolve("src/test/java"))) {
        assertThat(files.filter(Files::isRegularFile).filter(GpuTagTest::tags))
            .as(module)
            .extracting(file -> file.getFileName().toString())
            .containsExactly("Gpu.java");
      }
    }
  }

  private static boolean tags(Path file) {
    try {
      // Not this file.
      return Files.readString(file).contains("@Tag(\"" + "gpu\")");
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  @Test
  void aSkipIsAFailureWhereAGpuIsRequired() {
    Gpu.Condition condition = new Gpu.Condition();
    TestAbortedException skip = new TestAbortedException("no javac");
    String before = System.getProperty("nvfp4j.gpu", "auto");
    try {
      System.setProperty("nvfp4j.gpu", "required");
      assertThatThrownBy(() -> condition.handleTestExecutionException(null, skip))
          .isExactlyInstanceOf(AssertionError.class)
          .hasMessage("skipped, with -Dnvfp4j.gpu=required: no javac");
      System.setProperty("nvfp4j.gpu", "auto");
      assertThatThrownBy(() -> condition.handleTestExecutionException(null, skip)).isSameAs(skip);
    } finally {
      System.setProperty("nvfp4j.gpu", before);
    }
  }
}
