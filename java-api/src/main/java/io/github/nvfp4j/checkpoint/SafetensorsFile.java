// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.checkpoint;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// A safetensors file, mapped into memory: opening reads its header and nothing else.
///
/// Tensors of any size are views of the mapping; nothing is copied, and pages come in as they are
/// read. The views are read-only and live as long as the arena that the file was opened with, on
/// the threads that this arena allows. There is nothing to close but that arena.
///
/// The file must not change meanwhile. A file that another process makes shorter faults when a
/// missing page is touched, as with any mapping: Java code gets an `InternalError`, native code
/// ends the process. Replacing a file by a rename, as [SafetensorsWriter] does, is harmless.
///
/// Layout: an unsigned little-endian 64-bit length, that many bytes of JSON, then the data.
/// Alignment of a tensor is what its writer made it: see [#isAligned].
public final class SafetensorsFile {
  private static final int LENGTH_BYTES = 8;
  // A page: of more, a mapping knows nothing.
  private static final int MAX_ALIGNMENT = 4096;

  private final Path path;
  private final MemorySegment mapping;
  private final long dataStart;
  private final Map<String, HeaderReader.Placed> tensors;
  private final List<SafetensorsEntry> entries;
  private final Map<String, String> metadata;

  private SafetensorsFile(
      Path path, MemorySegment mapping, long dataStart, HeaderReader.Header header) {
    this.path = path;
    this.mapping = mapping;
    this.dataStart = dataStart;
    this.metadata = header.metadata();
    this.entries = header.tensors().stream().map(HeaderReader.Placed::entry).toList();
    this.tensors = LinkedHashMap.newLinkedHashMap(entries.size());
    for (HeaderReader.Placed tensor : header.tensors()) {
      tensors.put(tensor.entry().name(), tensor);
    }
  }

  /// Maps a file and checks its header.
  ///
  /// @param path a regular file
  /// @param arena holds the mapping; closing it unmaps the file
  /// @return the file
  /// @throws SafetensorsException when the file is not what the format says: header length, UTF-8,
  ///   JSON, keys, dtypes, shapes, offsets that overlap, leave a hole or pass the end, bytes behind
  ///   the last tensor
  /// @throws NoSuchFileException when there is no such file
  /// @throws IOException when it cannot be read
  public static SafetensorsFile open(Path path, Arena arena) throws IOException {
    if (Files.exists(path) && !Files.isRegularFile(path)) {
      throw new SafetensorsException(path + ": is not a regular file, expected a safetensors file");
    }
    MemorySegment mapping;
    try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
      long size = channel.size();
      checkLength(path, channel, size);
      mapping = channel.map(FileChannel.MapMode.READ_ONLY, 0, size, arena);
    }
    // Checked again: what was mapped is what counts.
    long headerBytes = mapping.get(ValueLayout.JAVA_LONG_UNALIGNED, 0);
    checkHeaderBytes(path, headerBytes, mapping.byteSize());
    byte[] json = mapping.asSlice(LENGTH_BYTES, headerBytes).toArray(ValueLayout.JAVA_BYTE);
    long dataStart = LENGTH_BYTES + headerBytes;
    HeaderReader.Header header =
        HeaderReader.read(path.toString(), json, mapping.byteSize() - dataStart);
    return new SafetensorsFile(path, mapping, dataStart, header);
  }

  /// Refuses a file by its length before the address space is spent on it.
  private static void checkLength(Path path, FileChannel channel, long size) throws IOException {
    if (size < LENGTH_BYTES) {
      throw new SafetensorsException(
          path + ": has " + size + " bytes, expected at least 8, the header's length");
    }
    ByteBuffer length = ByteBuffer.allocate(LENGTH_BYTES).order(ByteOrder.LITTLE_ENDIAN);
    while (length.hasRemaining()) {
      if (channel.read(length, length.position()) < 0) {
        throw new SafetensorsException(path + ": ended while its first 8 bytes were read");
      }
    }
    checkHeaderBytes(path, length.getLong(0), size);
  }

  static void checkHeaderBytes(Path path, long headerBytes, long size) throws SafetensorsException {
    if (headerBytes < 0 || headerBytes > HeaderReader.MAX_HEADER_BYTES) {
      throw new SafetensorsException(
          path
              + ": header length is "
              + Long.toUnsignedString(headerBytes)
              + " bytes, expected at most "
              + HeaderReader.MAX_HEADER_BYTES);
    }
    if (headerBytes > size - LENGTH_BYTES) {
      throw new SafetensorsException(
          path
              + ": header length is "
              + headerBytes
              + " bytes, expected at most "
              + (size - LENGTH_BYTES)
              + ", the bytes behind it");
    }
  }

  /// Where the file is.
  ///
  /// @return the path given to [#open]
  public Path path() {
    return path;
  }

  /// Size of the whole file.
  ///
  /// @return bytes
  public long byteSize() {
    return mapping.byteSize();
  }

  /// The names of all tensors.
  ///
  /// @return unmodifiable, in the order of their data
  public List<String> names() {
    return List.copyOf(tensors.keySet());
  }

  /// All tensors.
  ///
  /// @return unmodifiable, in the order of their data
  public List<SafetensorsEntry> entries() {
    return entries;
  }

  /// Whether there is a tensor of that name.
  ///
  /// @param name a name
  /// @return true when there is
  public boolean contains(String name) {
    return tensors.containsKey(name);
  }

  /// One tensor's dtype and shape.
  ///
  /// @param name a name
  /// @return the declaration
  /// @throws IllegalArgumentException when there is no such tensor
  public SafetensorsEntry entry(String name) {
    return placed(name).entry();
  }

  /// One tensor's bytes, row-major and little-endian.
  ///
  /// @param name a name
  /// @return a read-only view of the mapping, `entry(name).byteSize()` long
  /// @throws IllegalArgumentException when there is no such tensor
  public MemorySegment data(String name) {
    HeaderReader.Placed placed = placed(name);
    return mapping.asSlice(dataStart + placed.begin(), placed.entry().byteSize());
  }

  /// Whether a tensor's data lies at a multiple of a power of two, in memory as in the file. (The
  /// mapping begins at a page.) A tensor that is not aligned to its element size must be copied
  /// before an op reads it.
  ///
  /// @param name a name
  /// @param alignment bytes, a power of two up to 4096
  /// @return true when it does
  /// @throws IllegalArgumentException when there is no such tensor, or `alignment` is not such a
  ///   number
  public boolean isAligned(String name, int alignment) {
    if (alignment < 1 || alignment > MAX_ALIGNMENT || Integer.bitCount(alignment) != 1) {
      throw new IllegalArgumentException(
          path
              + ": alignment is "
              + alignment
              + ", expected a power of two from 1 to "
              + MAX_ALIGNMENT);
    }
    return (dataStart + placed(name).begin()) % alignment == 0;
  }

  /// The strings under `__metadata__`.
  ///
  /// @return unmodifiable, in the order of the file; empty when there are none
  public Map<String, String> metadata() {
    return metadata;
  }

  private HeaderReader.Placed placed(String name) {
    HeaderReader.Placed placed = tensors.get(name);
    if (placed == null) {
      throw new IllegalArgumentException(path + ": has no tensor " + Text.quote(name));
    }
    return placed;
  }
}
