// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.checkpoint.SafetensorsEntry;
import io.github.nvfp4j.checkpoint.SafetensorsFile;
import io.github.nvfp4j.checkpoint.SafetensorsWriter;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/// Runs the command, in this process and in one of its own, and makes and reads its files.
final class Cli {
  private Cli() {}

  /// What a command left.
  record Result(int exitCode, String out, String err) {
    /// Asserts a failure: this exit code, one line on stderr, nothing on stdout.
    Result failed(int expected, String sentence) {
      assertThat(err).as("stderr").contains(sentence);
      assertThat(err.strip().lines()).as("one sentence").hasSize(1);
      assertThat(exitCode).as(err).isEqualTo(expected);
      assertThat(out).isEmpty();
      return this;
    }

    Result succeeded() {
      assertThat(exitCode).as("%s%s", out, err).isZero();
      assertThat(err).isEmpty();
      return this;
    }
  }

  /// A tensor to write.
  record Tensor(SafetensorsDType dtype, long[] shape, MemorySegment data) {
    static Tensor of(SafetensorsDType dtype, MemorySegment data, long... shape) {
      return new Tensor(dtype, shape, data);
    }

    static Tensor floats(float[] values, long... shape) {
      return of(SafetensorsDType.F32, MemorySegment.ofArray(values), shape);
    }

    static Tensor ints(int... values) {
      return of(SafetensorsDType.I32, MemorySegment.ofArray(values), values.length);
    }

    static Tensor bytes(byte[] values, long... shape) {
      return of(SafetensorsDType.U8, MemorySegment.ofArray(values), shape);
    }
  }

  static Result run(Object... arguments) {
    StringWriter out = new StringWriter();
    StringWriter err = new StringWriter();
    String[] words = Stream.of(arguments).map(Object::toString).toArray(String[]::new);
    int exitCode = Main.run(words, new PrintWriter(out), new PrintWriter(err));
    return new Result(exitCode, out.toString(), err.toString());
  }

  /// Starts the command in a JVM of its own: on the module path where the tests are on it.
  static Process start(Path stdout, Path stderr, List<String> jvmOptions, Object... arguments)
      throws IOException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.add("-XX:TieredStopAtLevel=1");
    System.getProperties()
        .forEach((key, value) -> {
          if (key.toString().startsWith("nvfp4j.")) {
            command.add("-D" + key + "=" + value);
          }
        });
    command.addAll(jvmOptions);
    if (Main.class.getModule().isNamed()) {
      command.addAll(
          List.of(
              "--enable-native-access=io.github.nvfp4j.bindings",
              "--illegal-native-access=deny",
              "--module-path",
              System.getProperty("jdk.module.path"),
              "--module",
              "io.github.nvfp4j.cli/io.github.nvfp4j.cli.Main"));
    } else {
      command.addAll(
          List.of(
              "--enable-native-access=ALL-UNNAMED",
              "-cp",
              System.getProperty("java.class.path"),
              "io.github.nvfp4j.cli.Main"));
    }
    for (Object argument : arguments) {
      command.add(argument.toString());
    }
    return new ProcessBuilder(command)
        .redirectOutput(stdout.toFile())
        .redirectError(stderr.toFile())
        .start();
  }

  /// Runs the command in a JVM of its own.
  static Result fork(Path directory, List<String> jvmOptions, Object... arguments)
      throws IOException, InterruptedException {
    Path out = Files.createTempFile(directory, "out", ".txt");
    Path err = Files.createTempFile(directory, "err", ".txt");
    Process process = start(out, err, jvmOptions, arguments);
    if (!process.waitFor(120, TimeUnit.SECONDS)) {
      process.destroyForcibly();
      throw new AssertionError("the command did not end in 120 s");
    }
    return new Result(
        process.exitValue(),
        Files.readString(out, StandardCharsets.UTF_8),
        Files.readString(err, StandardCharsets.UTF_8));
  }

  static Path write(Path path, Map<String, Tensor> tensors) throws IOException {
    List<SafetensorsEntry> entries = new ArrayList<>();
    tensors.forEach((name, t) -> entries.add(new SafetensorsEntry(name, t.dtype(), t.shape())));
    try (SafetensorsWriter writer = SafetensorsWriter.create(path, entries, Map.of())) {
      for (Map.Entry<String, Tensor> tensor : tensors.entrySet()) {
        // A copy, since the writer takes bytes of native memory or of a byte[].
        byte[] bytes = tensor.getValue().data().toArray(ValueLayout.JAVA_BYTE);
        writer.write(tensor.getKey(), MemorySegment.ofArray(bytes));
      }
      writer.commit();
    }
    return path;
  }

  /// Every tensor of a file, on the heap.
  static Map<String, Tensor> read(Path path) throws IOException {
    Map<String, Tensor> tensors = new TreeMap<>();
    try (Arena arena = Arena.ofConfined()) {
      SafetensorsFile file = SafetensorsFile.open(path, arena);
      for (SafetensorsEntry entry : file.entries()) {
        byte[] bytes = file.data(entry.name()).toArray(ValueLayout.JAVA_BYTE);
        tensors.put(
            entry.name(), Tensor.of(entry.dtype(), MemorySegment.ofArray(bytes), entry.shape()));
      }
    }
    return tensors;
  }

  /// Asserts dtype, shape and every bit.
  static void assertSame(String what, Tensor actual, Tensor expected) {
    assertThat(actual).as(what).isNotNull();
    assertThat(actual.dtype()).as(what).isEqualTo(expected.dtype());
    assertThat(actual.shape()).as(what).isEqualTo(expected.shape());
    assertThat(actual.data().mismatch(expected.data())).as("%s: first byte", what).isEqualTo(-1);
  }

  static float[] floats(Tensor tensor) {
    return tensor.data().toArray(ValueLayout.JAVA_FLOAT_UNALIGNED);
  }

  static byte[] bytes(Tensor tensor) {
    return tensor.data().toArray(ValueLayout.JAVA_BYTE);
  }

  /// A folder of the repository.
  static Path root(String folder) {
    String root = System.getProperty("nvfp4j.root");
    Path start = root != null ? Path.of(root) : Path.of("").toAbsolutePath();
    for (Path at = start; at != null; at = at.getParent()) {
      if (Files.exists(at.resolve(folder))) {
        return at.resolve(folder);
      }
    }
    throw new AssertionError(folder + " was not found above " + start);
  }

  static Path goldens() {
    return root("java-api/src/test/resources/goldens");
  }

  static Path nano() {
    return root("samples/dsv4-nano/model.safetensors");
  }

  /// The files of a folder, hidden ones included.
  static List<String> files(Path directory) throws IOException {
    try (Stream<Path> files = Files.list(directory)) {
      return files.map(file -> file.getFileName().toString()).sorted().toList();
    }
  }
}
