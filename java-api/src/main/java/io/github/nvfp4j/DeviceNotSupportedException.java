// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import org.jspecify.annotations.Nullable;

/// The device does not exist, or has no implementation of an op; the message says why. There is
/// never another path taken instead: choose another device, or ask [Device#pathFor] beforehand.
public final class DeviceNotSupportedException extends Nvfp4Exception {
  private static final long serialVersionUID = 1L;

  DeviceNotSupportedException(
      String message, @Nullable Op op, int cudaError, String shapes, @Nullable Throwable cause) {
    super(message, op, Status.NOT_SUPPORTED, cudaError, shapes, cause);
  }
}
