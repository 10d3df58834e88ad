// SPDX-License-Identifier: Apache-2.0
import java.io.File;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.spi.ToolProvider;

/// Compiles the README's example, so that it cannot drift from the library and runs where there is
/// no compiler.
///
/// ```
/// java -cp CLASSES tools/ReadmeExample.java README FOLDER
/// ```
///
/// Takes the README's first Java block with a public final class, and the text that it is said to
/// print (the sentence "It prints `...`" behind it). FOLDER gets the source, its classes, compiled
/// against CLASSES without a warning, its name in `class.txt`, and that text in `prints.txt`. Exit
/// status 1 when there is no such block, or it does not compile.
final class ReadmeExample {
  private static final Pattern EXAMPLE =
      Pattern.compile(
          "```java\n(.*?public final class (\\w+) .*?)```.*?\nIt prints `([^`\n]+)`",
          Pattern.DOTALL);

  private ReadmeExample() {}

  public static void main(String[] args) throws IOException {
    if (args.length != 2) {
      System.err.println("usage: java -cp CLASSES tools/ReadmeExample.java README FOLDER");
      System.exit(2);
    }
    Path readme = Path.of(args[0]);
    Path folder = Path.of(args[1]);
    Matcher example = EXAMPLE.matcher(Files.readString(readme).replace("\r\n", "\n"));
    if (!example.find()) {
      System.err.println(
          readme + ": has no java block with a public final class, and `It prints` behind it");
      System.exit(1);
    }
    Files.createDirectories(folder);
    Path source = folder.resolve(example.group(2) + ".java");
    Files.writeString(source, example.group(1));
    Files.writeString(folder.resolve("class.txt"), example.group(2));
    Files.writeString(folder.resolve("prints.txt"), example.group(3));
    ToolProvider javac =
        ToolProvider.findFirst("javac")
            .orElseThrow(() -> new IllegalStateException("this Java runtime has no javac"));
    PrintWriter messages = new PrintWriter(System.err, true);
    int status =
        javac.run(
            messages,
            messages,
            "--release",
            "25",
            "-Xlint:all",
            "-Werror",
            "-proc:none",
            "-classpath",
            withoutMissing(System.getProperty("java.class.path")),
            "-d",
            folder.toString(),
            source.toString());
    if (status != 0) {
      System.err.println(readme + ": the example does not compile, see above");
      System.exit(1);
    }
  }

  // javac warns of an entry that does not exist.
  private static String withoutMissing(String classPath) {
    StringBuilder kept = new StringBuilder();
    for (String entry : classPath.split(File.pathSeparator)) {
      if (Files.exists(Path.of(entry))) {
        kept.append(kept.isEmpty() ? "" : File.pathSeparator).append(entry);
      }
    }
    return kept.toString();
  }
}
