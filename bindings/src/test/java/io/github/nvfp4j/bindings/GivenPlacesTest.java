// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// `-Dnvfp4j.library=FILE` and `-Dnvfp4j.native.dir=DIR`, right and wrong, each in a JVM of its
/// own.
class GivenPlacesTest {
  @TempDir static Path folder;
  private static Path good;

  @BeforeAll
  static void compile() throws Exception {
    good = Stubs.good(folder.resolve("a folder with spaces"));
  }

  private static Fork library(Object value) {
    return Fork.onClassPath().property("nvfp4j.library", value);
  }

  private static Fork directory(Object value) {
    return Fork.onClassPath().property("nvfp4j.native.dir", value);
  }

  @Test
  void aFile() throws Exception {
    List<String> lines = library(good).run("load", "runtime", "cuda");
    assertThat(lines)
        .containsExactly(
            Stubs.LOADED + good,
            "runtime [" + good.resolveSibling("libcudart.so.13") + "]",
            "cuda true null");
  }

  @Test
  void aDirectory() throws Exception {
    assertThat(directory(good.getParent()).line("load")).isEqualTo(Stubs.LOADED + good);
  }

  @Test
  void theFileComesBeforeTheDirectory() throws Exception {
    assertThat(library(good).property("nvfp4j.native.dir", "/nowhere").line("load"))
        .isEqualTo(Stubs.LOADED + good);
  }

  @Test
  void withoutCuda() throws Exception {
    Path file = Stubs.withoutCuda(folder.resolve("without cuda"));
    assertThat(library(file).run("load", "cuda", "again"))
        .contains(
            Stubs.LOADED + file,
            "cuda false cuda: this libnvfp4j was built without CUDA (" + file + ")",
            "UnsupportedOperationException cuda: this libnvfp4j was built without CUDA ("
                + file
                + ")");
  }

  @Test
  void noSuchFile() throws Exception {
    assertThat(library("/nowhere/libnvfp4j.so").line("load"))
        .isEqualTo(
            "failed libnvfp4j.so could not be loaded: "
                + "-Dnvfp4j.library=/nowhere/libnvfp4j.so: no such file");
  }

  @Test
  void theSameFailureEachTime() throws Exception {
    String failure =
        "NativeLibraryException libnvfp4j.so could not be loaded: -Dnvfp4j.library=/nowhere: no"
            + " such file";
    assertThat(library("/nowhere").run("again"))
        .containsExactly(failure, failure, failure, failure, failure);
  }

  @Test
  void aDirectoryAsFile() throws Exception {
    assertThat(library(folder).line("load"))
        .endsWith(
            folder + ": a directory, expected a file (a directory goes into -Dnvfp4j.native.dir)");
  }

  @Test
  void anEmptyValue() throws Exception {
    assertThat(library("").line("load")).endsWith("-Dnvfp4j.library=: the value is empty");
  }

  @Test
  void noSuchDirectory() throws Exception {
    assertThat(directory("/nowhere").line("load"))
        .isEqualTo(
            "failed libnvfp4j.so could not be loaded: -Dnvfp4j.native.dir=/nowhere: no such"
                + " directory");
  }

  @Test
  void aDirectoryWithoutTheLibrary() throws Exception {
    Path empty = Files.createDirectory(folder.resolve("empty"));
    assertThat(directory(empty).line("load"))
        .endsWith("-Dnvfp4j.native.dir=" + empty + ": it has no libnvfp4j.so");
  }

  @Test
  void noLibraryAtAll() throws Exception {
    Path text =
        Files.writeString(
            folder.resolve("text.so"), "not a library, but long enough\n".repeat(100));
    assertThat(library(text).line("load"))
        .endsWith("-Dnvfp4j.library=" + text + ": invalid ELF header");
    Path nothing = Files.writeString(folder.resolve("nothing.so"), "");
    assertThat(library(nothing).line("load"))
        .endsWith("-Dnvfp4j.library=" + nothing + ": file too short");
  }

  @Test
  void anotherLibrary() throws Exception {
    Path file = Stubs.foreign(folder.resolve("foreign"));
    assertThat(library(file).line("load"))
        .endsWith(file + ": not an nvfp4j library: it exports no nvfp4j_abi_version");
  }

  @Test
  void anotherAbiVersion() throws Exception {
    Path file = Stubs.ofVersion(folder.resolve("version"), 77);
    assertThat(library(file).line("load"))
        .endsWith(
            "ABI version mismatch: "
                + file
                + " has version 77, these Java classes need version "
                + Nvfp4jConstants.ABI_VERSION);
  }

  @Test
  void missingFunctions() throws Exception {
    Path file = Stubs.lacking(folder.resolve("lacking"), "nvfp4j_swiglu", "nvfp4j_copy");
    assertThat(library(file).line("load"))
        .endsWith(
            "it is of another version than these Java classes: it lacks nvfp4j_copy,"
                + " nvfp4j_swiglu");
  }

  @Test
  void noCudaRuntimeBesideIt() throws Exception {
    Path alone = Files.createDirectory(folder.resolve("alone")).resolve("libnvfp4j.so");
    Files.copy(good, alone);
    String line = library(alone).line("load");
    assumeFalse(
        line.startsWith("loaded"), "this system's loader finds a libcudart.so.13 of its own");
    assertThat(line)
        .contains("-Dnvfp4j.library=" + alone, "libcudart.so.13: cannot open shared object file");
  }

  @Test
  void nativeAccessDenied() throws Exception {
    assertThat(library(good).withoutNativeAccess().line("load"))
        .endsWith("native access is denied; run java with --enable-native-access=ALL-UNNAMED");
  }

  @Test
  void anotherOperatingSystem() throws Exception {
    assertThat(library(good).property("os.name", "Mac OS X").line("load"))
        .isEqualTo(
            "failed libnvfp4j.so could not be loaded: not Linux x86-64: os.name=Mac OS X,"
                + " os.arch=amd64");
    assertThat(library(good).property("os.arch", "aarch64").line("load"))
        .endsWith("not Linux x86-64: os.name=Linux, os.arch=aarch64");
  }

  @Test
  void musl() {
    String glibc = "7f00 r-xp 0 08:01 1 /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2\n";
    assertThat(Platform.unsupported("Linux", "amd64", glibc)).isNull();
    assertThat(
            Platform.unsupported(
                "Linux", "amd64", "7f00 r-xp 0 08:01 1 /lib/ld-musl-x86_64.so.1\n"))
        .isEqualTo(
            "not Linux x86-64 with glibc: this JVM runs on musl (Alpine); use a glibc-based system"
                + " or image");
  }
}
