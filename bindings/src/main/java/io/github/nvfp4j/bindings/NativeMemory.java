// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.function.LongConsumer;

/// Memory that native code allocated, as segments of an arena. Each of these trusts its caller: a
/// wrong address or size crashes the JVM.
public final class NativeMemory {
  private NativeMemory() {}

  /// Host memory that an arena owns from now on.
  ///
  /// @param free runs with the address when the arena closes; on the JVM's cleaner thread for an
  ///   automatic arena. It must not throw, nor read memory of the arena: other segments of it may
  ///   be gone
  /// @return a segment of `bytes` bytes, accessible to the arena's threads
  public static MemorySegment ofHost(long address, long bytes, Arena arena, LongConsumer free) {
    return MemorySegment.ofAddress(address)
        .reinterpret(bytes, arena, segment -> free.accept(segment.address()));
  }

  /// Device memory that an arena owns from now on. The segment has no bytes: Java that tries to
  /// read it gets an [IndexOutOfBoundsException], not a crash.
  ///
  /// @param free as for [#ofHost]
  /// @return a segment with the device address, the arena's scope and size 0
  public static MemorySegment ofDevice(long address, Arena arena, LongConsumer free) {
    return ofHost(address, 0, arena, free);
  }

  /// A segment with a foreign address and the arena's scope, which owns nothing: the memory is its
  /// allocator's business.
  ///
  /// @param bytes 0 for device memory
  public static MemorySegment view(long address, long bytes, Arena arena) {
    return MemorySegment.ofAddress(address).reinterpret(bytes, arena, null);
  }

  /// Reads a pointer that a call wrote: the first word of an out parameter.
  public static long readPointer(MemorySegment pointerOut) {
    return pointerOut.get(ValueLayout.JAVA_LONG, 0);
  }
}
