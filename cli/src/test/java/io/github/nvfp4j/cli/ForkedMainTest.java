// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// The command as a process of its own: exit codes, streams, and what a signal leaves.
class ForkedMainTest {
  @TempDir Path directory;
  @TempDir Path logs;

  private Cli.Result fork(Object... arguments) throws Exception {
    return Cli.fork(logs, List.of(), arguments);
  }

  @Test
  void exitCodesReachTheShell() throws Exception {
    Path out = directory.resolve("out.safetensors");
    fork("quantize", Cli.nano(), out).succeeded();
    fork("quantize", out, Path.of("/dev/null")).failed(2, "has no tensor to quantise");
    fork("nonsense").failed(2, "nvfp4j: Unmatched argument");
    fork("selftest", "--device", "cuda:999").failed(3, "cuda:999");
    Path in = directory.resolve("in.safetensors");
    float[] nan = new float[16];
    nan[3] = Float.NaN;
    Cli.write(in, Map.of("input", Cli.Tensor.floats(nan, 1, 16)));
    fork("run", "quantize", in, directory.resolve("none")).failed(1, "quantize:");
    assertThat(Cli.files(directory)).containsExactly("in.safetensors", "out.safetensors");
  }

  @Test
  void aStackTraceIsForWhoAsks() throws Exception {
    Cli.Result plain = fork("quantize", directory.resolve("none"), directory.resolve("out"));
    plain.failed(2, "none: no such file");
    assertThat(plain.err()).doesNotContain("\tat ");
    Cli.Result traced =
        fork("quantize", directory.resolve("none"), directory.resolve("out"), "--stacktrace");
    assertThat(traced.exitCode()).isEqualTo(2);
    assertThat(traced.err()).contains("none: no such file").contains("\tat ");
  }

  @Test
  void aLibraryThatCannotBeLoadedIsExitThreeAndOneSentence() throws Exception {
    List<String> broken = List.of("-Dnvfp4j.library=" + logs.resolve("missing.so"));
    Cli.fork(logs, broken, "selftest").failed(3, "missing.so");
    Cli.fork(logs, broken, "quantize", Cli.nano(), directory.resolve("out"))
        .failed(3, "missing.so");
    assertThat(Cli.files(directory)).isEmpty();
    Cli.Result version = Cli.fork(logs, broken, "--version").succeeded();
    assertThat(version.out()).contains("version unknown").contains("missing.so");
  }

  @Test
  void tooLittleMemoryIsExitThreeAndOneSentence() throws Exception {
    Path in = directory.resolve("in.safetensors");
    int headerBytes = 90_000_000;
    ByteBuffer start = ByteBuffer.allocate(9).order(ByteOrder.LITTLE_ENDIAN);
    start.putLong(headerBytes).put((byte) '{').flip();
    try (FileChannel channel =
        FileChannel.open(in, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
      channel.write(start, 0);
      channel.write(ByteBuffer.wrap(new byte[1]), 8 + headerBytes - 1);
    }
    Path out = directory.resolve("out.safetensors");
    Cli.fork(logs, List.of("-Xmx32m"), "quantize", in, out).failed(3, "out of memory: ");
    assertThat(Cli.files(directory)).containsExactly("in.safetensors");
  }

  @Test
  void aSignalLeavesNoFile() throws Exception {
    Path in = directory.resolve("in.safetensors");
    writeSparse(in, 8192, 65536); // 1 GiB of zeros, of which the disk holds none
    Path out = directory.resolve("out.safetensors");
    Process process =
        Cli.start(logs.resolve("out.txt"), logs.resolve("err.txt"), List.of(), "quantize", in, out);
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
    while (Cli.files(directory).size() == 1 && process.isAlive()) {
      assertThat(System.nanoTime()).as("no file appeared").isLessThan(deadline);
      Thread.onSpinWait();
    }
    process.destroy(); // SIGTERM
    assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
    assertThat(process.exitValue()).isNotZero();
    assertThat(Cli.files(directory)).containsExactly("in.safetensors");
  }

  /// A checkpoint of one weight that is a hole in its file.
  private static void writeSparse(Path path, long rows, long columns) throws IOException {
    long bytes = 2 * rows * columns;
    String json =
        "{\"x.w1.weight\":{\"dtype\":\"BF16\",\"shape\":["
            + rows
            + ","
            + columns
            + "],\"data_offsets\":[0,"
            + bytes
            + "]}}";
    byte[] text = json.getBytes(StandardCharsets.UTF_8);
    ByteBuffer header = ByteBuffer.allocate(8 + text.length).order(ByteOrder.LITTLE_ENDIAN);
    header.putLong(text.length).put(text).flip();
    try (FileChannel channel =
        FileChannel.open(path, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
      channel.write(header, 0);
      channel.write(ByteBuffer.wrap(new byte[1]), 8 + text.length + bytes - 1);
    }
  }
}
