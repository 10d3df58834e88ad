// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.checkpoint;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;

/// Writes a safetensors file tensor by tensor, holding none of them.
///
/// The tensors are declared first, which fixes the header and the place of each; then the bytes of
/// each are written, in any order; then [#commit] flushes the file to the disk and moves it into
/// place in one step. Until then the bytes are in a temporary file beside the target, and [#close]
/// without a commit removes it: the target is the old file, or the whole new one, never a part.
///
/// ```java
/// try (SafetensorsWriter writer = SafetensorsWriter.create(path, entries, Map.of())) {
///   for (SafetensorsEntry entry : entries) {
///     writer.write(entry.name(), bytesOf(entry));
///   }
///   writer.commit();
/// }
/// ```
///
/// Data lies in the order of the declaration, without a gap (the format allows none), and begins at
/// a multiple of 16 bytes. Declare the wider types first and every tensor is aligned to its
/// elements. Not for use by several threads at once.
public final class SafetensorsWriter implements AutoCloseable {
  private static final int DATA_ALIGNMENT = 16;
  private static final long CHUNK_BYTES = 64L << 20;

  private final Path target;
  private final Path temporary;
  private final FileChannel channel;
  private final Map<String, HeaderReader.Placed> tensors;
  private final Set<String> missing;
  private final long dataStart;
  private final long fileBytes;
  private boolean committed;

  private SafetensorsWriter(
      Path target,
      Path temporary,
      FileChannel channel,
      Map<String, HeaderReader.Placed> tensors,
      long dataStart,
      long dataBytes) {
    this.target = target;
    this.temporary = temporary;
    this.channel = channel;
    this.tensors = tensors;
    this.missing = new HashSet<>(tensors.keySet());
    this.dataStart = dataStart;
    this.fileBytes = dataStart + dataBytes;
  }

  /// Creates the temporary file and writes the header.
  ///
  /// @param target where the file goes; a file that is there is replaced at the commit. A symbolic
  ///   link is followed
  /// @param entries every tensor, in the order of its data
  /// @param metadata the strings under `__metadata__`; empty leaves it out
  /// @return the writer
  /// @throws IllegalArgumentException when two tensors have one name, the sizes pass 2^63 - 1
  ///   bytes, a string is not valid Unicode, or the header passes the format's 100 MB
  /// @throws SafetensorsException when the target exists and is not a regular file
  /// @throws IOException when the temporary file cannot be created or written
  public static SafetensorsWriter create(
      Path target, List<SafetensorsEntry> entries, Map<String, String> metadata)
      throws IOException {
    Map<String, HeaderReader.Placed> tensors = place(entries);
    byte[] header = header(tensors.values(), metadata);
    long dataBytes = 0;
    for (HeaderReader.Placed tensor : tensors.values()) {
      dataBytes = tensor.end();
    }
    if (dataBytes > Long.MAX_VALUE - header.length) {
      throw new IllegalArgumentException(
          "safetensors: tensors have " + dataBytes + " bytes, expected a file below 2^63");
    }
    Path resolved = resolve(target);
    Path temporary = temporaryBeside(resolved);
    FileChannel channel = createBeside(resolved, temporary);
    SafetensorsWriter writer =
        new SafetensorsWriter(resolved, temporary, channel, tensors, header.length, dataBytes);
    try {
      writer.writeFully(ByteBuffer.wrap(header), 0);
    } catch (IOException | RuntimeException e) {
      writer.closeAfter(e);
      throw e;
    }
    return writer;
  }

  /// Writes all bytes of one tensor.
  ///
  /// @param name a declared tensor that was not written yet
  /// @param data exactly its bytes, row-major and little-endian; native, mapped, or over a
  ///   `byte[]`. Read before the call returns, not kept
  /// @throws IllegalArgumentException when the name was not declared or the size differs
  /// @throws IllegalStateException when the tensor was written already, or the writer is closed
  /// @throws IOException when the disk refuses; the message names the target
  public void write(String name, MemorySegment data) throws IOException {
    requireOpen();
    HeaderReader.Placed tensor = tensors.get(name);
    if (tensor == null) {
      throw new IllegalArgumentException(
          target + ": tensor " + Text.quote(name) + " was not declared");
    }
    long bytes = tensor.entry().byteSize();
    if (data.byteSize() != bytes) {
      throw new IllegalArgumentException(
          target
              + ": tensor "
              + Text.quote(name)
              + ": data has "
              + data.byteSize()
              + " bytes, expected "
              + bytes
              + " ("
              + tensor.entry()
              + ")");
    }
    if (!missing.contains(name)) {
      throw new IllegalStateException(
          target + ": tensor " + Text.quote(name) + " was written already, expected once");
    }
    for (long done = 0; done < bytes; done += CHUNK_BYTES) {
      MemorySegment chunk = data.asSlice(done, Math.min(CHUNK_BYTES, bytes - done));
      writeFully(chunk.asByteBuffer(), dataStart + tensor.begin() + done);
    }
    missing.remove(name); // not before: what the disk refused half-way is still to be written
  }

