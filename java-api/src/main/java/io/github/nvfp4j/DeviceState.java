// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.CudaConstants;
import io.github.nvfp4j.bindings.CudaRuntime;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
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
  private final ArrayDeque<Allocation> pending = new ArrayDeque<>();
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
    List<Allocation> onwards = List.of();
    lock.lock();
    try {
      if (captures == 0 && !pending.isEmpty()) {
        List<Allocation> batch = new ArrayList<>(pending);
        pending.clear();
        onwards = free(batch);
      }
    } finally {
      lock.unlock();
    }
    for (Allocation allocation : onwards) {
      // Not null: that is why it was not freed here.
      DeviceState next = allocation.nextUser();
      if (next != null) {
        next.take(allocation);
      }
    }
  }

  // Page-locked memory that this device's streams used, too.
  private void take(Allocation allocation) {
    lock.lock();
    try {
      pending.add(allocation);
    } finally {
      lock.unlock();
    }
    drain();
  }

  /// An arena has closed. Never throws: it runs as an arena's cleanup.
  void release(Allocation allocation) {
    boolean onCleaner = Reaper.isCleanerThread(Thread.currentThread());
    lock.lock();
    try {
      if (!allocation.release()) {
        return;
      }
      pending.add(allocation);
    } finally {
      lock.unlock();
    }
    if (onCleaner) {
      Reaper.wake(this);
    } else {
      drain();
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

  /// A graph that knew an allocation has closed.
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
    drain();
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
      return pending.size();
    } finally {
      lock.unlock();
    }
  }

  // Under the lock: a capture that begins now waits until the memory is gone. Returns what other
  // devices may still be using.
  private List<Allocation> free(List<Allocation> batch) {
    int code = calls.synchronize(ordinal);
    if (code == CudaConstants.ERROR_STREAM_CAPTURE_UNSUPPORTED) {
      // Another library captures a stream of this device: a later call tries again.
      pending.addAll(batch);
      return List.of();
    }
    List<Allocation> onwards = new ArrayList<>();
    for (Allocation allocation : batch) {
      if (allocation.isUsedByOthers()) {
        onwards.add(allocation);
      } else {
        int freed = calls.free(ordinal, allocation);
        code = code == CudaConstants.SUCCESS ? freed : code;
      }
    }
    if (CudaRuntime.isSticky(code)) {
      fail(Cuda.describe(code));
    }
    return onwards;
  }
}
