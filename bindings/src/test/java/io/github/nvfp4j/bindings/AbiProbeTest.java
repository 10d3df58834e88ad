// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.lang.foreign.AddressLayout;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.GroupLayout;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.PaddingLayout;
import java.lang.foreign.ValueLayout;
import java.nio.file.FileSystem;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/// The generated bindings against `abi.properties`, what the C++ compiler made of the same headers:
/// wherever header and generated code disagree, one of these fails, with no jextract at hand.
///
/// Not seen here: signedness and pointee types.
class AbiProbeTest {
  private static final Map<String, String> FUNCTIONS = new TreeMap<>();
  private static final Map<String, Long> CONSTANTS = new TreeMap<>();
  private static final Map<String, Map<String, String>> STRUCTS = new TreeMap<>();

  @BeforeAll
  static void read() throws IOException {
    String file = System.getProperty("nvfp4j.abi.properties");
    assumeTrue(file != null, "nvfp4j.abi.properties is not set: the native build writes that file");
    for (String line : Files.readAllLines(Path.of(file))) {
      String key = line.substring(0, line.indexOf('='));
      String value = line.substring(line.indexOf('=') + 1);
      String[] parts = key.split("\\.");
      switch (parts[0]) {
        case "func" -> FUNCTIONS.put(parts[1], value);
        case "const" -> CONSTANTS.put(parts[1], Long.valueOf(value));
        case "struct" ->
            STRUCTS.computeIfAbsent(parts[1], name -> new LinkedHashMap<>()).put(parts[2], value);
        case "opaque" -> {} // a pointer to it is a pointer
        default -> throw new IOException(file + ": not understood: " + line);
      }
    }
    assertThat(FUNCTIONS).hasSizeGreaterThan(20);
    assertThat(CONSTANTS).hasSizeGreaterThan(40);
    assertThat(STRUCTS).hasSizeGreaterThan(6);
  }

  @Test
  void functions() throws Exception {
    NativeLibrary.require(); // a descriptor cannot be had without its address
    Map<String, String> generated = new TreeMap<>();
    for (String name : Generated.functions(Generated.nvfp4j()).keySet()) {
      generated.put(name, signature(Generated.descriptor(Generated.nvfp4j(), name)));
    }
    assertThat(generated).isEqualTo(FUNCTIONS);
  }

  private static String signature(FunctionDescriptor descriptor) {
    return descriptor.returnLayout().map(AbiProbeTest::letter).orElse("V")
        + descriptor.argumentLayouts().stream()
            .map(AbiProbeTest::letter)
            .collect(Collectors.joining("", "(", ")"));
  }

  private static String letter(MemoryLayout layout) {
    return switch (layout) {
      case ValueLayout.OfInt _ -> "I";
      case ValueLayout.OfLong _ -> "J";
      case ValueLayout.OfFloat _ -> "F";
      case ValueLayout.OfDouble _ -> "D";
      case AddressLayout _ -> "A";
      default -> layout.toString();
    };
  }

  @Test
  void constants() throws Exception {
    assertThat(Generated.constants(Generated.nvfp4j())).isEqualTo(CONSTANTS);
  }

  @Test
  void structs() throws Exception {
    for (Map.Entry<String, Map<String, String>> struct : STRUCTS.entrySet()) {
      GroupLayout layout = Generated.layout(struct.getKey());
      Map<String, String> generated = new LinkedHashMap<>();
      generated.put("sizeof", String.valueOf(layout.byteSize()));
      for (MemoryLayout member : layout.memberLayouts()) {
        if (!(member instanceof PaddingLayout)) {
          String name = member.name().orElseThrow();
          long offset = layout.byteOffset(PathElement.groupElement(name));
          generated.put(name, offset + "," + member.byteSize());
        }
      }
      assertThat(new ArrayList<>(generated.entrySet()))
          .as(struct.getKey())
          .isEqualTo(new ArrayList<>(struct.getValue().entrySet()));
    }
  }

  @Test
  void noStructTooMany() throws Exception {
    assertThat(generatedClasses()).isEqualTo(STRUCTS.keySet());
  }

  /// The generated classes of nvfp4j.h less the header's own.
  private static TreeSet<String> generatedClasses() throws IOException {
    String folder = Generated.nvfp4j().getPackageName().replace('.', '/');
    Path home = Fork.bindings();
    if (Files.isDirectory(home)) {
      return classes(home.resolve(folder));
    }
    try (FileSystem jar = FileSystems.newFileSystem(home)) {
      return classes(jar.getPath(folder));
    }
  }

  private static TreeSet<String> classes(Path folder) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      List<String> names =
          files
              .map(file -> file.getFileName().toString().replaceFirst("\\.class$", ""))
              .filter(name -> !name.equals("nvfp4j_h") && !name.contains("$"))
              .toList();
      return new TreeSet<>(names);
    }
  }
}
