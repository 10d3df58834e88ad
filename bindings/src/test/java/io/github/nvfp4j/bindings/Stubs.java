// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.nvfp4j.bindings.generated.nvfp4j.nvfp4j_h;
import java.io.IOException;
import java.io.OutputStream;
import java.lang.classfile.ClassFile;
import java.lang.classfile.attribute.ModuleAttribute;
import java.lang.constant.ModuleDesc;
import java.lang.reflect.AccessFlag;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

/// Small libraries in the place of libnvfp4j, right and wrong ones, made with the C compiler that
/// builds the real one; and natives jars with them.
final class Stubs {
  /// What [Fork] prints of a library that was loaded, before its file.
  static final String LOADED = "loaded " + Nvfp4jConstants.ABI_VERSION + " ";

  private Stubs() {}

  /// Every function of the header.
  static TreeSet<String> functions() {
    TreeSet<String> names = new TreeSet<>();
    for (Method method : nvfp4j_h.class.getMethods()) {
      if (method.getName().startsWith("nvfp4j_") && !method.getName().contains("$")) {
        names.add(method.getName());
      }
    }
    assertThat(names).contains("nvfp4j_abi_version", "nvfp4j_quantize", "nvfp4j_gemm");
    return names;
  }

  /// A library of the current ABI version that needs `libcudart.so.13`, which is put beside it.
  static Path good(Path folder) throws IOException, InterruptedException {
    Files.createDirectories(folder);
    compile(
        folder.resolve("libcudart.so.13"),
        """
        int cudaGetDeviceCount(int *count) { *count = 0; return 100; }
        int cudaGraphLaunch(void *graph, void *stream) { return 0; }
        int cudaEventRecord(void *event, void *stream) { return 0; }
        """,
        "-Wl,-soname,libcudart.so.13");
    return compile(
        folder.resolve(LibraryLoader.LIBRARY_FILE),
        source(nvfp4j_h.NVFP4J_ABI_VERSION(), functions()),
        "-Wl,--no-as-needed",
        "-L" + folder,
        "-l:libcudart.so.13",
        "-Wl,--enable-new-dtags,-rpath,$ORIGIN");
  }

  /// A library as it is built without CUDA.
  static Path withoutCuda(Path folder) throws IOException, InterruptedException {
    return ofVersion(folder, nvfp4j_h.NVFP4J_ABI_VERSION());
  }

  static Path ofVersion(Path folder, int version) throws IOException, InterruptedException {
    return compile(
        Files.createDirectories(folder).resolve(LibraryLoader.LIBRARY_FILE),
        source(version, functions()));
  }

  /// The current ABI version, without some of its functions.
  static Path lacking(Path folder, String... missing) throws IOException, InterruptedException {
    TreeSet<String> functions = functions();
    functions.removeAll(List.of(missing));
    return compile(
        Files.createDirectories(folder).resolve(LibraryLoader.LIBRARY_FILE),
        source(nvfp4j_h.NVFP4J_ABI_VERSION(), functions));
  }

  /// A library of somebody else.
  static Path foreign(Path folder) throws IOException, InterruptedException {
    return compile(
        Files.createDirectories(folder).resolve(LibraryLoader.LIBRARY_FILE),
        "int other(void) { return 1; }\n");
  }

  private static String source(int version, TreeSet<String> functions) {
    StringBuilder text = new StringBuilder();
    for (String function : functions) {
      String value =
          switch (function) {
            case "nvfp4j_abi_version" -> String.valueOf(version);
            case "nvfp4j_build_info" -> "(long) \"{}\"";
            default -> "0";
          };
      text.append("long ")
          .append(function)
          .append("(void) { return ")
          .append(value)
          .append("; }\n");
    }
    return text.toString();
  }

  private static Path compile(Path library, String source, String... options)
      throws IOException, InterruptedException {
    Path file = library.resolveSibling(library.getFileName() + ".c");
    Files.writeString(file, source);
    String[] command = {
      compiler(), "-shared", "-fPIC", "-O1", "-o", library.toString(), file.toString()
    };
    String[] all = Arrays.copyOf(command, command.length + options.length);
    System.arraycopy(options, 0, all, command.length, options.length);
    Process process = new ProcessBuilder(all).redirectErrorStream(true).start();
    String output = new String(process.getInputStream().readAllBytes());
    assertThat(process.waitFor()).as(output).isZero();
    Files.delete(file);
    return library;
  }

  private static String compiler() {
    for (String folder : System.getenv("PATH").split(":")) {
      for (String name : List.of("cc", "gcc")) {
        if (Files.isExecutable(Path.of(folder, name))) {
          return Path.of(folder, name).toString();
        }
      }
    }
    assumeTrue(false, "no C compiler (cc, gcc) on the PATH to make stub libraries with");
    throw new AssertionError();
  }

  static String sha256(byte[] bytes) {
    return HexFormat.of().formatHex(NativeResources.sha256().digest(bytes));
  }

  /// A natives jar with all libraries of a folder, as the build makes it.
  static Path jar(Path jar, Path folder) throws IOException {
    return jar(jar, folder, Map.of());
  }

  /// The same, with some entries replaced; an empty one is left out.
  static Path jar(Path jar, Path folder, Map<String, byte[]> replacements) throws IOException {
    Map<String, byte[]> entries = new LinkedHashMap<>();
    entries.put("module-info.class", moduleInfo());
    StringBuilder sums = new StringBuilder("# nvfp4j 1.2.3\n");
    try (var files = Files.list(folder)) {
      for (Path file : files.sorted().toList()) {
        byte[] bytes = Files.readAllBytes(file);
        entries.put(NativeResources.FOLDER + file.getFileName(), bytes);
        sums.append(sha256(bytes)).append("  ").append(file.getFileName()).append('\n');
      }
    }
    entries.put(
        NativeResources.FOLDER + "SHA256SUMS", sums.toString().getBytes(StandardCharsets.UTF_8));
    replacements.forEach((name, bytes) -> entries.put(NativeResources.FOLDER + name, bytes));
    Files.createDirectories(jar.getParent());
    try (OutputStream out = Files.newOutputStream(jar);
        ZipOutputStream zip = new ZipOutputStream(out)) {
      for (Map.Entry<String, byte[]> entry : entries.entrySet()) {
        if (entry.getValue().length > 0) {
          zip.putNextEntry(new ZipEntry(entry.getKey()));
          zip.write(entry.getValue());
        }
      }
    }
    return jar;
  }

  private static byte[] moduleInfo() {
    return ClassFile.of()
        .buildModule(
            ModuleAttribute.of(
                ModuleDesc.of("io.github.nvfp4j.natives"),
                module ->
                    module.requires(
                        ModuleDesc.of("java.base"), List.of(AccessFlag.MANDATED), null)));
  }
}