  /// Flushes the file to the disk and moves it into place, replacing what was there in one step.
  /// Closes the writer.
  ///
  /// @throws IllegalStateException when a declared tensor was not written, or the writer is closed
  /// @throws IOException when the disk refuses; the target is as it was, and the temporary file
  ///   goes when the writer is closed
  public void commit() throws IOException {
    requireOpen();
    if (!missing.isEmpty()) {
      throw new IllegalStateException(
          target
              + ": "
              + missing.size()
              + " declared tensors were not written, among them "
              + Text.quote(missing.iterator().next()));
    }
    if (channel.size() != fileBytes) {
      throw new IOException(
          target + ": the written file has " + channel.size() + " bytes, expected " + fileBytes);
    }
    try {
      channel.force(true);
      channel.close();
      Files.move(temporary, target, StandardCopyOption.ATOMIC_MOVE);
    } catch (IOException e) {
      throw named(e);
    }
    committed = true;
    syncDirectory();
  }

  /// Removes the temporary file unless [#commit] moved it into place. May be called again.
  @Override
  public void close() throws IOException {
    if (!committed) {
      try {
        channel.close();
      } finally {
        Files.deleteIfExists(temporary);
      }
    }
  }

  /// Size that the file will have.
  ///
  /// @return bytes, the header included
  public long byteSize() {
    return fileBytes;
  }

  /// The file that is being filled: for whoever must remove it when the process is told to end.
  ///
  /// @return a path in the target's directory
  public Path temporaryFile() {
    return temporary;
  }

  private void requireOpen() {
    if (!channel.isOpen()) {
      throw new IllegalStateException(target + ": the writer is closed");
    }
  }

  private void closeAfter(Exception cause) {
    try {
      close();
    } catch (IOException e) {
      cause.addSuppressed(e);
    }
  }

  private void writeFully(ByteBuffer bytes, long position) throws IOException {
    long at = position;
    try {
      while (bytes.hasRemaining()) {
        at += channel.write(bytes, at);
      }
    } catch (ClosedChannelException e) {
      throw e; // an interrupt: nothing to do with the file
    } catch (IOException e) {
      throw named(e);
    }
  }

  /// A failure that names the target: "No space left on device" alone does not say where, and of
  /// the temporary file the user knows nothing.
  private IOException named(IOException e) {
    String reason = e instanceof FileSystemException failure ? failure.getReason() : e.getMessage();
    return new IOException(target + ": " + (reason == null ? e.toString() : reason), e);
  }

  /// The rename itself must reach the disk as well. File systems that cannot flush a directory have
  /// nothing to say here: the file is complete and in place.
  private void syncDirectory() {
    Path directory = target.toAbsolutePath().getParent();
    try (FileChannel opened = FileChannel.open(directory, StandardOpenOption.READ)) {
      opened.force(true);
    } catch (IOException e) {
      return;
    }
  }

  private static Map<String, HeaderReader.Placed> place(List<SafetensorsEntry> entries) {
    Map<String, HeaderReader.Placed> tensors = LinkedHashMap.newLinkedHashMap(entries.size());
    long begin = 0;
    for (SafetensorsEntry entry : entries) {
      if (entry.byteSize() > Long.MAX_VALUE - begin) {
        throw new IllegalArgumentException(
            "safetensors: tensor " + Text.quote(entry.name()) + " ends past 2^63 bytes");
      }
      if (tensors.put(entry.name(), new HeaderReader.Placed(entry, begin)) != null) {
        throw new IllegalArgumentException(
            "safetensors: tensor " + Text.quote(entry.name()) + " is declared twice");
      }
      begin += entry.byteSize();
    }
    return tensors;
  }

