// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;

/// The golden vectors among the test resources, as files.
final class Goldens {
  private Goldens() {}

  /// A golden file; one inside a jar is copied out first.
  static Path file(String name) {
    URL url = Goldens.class.getResource("/goldens/" + name);
    if (url == null) {
      throw new AssertionError("no test resource goldens/" + name);
    }
    try {
      if (url.getProtocol().equals("file")) {
        return Path.of(url.toURI());
      }
      Path copy = Files.createTempFile("nvfp4j-golden", ".safetensors");
      copy.toFile().deleteOnExit();
      try (InputStream in = url.openStream()) {
        Files.write(copy, in.readAllBytes());
      }
      return copy;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (URISyntaxException e) {
      throw new AssertionError(e);
    }
  }
}
