// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.checkpoint;

import java.io.IOException;
import java.io.Serial;

/// A file is not what the safetensors format says it must be.
///
/// The message is one sentence: the file, the tensor where there is one, what was found, and what
/// was expected. Failures of the file system itself stay the plain `IOException` that they are.
public final class SafetensorsException extends IOException {
  @Serial private static final long serialVersionUID = 1L;

  /// Creates the exception.
  ///
  /// @param message one sentence: file, tensor, what was found, what was expected
  public SafetensorsException(String message) {
    super(message);
  }
}
