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
final class DeviceState {
  private static final ConcurrentHashMap<Integer, DeviceState> CUDA = new ConcurrentHashMap<>();

  private final String id;
  private final int ordinal;
  private final ReentrantLock lock = new ReentrantLock();
  private final ArrayDeque<Allocation> pending = new ArrayDeque<>();
  private int captures;
  private volatile @Nullable String failure;

  private DeviceState(String id, int ordinal) {
    this.id = id;
    this.ordinal = ordinal;
  }

  static DeviceState ofCuda(int ordinal) {
    return CUDA.computeIfAbsent(ordinal, key -> new DeviceState("cuda:" + key, key));
  }

  static DeviceState ofCpu() {
    return new DeviceState("cpu", -1);
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

  /// Makes the device the current one of this thread and frees what waited, if it may be freed now.
  /// Called where an allocation failed for want of memory, too.
  void drain() {
    lock.lock();
    try {
      if (captures == 0 && !pending.isEmpty()) {
        List<Allocation> batch = new ArrayList<>(pending);
        pending.clear();
        free(batch);
      }
    } finally {
      lock.unlock();
    }
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

  // Under the lock: a capture that begins now waits until the memory is gone.
  private void free(List<Allocation> batch) {
    int code =
        Cuda.onDevice(
            ordinal,
            () -> {
              int waited = CudaRuntime.deviceSynchronize();
              if (waited == CudaConstants.ERROR_STREAM_CAPTURE_UNSUPPORTED) {
                // Another library captures a stream of this device: a later call tries again.
                pending.addAll(batch);
                return waited;
              }
              // Relaxed: a capture that another library begins now must not refuse a part of them.
              int freed = Cuda.relaxed(() -> freeAll(batch));
              return waited == CudaConstants.SUCCESS ? freed : waited;
            });
    if (code == CudaConstants.SUCCESS) {
      return;
    }
    CudaRuntime.getLastError();
    if (CudaRuntime.isSticky(code)) {
      fail(Cuda.describe(code));
    }
  }

  private static int freeAll(List<Allocation> batch) {
    int first = CudaConstants.SUCCESS;
    for (Allocation allocation : batch) {
      int freed =
          allocation.isPinned()
              ? CudaRuntime.freeHost(allocation.address())
              : CudaRuntime.free(allocation.address());
      first = first == CudaConstants.SUCCESS ? freed : first;
    }
    return first;
  }
}
