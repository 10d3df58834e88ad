// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.DeviceInfo;
import io.github.nvfp4j.Nvfp4j;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/// Result files: what was measured, on what, with which build.
final class Results {
  private Results() {}

  /// What every result file starts with.
  ///
  /// @param kind `device-time` or `host`
  /// @param device what was measured
  /// @param quick whether the figures are of a quick run and mean nothing
  static Map<String, @Nullable Object> header(String kind, DeviceInfo device, boolean quick) {
    Map<String, @Nullable Object> header = new LinkedHashMap<>();
    header.put("schema", 1);
    header.put("kind", kind);
    header.put("quick", quick);
    header.put("date", Instant.now().truncatedTo(ChronoUnit.SECONDS).toString());
    header.put("commit", revision());
    header.put("device", deviceMap(device));
    header.put("host", hostMap());
    header.put("library", Json.parse(Nvfp4j.buildInfo()));
    return header;
  }

  /// @return the revision that the native library was built from, `unknown` when it does not say
  static String revision() {
    return Json.parse(Nvfp4j.buildInfo()) instanceof Map<?, ?> info
            && info.get("revision") instanceof String revision
            && !revision.isBlank()
        ? revision
        : "unknown";
  }

  /// Writes `<device>-<commit><suffix>.json`: to a temporary file first, then moved into place.
  ///
  /// @return the file
  static Path write(
      Path folder, DeviceInfo device, String suffix, Map<String, @Nullable Object> result)
      throws IOException {
    Files.createDirectories(folder);
    Path file = folder.resolve(slug(name(device)) + "-" + slug(revision()) + suffix + ".json");
    Path temporary = Files.createTempFile(folder, ".result", ".json");
    Files.writeString(temporary, Json.write(result));
    return Files.move(temporary, file, StandardCopyOption.REPLACE_EXISTING);
  }

  /// @return the card's name, or the processor's
  static String name(DeviceInfo device) {
    return device.id().equals("cpu") ? cpuModel() : device.name();
  }

  /// @return the name in small letters, digits and single hyphens, without the maker's
  static String slug(String name) {
    return name.toLowerCase(Locale.ROOT)
        .replaceAll("nvidia|intel|amd|\\((r|tm)\\)", "")
        .replaceAll("[^a-z0-9]+", "-")
        .replaceAll("^-|-$", "");
  }

  private static Map<String, @Nullable Object> deviceMap(DeviceInfo device) {
    Map<String, @Nullable Object> map = new LinkedHashMap<>();
    map.put("id", device.id());
    map.put("name", name(device));
    if (!device.id().equals("cpu")) {
      map.put(
          "compute_capability",
          device.computeCapabilityMajor() + "." + device.computeCapabilityMinor());
      map.put("multiprocessors", device.multiprocessors());
      map.put("memory_bytes", device.memoryBytes());
      map.put("driver", device.driverVersion());
      map.put("runtime", device.runtimeVersion());
    }
    return map;
  }

  private static Map<String, @Nullable Object> hostMap() {
    Map<String, @Nullable Object> map = new LinkedHashMap<>();
    map.put("cpu", cpuModel());
    map.put("processors", Runtime.getRuntime().availableProcessors());
    map.put("java", Objects.toString(System.getProperty("java.runtime.version")));
    return map;
  }

  private static String cpuModel() {
    try (var lines = Files.lines(Path.of("/proc/cpuinfo"))) {
      return lines
          .filter(line -> line.startsWith("model name"))
          .map(line -> line.substring(line.indexOf(':') + 1).strip())
          .findFirst()
          .orElse("unknown CPU");
    } catch (IOException e) {
      return "unknown CPU";
    }
  }
}
