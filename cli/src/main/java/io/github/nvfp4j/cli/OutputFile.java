// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.checkpoint.SafetensorsEntry;
import io.github.nvfp4j.checkpoint.SafetensorsWriter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

/// The file that a command writes: nothing of it stays when the command fails, or is told to end.
final class OutputFile implements AutoCloseable {
  private final SafetensorsWriter writer;
  private final Thread onExit;

  OutputFile(Path path, List<SafetensorsEntry> entries, Map<String, String> metadata)
      throws IOException {
    writer = SafetensorsWriter.create(path, entries, metadata);
    Path temporary = writer.temporaryFile();
    onExit =
        Thread.ofPlatform()
            .unstarted(() -> {
              try {
                Files.deleteIfExists(temporary);
              } catch (IOException e) {
                System.err.println("nvfp4j: " + temporary + ": could not be removed");
              }
            });
    Runtime.getRuntime().addShutdownHook(onExit);
  }

  /// Refuses to write over what is read.
  static void refuseSame(String command, Path in, Path out) throws IOException {
    boolean same = in.toAbsolutePath().normalize().equals(out.toAbsolutePath().normalize());
    if (same || Files.exists(in) && Files.exists(out) && Files.isSameFile(in, out)) {
      throw Failure.badInput(command + ": OUT is " + out + ", which is IN, expected another file");
    }
  }

  SafetensorsWriter writer() {
    return writer;
  }

  void commit() throws IOException {
    writer.commit();
  }

  @Override
  public void close() throws IOException {
    writer.close();
    try {
      Runtime.getRuntime().removeShutdownHook(onExit);
    } catch (IllegalStateException e) {
      // The process is ending: the hook does its work, or finds nothing to do.
      return;
    }
  }
}
