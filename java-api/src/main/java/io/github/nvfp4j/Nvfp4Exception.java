// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import org.jspecify.annotations.Nullable;

/// A failure that is not the caller's argument: of the device, the CUDA runtime, the data, or this
/// library.
///
/// Wrong arguments are [IllegalArgumentException]s and calls at the wrong time
/// [IllegalStateException]s. The subclasses are the cases that a caller can act on.
public class Nvfp4Exception extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final @Nullable Op op;
  private final Status status;
  private final int cudaError;
  private final String shapes;

  /// @param message one sentence
  /// @param op the op that failed, or null where none was called
  /// @param status what kind of failure it is
  /// @param cudaError the `cudaError_t` behind it, or 0
  /// @param shapes the op's tensors, for example `input BF16[16, 7168], output NVFP4[16, 7168]`, or
  ///   empty
  Nvfp4Exception(
      String message,
      @Nullable Op op,
      Status status,
      int cudaError,
      String shapes,
      @Nullable Throwable cause) {
    super(message, cause);
    this.op = op;
    this.status = status;
    this.cudaError = cudaError;
    this.shapes = shapes;
  }

  /// The op that failed; null where the failure belongs to none.
  public @Nullable Op op() {
    return op;
  }

  /// What kind of failure it is.
  public Status status() {
    return status;
  }

  /// The `cudaError_t` behind it, or 0.
  public int cudaError() {
    return cudaError;
  }

  /// The tensors of the failed call, for example `input BF16[16, 7168], output NVFP4[16, 7168]`;
  /// empty where there are none.
  public String shapes() {
    return shapes;
  }
}
