// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.CudaConstants;
import io.github.nvfp4j.bindings.CudaRuntime;
import java.util.ArrayDeque;
import java.util.Objects;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/// What all handles of one CUDA device share (a CPU handle has its own): whether it failed, whether
/// a capture is under way, and the memory that waits to be freed.
///
/// Memory is freed behind `cudaDeviceSynchronize`, so that no kernel still uses it. Neither is
/// allowed while a stream of the device is captured; then, and on the JVM's cleaner thread, the
/// memory waits in [#pending].
///
/// Page-locked memory can be used by streams of several devices. It then goes from one to the next,
/// waits for each, and is freed by the last; no two devices are locked at once.
final class DeviceState {
  /// The calls that free memory: a test can stand in for them. Each returns a `cudaError_t`.
  interface Calls {
    /// Waits for all work of a device.
    int synchronize(int ordinal);

    /// Frees an allocation, whose device need not be the one given.
    int free(int ordinal, Allocation allocation);
  }

  private static final Calls CUDA_CALLS =
      new Calls() {
        @Override
        public int synchronize(int ordinal) {
          return forgotten(Cuda.onDevice(ordinal, CudaRuntime::deviceSynchronize));
        }

        @Override
        public int free(int ordinal, Allocation allocation) {
          long address = allocation.address();
          // Relaxed: a capture that another library begins now must not refuse it.
          return forgotten(
              Cuda.onDevice(
                  ordinal,
                  () ->
                      Cuda.relaxed(() ->
                          allocation.isPinned()
                              ? CudaRuntime.freeHost(address)
                              : CudaRuntime.free(address))));
        }

        // Dealt with here, and so not told to the next caller of the runtime.
        private static int forgotten(int code) {
          if (code != CudaConstants.SUCCESS) {
            CudaRuntime.getLastError();
          }
          return code;
        }
      };

  private static final ConcurrentHashMap<Integer, DeviceState> CUDA = new ConcurrentHashMap<>();

  private final String id;
  private final int ordinal;
  private final Calls calls;
  private final ReentrantLock lock = new ReentrantLock();
  // What waits for this device, and what has waited but goes on to the next. Nothing leaves a list
  // before it is freed or in another: any call may throw for want of Java memory.
  private final ArrayDeque<Allocation> pending = new ArrayDeque<>();
  private final ArrayDeque<Allocation> onwards = new ArrayDeque<>();
  private int captures;
  private volatile @Nullable String failure;

  /// For tests; otherwise see [#ofCuda] and [#ofCpu].
  DeviceState(String id, int ordinal, Calls calls) {
    this.id = id;
    this.ordinal = ordinal;
    this.calls = calls;
  }

  static DeviceState ofCuda(int ordinal) {
    return CUDA.computeIfAbsent(ordinal, key -> new DeviceState("cuda:" + key, key, CUDA_CALLS));
  }

  static DeviceState ofCpu() {
    return new DeviceState("cpu", -1, CUDA_CALLS);
  }

  /// The hot path's check that the device can still be used.
  void requireWorking(String what) {
    String reason = failure;
    if (reason != null) {
      throw failed(what, reason);
    }
  }

  /// Whether a sticky error has happened.
  boolean hasFailed() {
    return failure != null;
  }

  /// From now on every call fails at once.
  void fail(String reason) {
    if (failure == null) {
      failure = reason;
    }
  }

  private DeviceFailedException failed(String what, String reason) {
    return new DeviceFailedException(
        what
            + ": device "
            + id
            + " has failed earlier ("
            + reason
            + "), expected a working one: restart the process",
        null,
        0,
        "",
        null);
  }

  /// Waits for the device and frees what waited, if it may be freed now. Called where an allocation
  /// failed for want of memory, too.
  void drain() {
    lock.lock();
    try {
      if (captures == 0 && !pending.isEmpty()) {
        freePending();
      }
    } finally {
      lock.unlock();
    }
    for (DeviceState next = passOn(); next != null; next = passOn()) {
      next.drain();
    }
  }

