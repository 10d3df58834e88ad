// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import org.junit.jupiter.api.Test;

/// The consumer project is the README's example, which java-api's ReadmeExampleTest compiles and
/// runs.
class ConsumerSampleTest {
  @Test
  void theConsumerProjectHasTheReadmesExample() throws IOException {
    String readme = Files.readString(Cli.root("README.md"));
    int start = readme.indexOf("```java\n") + "```java\n".length();
    String example = readme.substring(start, readme.indexOf("```", start));
    assertThat(Cli.root("samples/consumer/src/main/java/Example.java"))
        .hasContent("// SPDX-License-Identifier: Apache-2.0\n" + example);
  }
}
