// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.ContextOptions;
import io.github.nvfp4j.bindings.NativeError;
import io.github.nvfp4j.bindings.Nvfp4jNative;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// Makes and ends native contexts: off the hot path.
final class Contexts {
  private Contexts() {}

  /// A context of a device: with a stream of its own, or on a foreign one.
  static MemorySegment create(DeviceState state, Device device, boolean foreign, long cudaStream) {
    try (Arena arena = Arena.ofConfined()) {
      NativeError error = new NativeError(arena);
      MemorySegment options;
      if (!device.isCuda()) {
        options = ContextOptions.cpu(arena, device.threads(), 0);
      } else if (foreign) {
        options = ContextOptions.foreignStream(arena, device.ordinal(), cudaStream, 0);
      } else {
        options = ContextOptions.ownStream(arena, device.ordinal(), 0);
      }
      MemorySegment out = arena.allocate(ValueLayout.ADDRESS);
      check(state, Nvfp4jNative.contextCreate(options, out, error.segment()), error);
      return out.get(ValueLayout.ADDRESS, 0);
    }
  }

  /// The `cudaStream_t` of a context, 0 on the CPU device.
  static long stream(DeviceState state, MemorySegment context) {
    try (Arena arena = Arena.ofConfined()) {
      NativeError error = new NativeError(arena);
      MemorySegment out = arena.allocate(ValueLayout.ADDRESS);
      check(state, Nvfp4jNative.contextStream(context, out, error.segment()), error);
      return out.get(ValueLayout.ADDRESS, 0).address();
    }
  }

  /// Loads every kernel.
  static void warmUp(DeviceState state, MemorySegment context) {
    try (Arena arena = Arena.ofConfined()) {
      NativeError error = new NativeError(arena);
      check(state, Nvfp4jNative.contextWarmUp(context, error.segment()), error);
    }
  }

  /// Waits for a context's work and frees it.
  static void destroy(DeviceState state, MemorySegment context) {
    try (Arena arena = Arena.ofConfined()) {
      NativeError error = new NativeError(arena);
      check(state, Nvfp4jNative.contextDestroy(context, error.segment()), error);
    }
  }

  /// Frees a context where another failure is on its way.
  static void destroyQuietly(MemorySegment context) {
    Nvfp4jNative.contextDestroy(context, MemorySegment.NULL);
  }

  private static void check(DeviceState state, int status, NativeError error) {
    if (status != 0) {
      throw Failures.of(state, null, status, error, "");
    }
  }
}
