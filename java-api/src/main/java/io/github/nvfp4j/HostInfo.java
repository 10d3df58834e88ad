// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.stream.Stream;

/// What the CPU device says about itself.
final class HostInfo {
  private HostInfo() {}

  static DeviceInfo read() {
    String name =
        find(Path.of("/proc/cpuinfo"), "model name").orElse(System.getProperty("os.arch", "cpu"));
    long memory =
        find(Path.of("/proc/meminfo"), "MemTotal")
            .map(text -> Long.parseLong(text.split(" ", 2)[0]) * 1024)
            .orElse(0L);
    return new DeviceInfo(
        "cpu", name, 0, 0, Runtime.getRuntime().availableProcessors(), memory, 0, 0);
  }

  // The value of the first line `key : value`.
  private static Optional<String> find(Path file, String key) {
    try (Stream<String> lines = Files.lines(file)) {
      return lines
          .filter(line -> line.startsWith(key))
          .map(line -> line.substring(line.indexOf(':') + 1).strip())
          .filter(value -> !value.isEmpty())
          .findFirst();
    } catch (IOException e) {
      return Optional.empty();
    }
  }
}
