// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import org.jspecify.annotations.Nullable;

/// Device memory (or page-locked, or the CPU device's working memory) is exhausted. Nothing was
/// allocated; close arenas and try again.
public final class OutOfDeviceMemoryException extends Nvfp4Exception {
  private static final long serialVersionUID = 1L;

  OutOfDeviceMemoryException(
      String message, @Nullable Op op, int cudaError, String shapes, @Nullable Throwable cause) {
    super(message, op, Status.OUT_OF_MEMORY, cudaError, shapes, cause);
  }
}
