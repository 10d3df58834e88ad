// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.CudaConstants;
import io.github.nvfp4j.bindings.CudaRuntime;
import io.github.nvfp4j.bindings.NativeError;
import io.github.nvfp4j.bindings.Nvfp4jConstants;
import io.github.nvfp4j.bindings.Nvfp4jNative;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.function.IntSupplier;

/// Calls of the CUDA runtime: on the right device, and raised when they fail. Off the hot path.
final class Cuda {
  private Cuda() {}

  /// Raises the error of a runtime call.
  ///
  /// @param what the call of this API and the one of CUDA, for the sentence
  static void check(DeviceState state, String what, int code) {
    if (code != CudaConstants.SUCCESS) {
      throw failure(state, what, code);
    }
  }

  /// The exception for an error code.
  static Nvfp4Exception failure(DeviceState state, String what, int code) {
    // The runtime remembers it for whoever asks next on this thread; it is told here, once.
    CudaRuntime.getLastError();
    String message = what + ": " + describe(code);
    if (code == CudaConstants.ERROR_MEMORY_ALLOCATION) {
      return new OutOfDeviceMemoryException(message, null, code, "", null);
    }
    if (CudaRuntime.isSticky(code)) {
      state.fail(message);
      return new DeviceFailedException(message + "; restart the process", null, code, "", null);
    }
    return new Nvfp4Exception(message, null, Status.CUDA, code, "", null);
  }

  /// Name, number and text of an error.
  static String describe(int code) {
    return CudaRuntime.getErrorName(code) + " (" + code + "): " + CudaRuntime.getErrorString(code);
  }

  /// Calls the runtime with a device selected, then gives the thread back what it had: a device of
  /// its choice, or none. As the native library's own calls do it, and by it (`device.h` says why
  /// not with `cudaSetDevice`).
  ///
  /// **Every** call of the runtime goes through here that takes or makes memory, a stream, an event
  /// or a graph: on a thread without a device such a call chooses device 0 and makes a context
  /// there, whatever its arguments belong to. `call` does not block in Java, so that a virtual
  /// thread stays on its carrier.
  static int onDevice(int ordinal, IntSupplier call) {
    try (Arena arena = Arena.ofConfined()) {
      return onDevice(ordinal, new Scratch(arena), call);
    }
  }

  /// As [#onDevice(int, IntSupplier)] with the caller's own scratch memory: nothing is allocated.
  static int onDevice(int ordinal, Scratch scratch, IntSupplier call) {
    MemorySegment error = scratch.error.segment();
    if (Nvfp4jNative.deviceEnter(ordinal, scratch.former, error) != Nvfp4jConstants.OK) {
      int code = scratch.error.cudaError();
      return code != CudaConstants.SUCCESS ? code : CudaConstants.ERROR_UNKNOWN;
    }
    MemorySegment former = scratch.former.get(ValueLayout.ADDRESS, 0);
    try {
      return call.getAsInt();
    } finally {
      // A failure here is the thread's next call's: this one's outcome stands.
      Nvfp4jNative.deviceLeave(ordinal, former, error);
    }
  }

  /// What selecting a device needs, for one thread at a time.
  static final class Scratch {
    private final MemorySegment former;
    private final NativeError error;

    Scratch(Arena arena) {
      this.former = arena.allocate(ValueLayout.ADDRESS);
      this.error = new NativeError(arena);
    }
  }

  /// Calls the runtime with this thread's capture mode relaxed. Allocations, queries and waits
  /// would spoil a capture of this thread, or another library's of mode global; ours have nothing
  /// to do with it.
  static int relaxed(IntSupplier call) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment mode =
          arena.allocateFrom(ValueLayout.JAVA_INT, CudaConstants.STREAM_CAPTURE_MODE_RELAXED);
      CudaRuntime.threadExchangeStreamCaptureMode(mode);
      try {
        return call.getAsInt();
      } finally {
        CudaRuntime.threadExchangeStreamCaptureMode(mode);
      }
    }
  }

  /// Allocates device memory, or page-locked host memory; once more when what waits to be freed has
  /// been.
  static long allocate(DeviceState state, String what, int ordinal, long bytes, boolean pinned) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment out = arena.allocate(ValueLayout.JAVA_LONG);
      IntSupplier call =
          () ->
              relaxed(() ->
                  pinned
                      ? CudaRuntime.hostAlloc(out, bytes, CudaConstants.HOST_ALLOC_PORTABLE)
                      : CudaRuntime.malloc(out, bytes));
      int code = onDevice(ordinal, call);
      if (code == CudaConstants.ERROR_MEMORY_ALLOCATION) {
        CudaRuntime.getLastError();
        state.drain();
        code = onDevice(ordinal, call);
      }
      if (code != CudaConstants.SUCCESS) {
        throw failure(
            state,
            what + ": " + (pinned ? "cudaHostAlloc" : "cudaMalloc") + " of " + bytes + " bytes",
            code);
      }
      return out.get(ValueLayout.JAVA_LONG, 0);
    }
  }

  /// Makes an event.
  static long createEvent(DeviceState state, String what, int ordinal, int flags) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment out = arena.allocate(ValueLayout.JAVA_LONG);
      check(
          state,
          what + ": cudaEventCreateWithFlags",
          onDevice(ordinal, () -> CudaRuntime.eventCreateWithFlags(out, flags)));
      return out.get(ValueLayout.JAVA_LONG, 0);
    }
  }

  /// Whether an event's work is done; raises what went wrong with it.
  static boolean isDone(DeviceState state, int ordinal, String what, long event) {
    int code = query(ordinal, event);
    if (code == CudaConstants.ERROR_NOT_READY) {
      return false;
    }
    check(state, what + ": cudaEventQuery", code);
    return true;
  }

  /// Asks an event; [CudaConstants#ERROR_NOT_READY] while its work is not done.
  static int query(int ordinal, long event) {
    int code = onDevice(ordinal, () -> relaxed(() -> CudaRuntime.eventQuery(event)));
    if (code == CudaConstants.ERROR_NOT_READY) {
      CudaRuntime.getLastError();
    }
    return code;
  }

  /// **Waits** for an event's work.
  static int await(int ordinal, long event) {
    return onDevice(ordinal, () -> relaxed(() -> CudaRuntime.eventSynchronize(event)));
  }

  /// Destroys an event; 0 is none.
  static void destroyEvent(int ordinal, long event) {
    if (event != 0) {
      onDevice(ordinal, () -> CudaRuntime.eventDestroy(event));
    }
  }
}
