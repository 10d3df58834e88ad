// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// What C cannot see about a segment: which arena it belongs to, and who may use it.
final class Scopes {
  private Scopes() {}

  /// Requires memory that native code can read, of the arena that is to hold its descriptor.
  static void require(String what, Arena arena, MemorySegment segment) {
    if (!segment.isNative()) {
      throw new IllegalArgumentException(
          what
              + ": segment is on the Java heap ("
              + segment.heapBase().map(base -> base.getClass().getSimpleName()).orElse("read-only")
              + "), expected native memory: allocate it from an Arena and copy with"
              + " MemorySegment.copyFrom");
    }
    if (!segment.scope().isAlive()) {
      throw new IllegalStateException(what + ": segment is closed, expected one of an open arena");
    }
    if (!segment.scope().equals(arena.scope())) {
      throw new IllegalArgumentException(
          what
              + ": segment belongs to another arena than the one given, expected the same: a call"
              + " can only keep the memory open through the arena that it knows");
    }
    if (!segment.isAccessibleBy(Thread.currentThread())) {
      throw new WrongThreadException(
          what
              + ": segment belongs to a confined arena of another thread, expected one of thread "
              + Thread.currentThread().getName()
              + ", or of Arena.ofShared()");
    }
  }

  /// Requires an arena that this thread may allocate from.
  static void require(String what, Arena arena) {
    if (!arena.scope().isAlive()) {
      throw new IllegalStateException(what + ": arena is closed, expected an open one");
    }
  }

  static boolean usable(MemorySegment segment) {
    return segment.isAccessibleBy(Thread.currentThread()) && segment.scope().isAlive();
  }
}
