// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.util.ArrayDeque;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/// Memory that a device allocated into an arena, until the arena has closed *and* no graph knows
/// it.
///
/// An arena's cleanup gets the [#id] alone: it holds neither tensors nor arena memory, so that it
/// keeps nothing alive and reads nothing that another cleanup may have freed.
final class Allocation {
  /// Where the memory is, and how it goes back.
  enum Kind {
    /// `cudaMalloc`.
    DEVICE,
    /// `cudaHostAlloc`.
    PINNED,
    /// The arena's own memory (CPU device): counted, never freed by us.
    HOST
  }

  private static final AtomicLong IDS = new AtomicLong();
  private static final Map<Long, Allocation> LIVE = new ConcurrentHashMap<>();
  private static final ConcurrentSkipListMap<Long, Allocation> PINNED =
      new ConcurrentSkipListMap<>();

  private final long id = IDS.incrementAndGet();
  private final DeviceState state;
  private final LiveCount count;
  private final Kind kind;
  private final long address;
  private final long bytes;

  // Devices other than that of `state` whose streams were given the memory: they must be waited for
  // before it is freed. Only page-locked memory has any. Null until there is one. Guarded by this.
  private @Nullable ArrayDeque<DeviceState> users;

  // Guarded by the lock of `state`.
  private int retained;
  private boolean released;

  Allocation(DeviceState state, LiveCount count, Kind kind, long address, long bytes) {
    this.state = state;
    this.count = count;
    this.kind = kind;
    this.address = address;
    this.bytes = bytes;
  }

  /// From here on the allocation is known (and counted by its device already); its cleanup must be
  /// attached to an arena next.
  void publish() {
    LIVE.put(id, this);
    if (kind == Kind.PINNED) {
      PINNED.put(address, this);
    }
  }

  /// What its device counts it as.
  private LiveCount.Kind counted() {
    return kind == Kind.PINNED ? LiveCount.Kind.PINNED : LiveCount.Kind.TENSOR;
  }

  /// The arena's cleanup: captures the id alone, never throws.
  Runnable cleanup() {
    return new Cleanup(id);
  }

  long address() {
    return address;
  }

  boolean isPinned() {
    return kind == Kind.PINNED;
  }

  DeviceState state() {
    return state;
  }

  /// A stream of a device is about to work on the memory. The tensor's arena is open, and the call
  /// that follows holds it open or fails.
  void usedBy(DeviceState user) {
    if (user == state) {
      return;
    }
    synchronized (this) {
      if (users == null) {
        users = new ArrayDeque<>();
      }
      if (!users.contains(user)) {
        users.add(user);
      }
    }
  }

  /// Whether a device other than those that it has been with may still work on the memory.
  synchronized boolean isUsedByOthers() {
    return users != null && !users.isEmpty();
  }

  /// The next of those devices, which is then taken off the list.
  synchronized @Nullable DeviceState nextUser() {
    return users == null ? null : users.poll();
  }

  /// Puts a device back that [#nextUser] took off: it could not be waited for yet.
  synchronized void returnUser(DeviceState user) {
    if (users != null) {
      users.addFirst(user);
    }
  }

  /// A graph knows the memory. The caller holds the lock of [#state].
  ///
  /// @return false if its arena has closed already
  boolean retain() {
    if (released) {
      return false;
    }
    retained++;
    return true;
  }

  /// A graph has closed. The caller holds the lock.
  ///
  /// @return whether the memory must be freed now
  boolean releaseRetained() {
    return --retained == 0 && released;
  }

  /// The arena has closed. The caller holds the lock.
  ///
  /// @return whether the memory must be freed now
  boolean release() {
    released = true;
    return retained == 0;
  }

  /// The page-locked allocation that a host range is part of, or null.
  static @Nullable Allocation pinnedAt(long address, long bytes) {
    if (PINNED.isEmpty()) {
      return null;
    }
    Map.Entry<Long, Allocation> entry = PINNED.floorEntry(address);
    if (entry == null) {
      return null;
    }
    Allocation found = entry.getValue();
    return address - found.address + bytes <= found.bytes ? found : null;
  }

  private record Cleanup(long id) implements Runnable {
    @Override
    public void run() {
      Allocation allocation = LIVE.remove(id);
      if (allocation == null) {
        return;
      }
      if (allocation.kind == Kind.PINNED) {
        PINNED.remove(allocation.address, allocation);
      }
      allocation.count.remove(allocation.counted(), allocation.bytes);
      if (allocation.kind != Kind.HOST) {
        allocation.state.release(allocation);
      }
    }
  }
}
