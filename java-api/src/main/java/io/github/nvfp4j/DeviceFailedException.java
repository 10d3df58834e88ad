// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import org.jspecify.annotations.Nullable;

/// A sticky CUDA error happened on the device, now or earlier: the CUDA runtime refuses every
/// further call, and a JVM cannot restart it. Restart the process.
public final class DeviceFailedException extends Nvfp4Exception {
  private static final long serialVersionUID = 1L;

  DeviceFailedException(
      String message, @Nullable Op op, int cudaError, String shapes, @Nullable Throwable cause) {
    super(message, op, Status.DEVICE_FAILED, cudaError, shapes, cause);
  }
}
