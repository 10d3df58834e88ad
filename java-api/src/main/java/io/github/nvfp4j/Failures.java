// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.CudaRuntime;
import io.github.nvfp4j.bindings.NativeError;
import io.github.nvfp4j.bindings.StatusRecord;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Makes exceptions of what C says; its sentences are raised as they are.
final class Failures {
  private Failures() {}

  /// The exception for a failed call.
  ///
  /// @param op the op that was called, or null
  /// @param status the status, not 0
  /// @param shapes the op's tensors in words
  static RuntimeException of(
      DeviceState state, @Nullable Op op, int status, NativeError error, String shapes) {
    String message = error.message();
    int cudaError = error.cudaError();
    return switch (Status.ofCode(status)) {
      case INVALID_ARGUMENT -> new IllegalArgumentException(message);
      case INVALID_STATE -> new IllegalStateException(message);
      case NOT_SUPPORTED -> new DeviceNotSupportedException(message, op, cudaError, shapes, null);
      case OUT_OF_MEMORY -> new OutOfDeviceMemoryException(message, op, cudaError, shapes, null);
      case DEVICE_FAILED -> {
        state.fail(message);
        yield new DeviceFailedException(message, op, cudaError, shapes, null);
      }
      case CUDA -> {
        if (CudaRuntime.isSticky(cudaError)) {
          state.fail(message);
          yield new DeviceFailedException(
              message + "; restart the process", op, cudaError, shapes, null);
        }
        yield new Nvfp4Exception(message, op, Status.CUDA, cudaError, shapes, null);
      }
      case REPORTED, INTERNAL ->
          new Nvfp4Exception(message, op, Status.ofCode(status), cudaError, shapes, null);
    };
  }

  /// The exception for what kernels reported.
  static ReportedByKernelException reported(NativeError error, StatusRecord record) {
    Map<Op, EnumSet<Cause>> causes = new EnumMap<>(Op.class);
    for (Op op : Op.values()) {
      long bits = record.causes(op.code());
      if (bits != 0) {
        EnumSet<Cause> set = EnumSet.noneOf(Cause.class);
        for (Cause cause : Cause.values()) {
          if ((bits >>> cause.code() & 1) != 0) {
            set.add(cause);
          }
        }
        causes.put(op, set);
      }
    }
    Op first = Op.ofCode(record.firstOp());
    Cause reason = Cause.ofCode(record.firstCause());
    causes.computeIfAbsent(first, key -> EnumSet.noneOf(Cause.class)).add(reason);
    return new ReportedByKernelException(
        error.message(), first, reason, record.firstRow(), record.firstColumn(), causes);
  }
}
