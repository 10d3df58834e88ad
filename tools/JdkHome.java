// SPDX-License-Identifier: Apache-2.0
import java.nio.file.Files;
import java.nio.file.Path;

/// Writes the home of the JDK it runs on into a file: Maven runs it on the JDK that its toolchain
/// plugin chose, and `./nvfp4j` reads the file.
final class JdkHome {
  private JdkHome() {}

  public static void main(String[] args) throws Exception {
    Path file = Path.of(args[0]);
    Files.createDirectories(file.toAbsolutePath().getParent());
    String home = System.getProperty("java.home") + "\n";
    if (!Files.exists(file) || !Files.readString(file).equals(home)) {
      Files.writeString(file, home);
    }
  }
}
