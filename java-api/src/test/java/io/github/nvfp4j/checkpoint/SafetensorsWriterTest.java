// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class SafetensorsWriterTest {
  @TempDir Path directory;

  private static SafetensorsEntry entry(String name, SafetensorsDType dtype, long... shape) {
    return new SafetensorsEntry(name, dtype, shape);
  }

  private List<Path> files() throws IOException {
    try (Stream<Path> files = Files.list(directory)) {
      return files.toList();
    }
  }

  @Test
  void whatIsWrittenIsReadAgain() throws IOException {
    long seed = System.nanoTime();
    Random random = new Random(seed);
    for (int round = 0; round < 50; round++) {
      Map<SafetensorsEntry, byte[]> tensors = new LinkedHashMap<>();
      int count = random.nextInt(20);
      for (int i = 0; i < count; i++) {
        SafetensorsDType[] dtypes = SafetensorsDType.values();
        long[] shape = new long[random.nextInt(4) + 1];
        for (int d = 0; d < shape.length; d++) {
          shape[d] = random.nextInt(5);
        }
        shape[0] *= 4; // whole bytes for 4 and 6 bits
        String name = randomName(random) + i;
        SafetensorsEntry entry = entry(name, dtypes[random.nextInt(dtypes.length)], shape);
        byte[] bytes = new byte[(int) entry.byteSize()];
        random.nextBytes(bytes);
        tensors.put(entry, bytes);
      }
      Map<String, String> metadata = new LinkedHashMap<>();
      for (int i = random.nextInt(4); i > 0; i--) {
        metadata.put(randomName(random), randomName(random));
      }
      Path path = directory.resolve("round-trip.safetensors");
      List<SafetensorsEntry> entries = List.copyOf(tensors.keySet());
      List<SafetensorsEntry> order = new ArrayList<>(entries);
      java.util.Collections.shuffle(order, random); // bytes may come in any order
      try (SafetensorsWriter writer = SafetensorsWriter.create(path, entries, metadata)) {
        for (SafetensorsEntry entry : order) {
          writer.write(entry.name(), MemorySegment.ofArray(tensors.get(entry)));
        }
        writer.commit();
        assertThat(Files.size(path)).isEqualTo(writer.byteSize());
      }
      try (Arena arena = Arena.ofConfined()) {
        SafetensorsFile file = SafetensorsFile.open(path, arena);
        assertThat(file.metadata()).as("seed %d", seed).isEqualTo(metadata);
        assertThat(file.entries()).as("seed %d", seed).containsExactlyInAnyOrderElementsOf(entries);
        for (SafetensorsEntry entry : entries) {
          assertThat(file.data(entry.name()).toArray(ValueLayout.JAVA_BYTE))
              .as("seed %d", seed)
              .isEqualTo(tensors.get(entry));
        }
        if (!entries.isEmpty()) {
          assertThat(file.isAligned(file.names().getFirst(), 16)).isTrue();
        }
      }
      assertThat(files()).containsExactly(path);
    }
  }

  private static String randomName(Random random) {
    StringBuilder name = new StringBuilder();
    for (int i = random.nextInt(8); i > 0; i--) {
      switch (random.nextInt(4)) {
        case 0 -> name.append((char) random.nextInt(0x20));
        case 1 -> name.append("\"\\/{}[]:, ".charAt(random.nextInt(10)));
        case 2 -> name.append((char) ('a' + random.nextInt(26)));
        default -> {
          int c = random.nextInt(0x110000);
          if (c < 0xd800 || c > 0xdfff) {
            name.appendCodePoint(c);
          }
        }
      }
    }
    return name.toString();
  }

  @Test
  void scalarsHaveNoDimension() throws IOException {
    Path path = directory.resolve("scalar.safetensors");
    try (Arena arena = Arena.ofConfined();
        SafetensorsWriter writer =
            SafetensorsWriter.create(path, List.of(entry("s", SafetensorsDType.F32)), Map.of())) {
      MemorySegment one = arena.allocate(4);
      one.set(ValueLayout.JAVA_FLOAT, 0, 1.5f);
      writer.write("s", one);
      writer.commit();
      SafetensorsFile file = SafetensorsFile.open(path, arena);
      assertThat(file.entry("s").shape()).isEmpty();
      assertThat(file.data("s").get(ValueLayout.JAVA_FLOAT_UNALIGNED, 0)).isEqualTo(1.5f);
    }
  }

  @Test
  void withoutCommitTheOldFileStaysAndNothingElse() throws IOException {
    Path path = Files.writeString(directory.resolve("old"), "old");
    List<SafetensorsEntry> entries =
        List.of(entry("a", SafetensorsDType.U8, 4), entry("b", SafetensorsDType.U8, 4));
    try (SafetensorsWriter writer = SafetensorsWriter.create(path, entries, Map.of())) {
      assertThat(files()).containsExactlyInAnyOrder(path, writer.temporaryFile());
      writer.write("a", MemorySegment.ofArray(new byte[4]));
      assertThatThrownBy(writer::commit)
          .isInstanceOf(IllegalStateException.class)
          .hasMessage(path + ": 1 declared tensors were not written, among them \"b\"");
      assertThatThrownBy(() -> writer.write("a", MemorySegment.ofArray(new byte[4])))
          .isInstanceOf(IllegalStateException.class)
          .hasMessage(path + ": tensor \"a\" was written already, expected once");
      assertThatThrownBy(() -> writer.write("b", MemorySegment.ofArray(new byte[3])))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage(path + ": tensor \"b\": data has 3 bytes, expected 4 (\"b\" U8 [4])");
      assertThatThrownBy(() -> writer.write("c", MemorySegment.ofArray(new byte[3])))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage(path + ": tensor \"c\" was not declared");
      writer.write("b", MemorySegment.ofArray(new byte[4])); // a refused write can be mended
    }
    assertThat(path).hasContent("old");
    assertThat(files()).containsExactly(path);
  }

  @Test
  void whatTheDiskRefusesNamesTheFileAndIsStillToBeWritten() throws IOException {
    Path path = directory.resolve("large");
    List<SafetensorsEntry> entries =
        List.of(
            entry("hole", SafetensorsDType.U8, 1L << 59), entry("beyond", SafetensorsDType.U8, 4));
    try (SafetensorsWriter writer = SafetensorsWriter.create(path, entries, Map.of())) {
      MemorySegment four = MemorySegment.ofArray(new byte[4]);
      IOException refusal =
          catchThrowableOfType(IOException.class, () -> writer.write("beyond", four));
      assumeTrue(refusal != null, "a file system whose files may have 512 PiB");
      assertThat(refusal).hasMessageStartingWith(path + ": ").hasNoSuppressedExceptions();
      assertThat(refusal.getMessage()).isNotEqualTo(path + ": null");
      // Refused again, and not as something that was written already.
      assertThatThrownBy(() -> writer.write("beyond", four)).isInstanceOf(IOException.class);
      assertThatThrownBy(writer::commit).hasMessageContaining("2 declared tensors");
    }
    assertThat(files()).isEmpty();
  }

  @Test
  void aClosedWriterSaysSo() throws IOException {
    Path path = directory.resolve("closed");
    SafetensorsWriter writer =
        SafetensorsWriter.create(path, List.of(entry("a", SafetensorsDType.U8, 1)), Map.of());
    writer.close();
    writer.close();
    assertThatThrownBy(() -> writer.write("a", MemorySegment.ofArray(new byte[1])))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage(path + ": the writer is closed");
    assertThatThrownBy(writer::commit).hasMessage(path + ": the writer is closed");
    assertThat(files()).isEmpty();
  }

  @Test
  void whatCannotBeWrittenIsRefusedBeforeAFileAppears() throws IOException {
    Path path = directory.resolve("bad");
    SafetensorsEntry a = entry("a", SafetensorsDType.U8, 1);
    assertThatThrownBy(() -> SafetensorsWriter.create(path, List.of(a, a), Map.of()))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("safetensors: tensor \"a\" is declared twice");
    assertThatThrownBy(() -> SafetensorsWriter.create(path, List.of(a), Map.of("\ud800", "")))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("safetensors: metadata \"\\ud800\" has an unpaired surrogate");
    long most = Long.MAX_VALUE / 8;
    List<SafetensorsEntry> huge = new ArrayList<>();
    for (int i = 0; i < 9; i++) {
      huge.add(entry("t" + i, SafetensorsDType.U8, most));
    }
    assertThatThrownBy(() -> SafetensorsWriter.create(path, huge, Map.of()))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("safetensors: tensor \"t8\" ends past 2^63 bytes");
    Map<String, String> large = Map.of("a", "x".repeat(100_000_000));
    assertThatThrownBy(() -> SafetensorsWriter.create(path, List.of(a), large))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageStartingWith("safetensors: header has 1000000")
        .hasMessageEndingWith("bytes, expected at most 100000000");
    assertThatThrownBy(() -> SafetensorsWriter.create(directory, List.of(a), Map.of()))
        .isInstanceOf(SafetensorsException.class)
        .hasMessage(directory + ": is not a regular file, expected a file to write");
    assertThatThrownBy(
            () -> SafetensorsWriter.create(directory.resolve("no/where"), List.of(a), Map.of()))
        .isInstanceOf(NoSuchFileException.class)
        .hasMessageContaining("no such directory");
    assertThat(files()).isEmpty();
  }

  @Test
  void aLinkIsFollowedNotReplaced() throws IOException {
    Path real = Files.writeString(directory.resolve("real"), "old");
    Path link = Files.createSymbolicLink(directory.resolve("link"), real);
    try (SafetensorsWriter writer = SafetensorsWriter.create(link, List.of(), Map.of())) {
      writer.commit();
    }
    assertThat(Files.isSymbolicLink(link)).isTrue();
    try (Arena arena = Arena.ofConfined()) {
      assertThat(SafetensorsFile.open(real, arena).entries()).isEmpty();
    }
    assertThat(files()).containsExactlyInAnyOrder(real, link);
  }

  @Test
  void aFolderThatTakesNoFileIsToldByTheTargetsName() {
    Path target = Path.of("/proc/out.safetensors");
    assertThatThrownBy(() -> SafetensorsWriter.create(target, List.of(), Map.of()))
        .isInstanceOf(FileSystemException.class)
        .hasMessageStartingWith(target + ": ");
  }

  @ParameterizedTest
  @ValueSource(strings = {"__metadata__", "\udc00", "a\ud800b"})
  void namesThatTheFormatCannotHoldAreRefused(String name) {
    assertThatThrownBy(() -> entry(name, SafetensorsDType.U8))
        .isInstanceOf(IllegalArgumentException.class);
  }

  @Test
  void entriesCheckTheirSizes() {
    assertThatThrownBy(() -> entry("a", SafetensorsDType.F4, 3))
        .hasMessage(
            "safetensors: tensor \"a\": shape is [3], expected a whole number of bytes (F4 has 4"
                + " bits)");
    assertThatThrownBy(() -> entry("a", SafetensorsDType.U8, 1, -1))
        .hasMessage("safetensors: tensor \"a\": shape is [1, -1], expected no negative dimension");
    assertThatThrownBy(() -> entry("a", SafetensorsDType.U8, 1L << 60))
        .hasMessage(
            "safetensors: tensor \"a\": shape is [1152921504606846976], expected a size below 2^63"
                + " bits");
    assertThat(entry("a", SafetensorsDType.F6_E3M2, 4).byteSize()).isEqualTo(3);
  }
}
