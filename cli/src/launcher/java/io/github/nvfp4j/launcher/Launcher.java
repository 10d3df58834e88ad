// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.launcher;

import java.lang.reflect.InvocationTargetException;

/**
 * What {@code java -jar nvfp4j-cli.jar} starts. Compiled for Java 8, so that an older JVM gets as
 * far as the sentence that says what is wrong; on Java 25 it starts the command.
 */
public final class Launcher {
  private static final int NEEDED = 25;

  private Launcher() {}

  /**
   * Starts {@code io.github.nvfp4j.cli.Main}, or exits with status 3.
   *
   * @param args the command line
   * @throws Throwable what the command throws
   */
  public static void main(String[] args) throws Throwable {
    String version = System.getProperty("java.specification.version", "0");
    int feature = Integer.parseInt(version.startsWith("1.") ? version.substring(2) : version);
    if (feature < NEEDED) {
      System.err.println(
          "nvfp4j: this is Java "
              + feature
              + " ("
              + System.getProperty("java.home")
              + "), and Java "
              + NEEDED
              + " or newer is needed: set NVFP4J_JAVA or JAVA_HOME.");
      System.exit(3);
    }
    try {
      Class.forName("io.github.nvfp4j.cli.Main")
          .getMethod("main", String[].class)
          .invoke(null, (Object) args);
    } catch (InvocationTargetException e) {
      throw e.getCause();
    }
  }
}
