// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.bindings.probe.LoaderProbe;
import java.io.IOException;
import java.lang.ProcessBuilder.Redirect;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/// A JVM of its own that runs [LoaderProbe]: on the class path, on the module path, or another
/// `java`.
final class Fork {
  private static final String BINDINGS = "io.github.nvfp4j.bindings";

  private final List<String> prefix = new ArrayList<>();
  private Path java = Path.of(System.getProperty("java.home"), "bin", "java");
  private final List<String> options = new ArrayList<>();
  private final Map<String, String> environment = new HashMap<>();
  private List<String> nativeAccess = List.of("--enable-native-access=ALL-UNNAMED");

  private Fork() {}

  /// On the class path, with further entries.
  static Fork onClassPath(Path... entries) {
    Fork fork = new Fork();
    List<Path> path = new ArrayList<>(List.of(bindings(), tests()));
    path.addAll(List.of(entries));
    fork.options.addAll(
        List.of("-cp", String.join(":", path.stream().map(Path::toString).toList())));
    return fork;
  }

  /// With the bindings and `natives` as modules.
  static Fork onModulePath(Path natives) {
    Fork fork = new Fork();
    fork.options.addAll(List.of("-p", bindings() + ":" + natives));
    return fork.asModule();
  }

  /// With a linked runtime that has the modules in it.
  static Fork linked(Path image) {
    Fork fork = new Fork();
    fork.java = image.resolve("bin/java");
    return fork.asModule();
  }

  private Fork asModule() {
    options.addAll(
        List.of(
            "--add-modules",
            BINDINGS,
            "--add-exports",
            BINDINGS + "/" + BINDINGS + "=ALL-UNNAMED"));
    options.addAll(List.of("-cp", tests().toString()));
    nativeAccess = List.of("--enable-native-access=" + BINDINGS);
    return this;
  }

  Fork property(String name, Object value) {
    options.add("-D" + name + "=" + value);
    return this;
  }

  Fork environment(String name, Object value) {
    environment.put(name, value.toString());
    return this;
  }

  Fork withoutNativeAccess() {
    nativeAccess = List.of("--illegal-native-access=deny");
    return this;
  }

  /// What goes before `java` on the command line.
  Fork prefix(String... words) {
    prefix.addAll(List.of(words));
    return this;
  }

  Process start(String... actions) throws IOException {
    List<String> command = new ArrayList<>(prefix);
    command.add(java.toString());
    command.addAll(nativeAccess);
    command.addAll(options);
    command.add(LoaderProbe.class.getName());
    command.addAll(List.of(actions));
    ProcessBuilder builder = new ProcessBuilder(command).redirectError(Redirect.INHERIT);
    builder.environment().remove("JAVA_TOOL_OPTIONS");
    builder.environment().remove("JDK_JAVA_OPTIONS");
    builder.environment().remove("XDG_CACHE_HOME");
    builder.environment().putAll(environment);
    return builder.start();
  }

  /// The lines that it prints; its exit status is 0.
  List<String> run(String... actions) throws IOException, InterruptedException {
    return await(start(actions));
  }

  static List<String> await(Process process) throws IOException, InterruptedException {
    List<String> lines = new String(process.getInputStream().readAllBytes()).lines().toList();
    assertThat(process.waitFor(2, TimeUnit.MINUTES)).isTrue();
    assertThat(process.exitValue()).as("exit status of a JVM that printed %s", lines).isZero();
    return lines;
  }

  /// The one line that it prints.
  String line(String action) throws IOException, InterruptedException {
    List<String> lines = run(action);
    assertThat(lines).hasSize(1);
    return lines.getFirst();
  }

  /// The folder or jar that has the module's own classes.
  static Path bindings() {
    return home(NativeLibrary.class);
  }

  private static Path tests() {
    return home(LoaderProbe.class);
  }

  private static Path home(Class<?> type) {
    String resource = type.getName().replace('.', '/') + ".class";
    String url = String.valueOf(type.getResource("/" + resource));
    url = url.substring(0, url.length() - resource.length());
    if (url.startsWith("jar:")) {
      url = url.substring("jar:".length()).replaceFirst("!/$", "");
    }
    Path home = Path.of(URI.create(url));
    assertThat(Files.exists(home)).as("%s", home).isTrue();
    return home;
  }
}
