// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

/// The status of a call into the native library, as an [Nvfp4Exception] carries it.
public enum Status {
  /// An argument is wrong. Raised as [IllegalArgumentException].
  INVALID_ARGUMENT(1),
  /// The call is not possible now. Raised as [IllegalStateException].
  INVALID_STATE(2),
  /// The device has no implementation of the op.
  NOT_SUPPORTED(3),
  /// Host or device memory is exhausted.
  OUT_OF_MEMORY(4),
  /// A CUDA runtime call failed.
  CUDA(5),
  /// A sticky CUDA error happened earlier on the device.
  DEVICE_FAILED(6),
  /// A kernel reported a fault in its data.
  REPORTED(7),
  /// A defect of this library.
  INTERNAL(8);

  private final int code;

  Status(int code) {
    this.code = code;
  }

  /// The constant `NVFP4J_ERROR_*` of the C ABI.
  public int code() {
    return code;
  }

  static Status ofCode(int code) {
    for (Status status : values()) {
      if (status.code == code) {
        return status;
      }
    }
    return INTERNAL;
  }
}