  // Gives an allocation to the next device whose streams used it; null when there is none left.
  private @Nullable DeviceState passOn() {
    Allocation allocation;
    lock.lock();
    try {
      allocation = onwards.poll();
    } finally {
      lock.unlock();
    }
    if (allocation == null) {
      return null;
    }
    // Never null: that is why it was not freed here.
    DeviceState next = Objects.requireNonNull(allocation.nextUser());
    boolean passed = false;
    try {
      next.add(allocation);
      passed = true;
    } finally {
      if (!passed) {
        // There is the room that there was a moment ago, unless another thread has taken it.
        allocation.returnUser(next);
        lock.lock();
        try {
          onwards.addFirst(allocation);
        } finally {
          lock.unlock();
        }
      }
    }
    return next;
  }

  private void add(Allocation allocation) {
    lock.lock();
    try {
      pending.add(allocation);
    } finally {
      lock.unlock();
    }
  }

  // What cannot be freed now stays where it is, for the next call that frees.
  private void drainQuietly() {
    try {
      drain();
    } catch (RuntimeException | OutOfMemoryError e) {
      return;
    }
  }

  /// An arena has closed. Never throws: it runs as an arena's cleanup.
  void release(Allocation allocation) {
    lock.lock();
    try {
      if (!allocation.release()) {
        return;
      }
      pending.add(allocation);
    } catch (OutOfMemoryError e) {
      return; // The list cannot grow: this memory is the process's until it ends.
    } finally {
      lock.unlock();
    }
    if (!Reaper.isCleanerThread(Thread.currentThread())) {
      drainQuietly();
      return;
    }
    try {
      Reaper.wake(this);
    } catch (OutOfMemoryError e) {
      return; // It is freed with what is released next.
    }
  }

  /// A graph begins to know an allocation.
  ///
  /// @return false if its arena has closed in the meantime
  boolean retain(Allocation allocation) {
    lock.lock();
    try {
      return allocation.retain();
    } finally {
      lock.unlock();
    }
  }

  /// A graph that knew an allocation has closed. Does not throw for what cannot be freed now: the
  /// graph has others to release.
  void releaseRetained(Allocation allocation) {
    lock.lock();
    try {
      if (!allocation.releaseRetained()) {
        return;
      }
      pending.add(allocation);
    } finally {
      lock.unlock();
    }
    drainQuietly();
  }

  /// Waits for a free that is under way, then holds back others.
  void beginCapture() {
    lock.lock();
    try {
      captures++;
    } finally {
      lock.unlock();
    }
  }

  /// Ends [#beginCapture] and frees what waited for it.
  void endCapture() {
    lock.lock();
    try {
      captures--;
    } finally {
      lock.unlock();
    }
    drain();
  }

  /// Allocations that wait to be freed: for tests.
  int pendingCount() {
    lock.lock();
    try {
      return pending.size() + onwards.size();
    } finally {
      lock.unlock();
    }
  }

  // Under the lock: a capture that begins now waits until the memory is gone.
  private void freePending() {
    int code = calls.synchronize(ordinal);
    if (code == CudaConstants.ERROR_STREAM_CAPTURE_UNSUPPORTED) {
      return; // Another library captures a stream of this device: a later call tries again.
    }
    try {
      for (Allocation next = pending.peek(); next != null; next = pending.peek()) {
        if (next.isUsedByOthers()) {
          onwards.add(next);
        } else {
          // One that throws has freed nothing: it needs Java memory before, not afterwards.
          int freed = calls.free(ordinal, next);
          code = code == CudaConstants.SUCCESS ? freed : code;
        }
        pending.remove();
      }
    } finally {
      if (CudaRuntime.isSticky(code)) {
        fail(Cuda.describe(code));
      }
    }
  }
}
