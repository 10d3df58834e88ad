// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.io.IOException;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// The committed output of jextract belongs to the headers as they are; and its script refuses what
/// would make something else of them.
class GeneratedSourcesTest {
  @TempDir Path folder;

  private static Properties provenance() throws IOException {
    Properties properties = new Properties();
    Path file = Generated.repository().resolve("bindings/src/generated/GENERATED.properties");
    try (Reader reader = Files.newBufferedReader(file)) {
      properties.load(reader);
    }
    return properties;
  }

  @Test
  void everyHeaderIsTheOneThatWasRead() throws Exception {
    Path root = Generated.repository();
    Map<String, String> recorded = new TreeMap<>();
    Properties provenance = provenance();
    for (String key : provenance.stringPropertyNames()) {
      if (key.startsWith("header.nvfp4j/")) {
        recorded.put(key.substring("header.".length()), provenance.getProperty(key));
      }
    }
    Map<String, String> found = new TreeMap<>();
    try (Stream<Path> headers = Files.list(root.resolve("native/include/nvfp4j"))) {
      for (Path header : headers.filter(file -> file.toString().endsWith(".h")).toList()) {
        found.put("nvfp4j/" + header.getFileName(), Stubs.sha256(Files.readAllBytes(header)));
      }
    }
    assertThat(found)
        .as("SHA-256 of the headers; after a change run bindings/jextract/regenerate --write")
        .isEqualTo(recorded);
    assertThat(Stubs.sha256(Files.readAllBytes(root.resolve("bindings/jextract/cuda.includes"))))
        .as("SHA-256 of cuda.includes; after a change run bindings/jextract/regenerate --write")
        .isEqualTo(provenance.getProperty("includes.cuda"));
  }

  @Test
  void provenanceIsComplete() throws Exception {
    Properties provenance = provenance();
    assertThat(provenance.getProperty("jextract.commit")).matches("[0-9a-f]{40}");
    assertThat(provenance.getProperty("jextract.version")).isNotBlank();
    assertThat(provenance.getProperty("libclang.major")).matches("[0-9]+");
    assertThat(provenance.stringPropertyNames())
        .contains("header.cuda/cuda_runtime_api.h", "header.cuda/driver_types.h");
  }

  @Test
  void regeneratingChangesNothing() throws Exception {
    Result result = regenerate("--check-if-available", Map.of());
    assumeFalse(result.output.startsWith("skipped: "), result.output.strip());
    assertThat(result.output).isEqualTo("bindings/src/generated is up to date\n");
    assertThat(result.status).isZero();
  }

  @Test
  void withoutJextract() throws Exception {
    assertThat(regenerate("--check-if-available", Map.of("JEXTRACT_HOME", "")))
        .isEqualTo(new Result(0, "skipped: JEXTRACT_HOME is not set\n"));
    assertThat(regenerate("--check", Map.of("JEXTRACT_HOME", "")))
        .isEqualTo(new Result(2, "regenerate: JEXTRACT_HOME is not set\n"));
    assertThat(regenerate("--write", Map.of("JEXTRACT_HOME", "/nowhere")).output)
        .isEqualTo("regenerate: JEXTRACT_HOME=/nowhere has no bin/jextract\n");
  }

  @Test
  void anotherJextractIsRefused() throws Exception {
    Properties made = provenance();
    String commit = made.getProperty("jextract.commit");
    String version = made.getProperty("jextract.version");
    String libclang = made.getProperty("libclang.major");
    List<List<String>> others =
        List.of(
            List.of("0".repeat(40), version, libclang, "jextract.commit is " + "0".repeat(40)),
            List.of(commit, "99", libclang, "jextract.version is 99"),
            List.of(commit, version, "99", "libclang.major is 99"));
    for (List<String> other : others) {
      for (String mode : List.of("--check", "--write")) {
        Result result = regenerate(mode, fake(other.get(0), other.get(1), other.get(2), "exit 9"));
        assertThat(result.status).as(result.output).isEqualTo(2);
        assertThat(result.output)
            .contains(other.get(3) + ", but bindings/src/generated was made with ", "use that one");
      }
    }
  }

  @Test
  void aFailingJextractChangesNothing() throws Exception {
    Properties made = provenance();
    Path generated = Generated.repository().resolve("bindings/src/generated");
    Map<String, String> before = contents(generated);
    Result result =
        regenerate(
            "--write",
            fake(
                made.getProperty("jextract.commit"),
                made.getProperty("jextract.version"),
                made.getProperty("libclang.major"),
                "echo 'nvfp4j.h:1:1: error: no'; exit 4"));
    assertThat(result.status).as(result.output).isEqualTo(2);
    assertThat(result.output).contains("error: no", "regenerate: jextract failed on ");
    assertThat(contents(generated)).isEqualTo(before);
    try (Stream<Path> siblings = Files.list(generated.getParent())) {
      assertThat(siblings.filter(file -> file.getFileName().toString().contains("generated")))
          .containsExactly(generated);
    }
  }

  /// An installation whose jextract tells what it is told to, and then does `otherwise`; with a
  /// CUDA header that the script takes.
  private Map<String, String> fake(String commit, String version, String libclang, String otherwise)
      throws IOException {
    Path bin = Files.createDirectories(folder.resolve("bin"));
    Path program =
        Files.writeString(
            bin.resolve("jextract"),
            """
            #!/bin/sh
            if [ "$1" = --version ]; then
              echo 'jextract %s'
              echo 'LibClang version Debian clang version %s.0.6'
              exit 0
            fi
            %s
            """
                .formatted(version, libclang, otherwise));
    Files.setPosixFilePermissions(program, PosixFilePermissions.fromString("rwx------"));
    Files.writeString(folder.resolve("COMMIT"), commit + "\n");
    Files.writeString(folder.resolve("cuda_runtime_api.h"), "#define CUDART_VERSION  13000\n");
    return Map.of("JEXTRACT_HOME", folder.toString(), "CUDA_INCLUDE", folder.toString());
  }

  private static Map<String, String> contents(Path folder) throws IOException {
    Map<String, String> contents = new TreeMap<>();
    try (Stream<Path> files = Files.walk(folder)) {
      for (Path file : files.filter(Files::isRegularFile).toList()) {
        contents.put(file.toString(), Stubs.sha256(Files.readAllBytes(file)));
      }
    }
    return contents;
  }

  private record Result(int status, String output) {}

  private static Result regenerate(String mode, Map<String, String> environment)
      throws IOException, InterruptedException {
    Path script = Generated.repository().resolve("bindings/jextract/regenerate");
    ProcessBuilder builder =
        new ProcessBuilder("bash", script.toString(), mode).redirectErrorStream(true);
    builder.environment().putAll(environment);
    Process process = builder.start();
    String output = new String(process.getInputStream().readAllBytes());
    return new Result(process.waitFor(), output);
  }
}