  /// Length, JSON, and the spaces that bring the data to its alignment.
  private static byte[] header(
      Iterable<HeaderReader.Placed> tensors, Map<String, String> metadata) {
    StringBuilder json = new StringBuilder("{");
    if (!metadata.isEmpty()) {
      Text.appendJson(json, SafetensorsEntry.METADATA_KEY);
      String separator = ":{";
      for (Map.Entry<String, String> note : metadata.entrySet()) {
        requireUnicode(note.getKey());
        requireUnicode(note.getValue());
        Text.appendJson(json.append(separator), note.getKey());
        Text.appendJson(json.append(':'), note.getValue());
        separator = ",";
      }
      json.append('}');
    }
    for (HeaderReader.Placed tensor : tensors) {
      SafetensorsEntry entry = tensor.entry();
      Text.appendJson(json.length() > 1 ? json.append(',') : json, entry.name());
      json.append(":{\"dtype\":\"").append(entry.dtype()).append("\",\"shape\":[");
      String separator = "";
      for (long dimension : entry.shape()) {
        json.append(separator).append(dimension);
        separator = ",";
      }
      json.append("],\"data_offsets\":[").append(tensor.begin()).append(',');
      json.append(tensor.end()).append("]}");
    }
    byte[] text = json.append('}').toString().getBytes(StandardCharsets.UTF_8);
    int padding = Math.floorMod(-(Long.BYTES + text.length), DATA_ALIGNMENT);
    int length = text.length + padding;
    if (length > HeaderReader.MAX_HEADER_BYTES) {
      throw new IllegalArgumentException(
          "safetensors: header has "
              + length
              + " bytes, expected at most "
              + HeaderReader.MAX_HEADER_BYTES);
    }
    ByteBuffer header =
        ByteBuffer.allocate(Long.BYTES + length).order(ByteOrder.LITTLE_ENDIAN).putLong(length);
    header.put(text).put(" ".repeat(padding).getBytes(StandardCharsets.US_ASCII));
    return header.array();
  }

  private static void requireUnicode(String text) {
    if (!Text.isWellFormed(text)) {
      throw new IllegalArgumentException(
          "safetensors: metadata " + Text.quote(text) + " has an unpaired surrogate");
    }
  }

  /// Follows a symbolic link, so that the commit replaces the file and not the link, and refuses
  /// what is no file: a rename over a device would replace the device.
  private static Path resolve(Path target) throws IOException {
    if (target.getFileName() == null) {
      throw new SafetensorsException(target + ": is not a regular file, expected a file to write");
    }
    if (!Files.exists(target)) {
      if (Files.isSymbolicLink(target)) {
        throw new SafetensorsException(target + ": is a symbolic link to nothing");
      }
      Path directory = target.toAbsolutePath().getParent();
      if (!Files.isDirectory(directory)) {
        throw new NoSuchFileException(directory.toString(), null, "no such directory");
      }
      return target;
    }
    if (!Files.isRegularFile(target)) {
      throw new SafetensorsException(target + ": is not a regular file, expected a file to write");
    }
    if (!Files.isWritable(target)) {
      throw new AccessDeniedException(target.toString(), null, "is not writable");
    }
    return Files.isSymbolicLink(target) ? target.toRealPath() : target;
  }

  /// A failure names the target: of the temporary file the user knows nothing.
  private static FileChannel createBeside(Path target, Path temporary) throws IOException {
    try {
      return FileChannel.open(temporary, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE);
    } catch (AccessDeniedException e) {
      throw new AccessDeniedException(
          target.toString(), null, "permission denied to create a file in its directory");
    } catch (NoSuchFileException e) {
      throw new NoSuchFileException(
          target.toString(), null, "no file can be created in its directory");
    } catch (FileSystemException e) {
      throw new FileSystemException(target.toString(), null, e.getReason());
    }
  }

  /// Hidden, and not made from the target's name, which may be as long as names can be.
  private static Path temporaryBeside(Path target) {
    String random = Long.toUnsignedString(ThreadLocalRandom.current().nextLong(), 36);
    return target.resolveSibling(".nvfp4j-" + random + ".tmp");
  }
}
