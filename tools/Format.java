// SPDX-License-Identifier: Apache-2.0
import java.io.IOException;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;

/// Checks or rewrites the layout of every hand-written source: google-java-format for Java, and
/// clang-format for C, C++ and CUDA.
///
/// ```
/// java tools/Format.java (--check | --write) FOLDER_OF_JARS [--fetch]
/// ```
///
/// Runs on the JDK that compiles the project, since google-java-format parses with that JDK's
/// compiler. clang-format is used in the one pinned version only: from `NVFP4J_CLANG_FORMAT`, the
/// build's cache, or the path; with `--fetch` it is fetched, and otherwise its absence is told and
/// forgiven. Exit status 1 when something is not formatted.
final class Format {
  private static final String CLANG_FORMAT_VERSION = "20.1.8";
  private static final Set<String> C_SUFFIXES = Set.of(".h", ".hpp", ".inl", ".cpp", ".cu", ".cuh");
  private static final Set<String> SKIPPED_FOLDERS = Set.of("target", "build", "generated");

  private Format() {}

  public static void main(String[] args) throws Exception {
    List<String> options = Arrays.asList(args);
    boolean write = options.contains("--write");
    if (args.length < 2 || write == options.contains("--check")) {
      System.err.println("usage: java tools/Format.java (--check | --write) FOLDER [--fetch]");
      System.exit(2);
    }
    Path root = Path.of("").toAbsolutePath();
    List<String> java = new ArrayList<>();
    List<String> c = new ArrayList<>();
    collect(root, java, c);

    boolean good = formatJava(Path.of(args[1]), write, java);
    good &= formatC(root, write, options.contains("--fetch"), c);
    if (!good) {
      System.err.println("nvfp4j: the files above are not formatted: run tools/format.");
      System.exit(1);
    }
  }

  private static void collect(Path root, List<String> java, List<String> c) throws IOException {
    Files.walkFileTree(
        root,
        new SimpleFileVisitor<>() {
          @Override
          public FileVisitResult preVisitDirectory(Path folder, BasicFileAttributes attributes) {
            String name = folder.getFileName().toString();
            boolean skipped = name.startsWith(".") || SKIPPED_FOLDERS.contains(name);
            return skipped && !folder.equals(root)
                ? FileVisitResult.SKIP_SUBTREE
                : FileVisitResult.CONTINUE;
          }

          @Override
          public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) {
            String name = file.getFileName().toString();
            int dot = name.lastIndexOf('.');
            String suffix = dot < 0 ? "" : name.substring(dot);
            if (suffix.equals(".java")) {
              java.add(root.relativize(file).toString());
            } else if (C_SUFFIXES.contains(suffix)) {
              c.add(root.relativize(file).toString());
            }
            return FileVisitResult.CONTINUE;
          }
        });
    java.sort(null);
    c.sort(null);
  }

  private static boolean formatJava(Path jars, boolean write, List<String> files)
      throws IOException, InterruptedException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    Stream.of("api", "code", "file", "parser", "tree", "util")
        .map(part -> "--add-exports=jdk.compiler/com.sun.tools.javac." + part + "=ALL-UNNAMED")
        .forEach(command::add);
    command.addAll(List.of("-cp", jars + "/*", "com.google.googlejavaformat.java.Main"));
    command.addAll(write ? List.of("--replace") : List.of("--dry-run", "--set-exit-if-changed"));
    command.addAll(files);
    return run(command) == 0;
  }

  private static boolean formatC(Path root, boolean write, boolean fetch, List<String> files)
      throws IOException, InterruptedException {
    String program = clangFormat(root, fetch);
    if (program == null) {
      System.out.println(
          "nvfp4j: C++ formatting is not checked: clang-format "
              + CLANG_FORMAT_VERSION
              + " is not here (tools/format fetches it)");
      return !fetch;
    }
    List<String> command = new ArrayList<>(List.of(program, "--style=file"));
    command.addAll(write ? List.of("-i") : List.of("--dry-run", "--Werror", "--ferror-limit=1"));
    command.addAll(files);
    if (files.isEmpty() || write) {
      return files.isEmpty() || run(command) == 0;
    }
    // One line for each file, as google-java-format does it, and not one for each place.
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    Set<String> named = new TreeSet<>();
    for (String line : new String(process.getInputStream().readAllBytes()).split("\n")) {
      int colon = line.indexOf(':');
      if (line.contains("[-Wclang-format-violations]") && named.add(line.substring(0, colon))) {
        System.out.println(line.substring(0, colon));
      } else if (line.startsWith("error:") || line.contains("configuration")) {
        System.err.println(line);
      }
    }
    return process.waitFor() == 0;
  }

  /// The pinned clang-format, or null.
  private static String clangFormat(Path root, boolean fetch)
      throws IOException, InterruptedException {
    List<String> candidates = new ArrayList<>();
    String named = System.getenv("NVFP4J_CLANG_FORMAT");
    if (named != null && !named.isEmpty()) {
      candidates.add(named);
    }
    candidates.add("clang-format");
    for (String candidate : candidates) {
      if (output(candidate, "--version").contains("version " + CLANG_FORMAT_VERSION)) {
        return candidate;
      }
    }
    List<String> wheel = new ArrayList<>();
    wheel.add("python3");
    wheel.add(root.resolve("cmake/fetch_wheels.py").toString());
    wheel.add("clang-format-" + CLANG_FORMAT_VERSION);
    wheel.add(root.resolve("cmake/clang-format-wheel.txt").toString());
    if (!fetch) {
      wheel.add("--cached-only");
    }
    String folder = output(wheel.toArray(String[]::new)).strip();
    return folder.isEmpty() ? null : folder + "/clang_format/data/bin/clang-format";
  }

  private static int run(List<String> command) throws IOException, InterruptedException {
    return new ProcessBuilder(command).inheritIO().start().waitFor();
  }

  /// What a program prints; empty when it is absent or fails.
  private static String output(String... command) throws IOException, InterruptedException {
    try {
      Process process =
          new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
      String text = new String(process.getInputStream().readAllBytes());
      return process.waitFor() == 0 ? text : "";
    } catch (IOException absent) {
      return "";
    }
  }
}
