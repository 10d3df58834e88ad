// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/// The library as it lies in the natives jar: its files with the SHA-256 of each, as the build
/// wrote them into `SHA256SUMS`, whose first line may be `# nvfp4j VERSION`.
final class NativeResources {
  static final String FOLDER = "META-INF/native/linux-x86_64/";
  private static final String SUMS = "SHA256SUMS";
  private static final String NATIVES_MODULE = "io.github.nvfp4j.natives";
  private static final Pattern SUM_LINE = Pattern.compile("([0-9a-f]{64}) [ *]([A-Za-z0-9._-]+)");
  private static final Pattern VERSION_LINE = Pattern.compile("# *nvfp4j ([A-Za-z0-9._+-]+)");

  /// What the jar holds is not what the jar says it holds: no other place would help.
  static final class DamagedException extends IOException {
    private static final long serialVersionUID = 1L;

    DamagedException(String message) {
      super(message);
    }
  }

  /// Where the files are: a test can have them elsewhere.
  @FunctionalInterface
  interface Source {
    /// @return null where there is no such file
    @Nullable InputStream open(String name) throws IOException;
  }

  private final String version;
  private final Map<String, String> sums;
  private final String contentHash;
  private final Source source;

  private NativeResources(
      String version, Map<String, String> sums, String contentHash, Source source) {
    this.version = version;
    this.sums = sums;
    this.contentHash = contentHash;
    this.source = source;
  }

  /// @throws IOException when there are none, or their sums cannot be understood; the message is
  ///   the reason
  static NativeResources find() throws IOException {
    byte[] text;
    try (InputStream in = open(SUMS)) {
      if (in == null) {
        String library = hasLibrary() ? SUMS : LibraryLoader.LIBRARY_FILE;
        throw new IOException(
            "no "
                + library
                + " there on the class path or module path; add nvfp4j-native with the classifier"
                + " linux-x86_64");
      }
      text = in.readAllBytes();
    }
    return parse(new String(text, StandardCharsets.UTF_8));
  }

  static NativeResources parse(String text) throws IOException {
    return parse(text, NativeResources::open);
  }

  static NativeResources parse(String text, Source source) throws IOException {
    String version = "dev";
    Map<String, String> sums = new LinkedHashMap<>();
    for (String line : text.lines().toList()) {
      Matcher sum = SUM_LINE.matcher(line);
      Matcher named = VERSION_LINE.matcher(line);
      if (sum.matches()) {
        sums.put(sum.group(2), sum.group(1));
      } else if (named.matches()) {
        version = named.group(1);
      } else if (!line.isBlank() && !line.startsWith("#")) {
        throw new IOException(SUMS + " has the line '" + line + "', expected 'sha256  file name'");
      }
    }
    if (!sums.containsKey(LibraryLoader.LIBRARY_FILE)) {
      throw new IOException(SUMS + " does not name " + LibraryLoader.LIBRARY_FILE);
    }
    MessageDigest digest = sha256();
    sums.forEach((name, sum) -> digest.update((sum + name).getBytes(StandardCharsets.UTF_8)));
    return new NativeResources(version, sums, HexFormat.of().formatHex(digest.digest()), source);
  }

  /// The folder name that holds these files and no others: `VERSION-HASH`.
  String folderName() {
    return version + "-" + contentHash.substring(0, 16);
  }

  /// File name to SHA-256 in lower-case hex.
  Map<String, String> sums() {
    return sums;
  }

  /// @throws IOException when the resource that the sums name is not there
  InputStream openFile(String name) throws IOException {
    InputStream in = source.open(name);
    if (in == null) {
      throw new DamagedException(
          FOLDER + SUMS + " names " + name + ", but " + FOLDER + name + " is missing");
    }
    return in;
  }

  static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new AssertionError("every JDK has SHA-256", e);
    }
  }

  private static boolean hasLibrary() throws IOException {
    try (InputStream in = open(LibraryLoader.LIBRARY_FILE)) {
      return in != null;
    }
  }

  private static @Nullable InputStream open(String name) throws IOException {
    Module module = NativeResources.class.getModule();
    if (module.isNamed() && module.getLayer() != null) {
      // Module path and jlinked, also where each module of a layer has a class loader of its own.
      Module natives = module.getLayer().findModule(NATIVES_MODULE).orElse(null);
      InputStream in = natives == null ? null : natives.getResourceAsStream(FOLDER + name);
      if (in != null) {
        return in;
      }
    }
    ClassLoader loader = NativeResources.class.getClassLoader();
    return loader == null
        ? ClassLoader.getSystemResourceAsStream(FOLDER + name)
        : loader.getResourceAsStream(FOLDER + name);
  }
}
