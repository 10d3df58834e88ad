// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.CudaConstants;
import io.github.nvfp4j.bindings.CudaRuntime;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.ReentrantReadWriteLock;

/// A mark in a [Stream], to time the work between two marks or to ask whether it is done.
///
/// On a CUDA device the time is the device's own; on the CPU device, where ops are done when they
/// return, the event reads the clock. Thread-safe.
public final class Event implements AutoCloseable {
  private static final AtomicLong NUMBERS = new AtomicLong();

  private final long number = NUMBERS.incrementAndGet();
  private final Device device;
  private final DeviceState state;
  private final long event;

  // Written by close, read by everything else, so that no call meets a destroyed event.
  private final ReentrantReadWriteLock lock = new ReentrantReadWriteLock();
  private boolean closed;
  private volatile boolean recorded;
  private volatile long nanos;

  private Event(Device device, long event) {
    this.device = device;
    this.state = device.state();
    this.event = event;
  }

  /// A new event of a device, not recorded yet.
  public static Event create(Device device) {
    device.state().requireWorking("event");
    device.live().add("event", LiveCount.Kind.EVENT, 0);
    try {
      long event =
          device.isCuda()
              ? Cuda.createEvent(
                  device.state(), "event", device.ordinal(), CudaConstants.EVENT_DEFAULT)
              : 0;
      return new Event(device, event);
    } catch (RuntimeException e) {
      device.live().remove(LiveCount.Kind.EVENT, 0);
      throw e;
    }
  }

  /// Marks the place behind everything enqueued on a stream so far; an earlier mark is forgotten.
  /// Asynchronous.
  ///
  /// @throws IllegalArgumentException if the stream is of another device
  /// @throws IllegalStateException if the event or the stream is closed, or the stream is being
  ///   captured or in use by another thread
  public void record(Stream stream) {
    if (device.isCuda() != stream.device().isCuda()
        || device.ordinal() != stream.device().ordinal()) {
      throw new IllegalArgumentException(
          "event: stream is on "
              + stream.device().info().id()
              + ", expected the event's device "
              + device.info().id());
    }
    stream.enter("event");
    lock.readLock().lock();
    try {
      requireOpen();
      stream.refuseCapture("event");
      if (device.isCuda()) {
        Cuda.check(
            state,
            "event: cudaEventRecord",
            Cuda.onDevice(
                device.ordinal(),
                stream.scratch(),
                () -> CudaRuntime.eventRecord(event, stream.cudaStream())));
      } else {
        nanos = System.nanoTime();
      }
      recorded = true;
    } finally {
      lock.readLock().unlock();
      stream.exit();
    }
  }

  /// Whether everything before the mark is done. Does not wait.
  ///
  /// @throws IllegalStateException if the event is closed or not recorded
  public boolean isDone() {
    lock.readLock().lock();
    try {
      requireRecorded();
      return !device.isCuda() || Cuda.isDone(state, device.ordinal(), "event", event);
    } finally {
      lock.readLock().unlock();
    }
  }

  /// **Waits** until everything before the mark is done. What kernels reported stays with the
  /// stream.
  ///
  /// @throws IllegalStateException if the event is closed or not recorded
  public void synchronize() {
    lock.readLock().lock();
    try {
      requireRecorded();
      if (device.isCuda()) {
        Cuda.check(state, "event: cudaEventSynchronize", Cuda.await(device.ordinal(), event));
      }
    } finally {
      lock.readLock().unlock();
    }
  }

  /// The milliseconds from another event's mark to this one's: on a CUDA device at a resolution of
  /// about half a microsecond.
  ///
  /// @param since an event of the same device whose mark comes first
  /// @throws IllegalArgumentException if it is of another device
  /// @throws IllegalStateException if one of them is closed, not recorded, or not done: call
  ///   [#synchronize] first
  public double elapsedMillis(Event since) {
    if (since.device.isCuda() != device.isCuda() || since.device.ordinal() != device.ordinal()) {
      throw new IllegalArgumentException(
          "event: since is on "
              + since.device.info().id()
              + ", expected the event's device "
              + device.info().id());
    }
    if (!isDone() || !since.isDone()) {
      throw new IllegalStateException(
          "event: its work is not done, expected that: call synchronize() first");
    }
    // In one order, whoever asks: two readers of two events never wait for each other.
    Event first = number < since.number ? this : since;
    Event second = first == this ? since : this;
    first.lock.readLock().lock();
    second.lock.readLock().lock();
    try (Arena arena = Arena.ofConfined()) {
      requireRecorded();
      since.requireRecorded();
      if (!device.isCuda()) {
        return (nanos - since.nanos) * 1e-6;
      }
      MemorySegment out = arena.allocate(ValueLayout.JAVA_FLOAT);
      Cuda.check(
          state,
          "event: cudaEventElapsedTime",
          Cuda.onDevice(
              device.ordinal(), () -> CudaRuntime.eventElapsedTime(out, since.event, event)));
      return out.get(ValueLayout.JAVA_FLOAT, 0);
    } finally {
      second.lock.readLock().unlock();
      first.lock.readLock().unlock();
    }
  }

  /// Frees the event. Closing twice does nothing.
  @Override
  public void close() {
    lock.writeLock().lock();
    try {
      if (closed) {
        return;
      }
      closed = true;
      if (device.isCuda()) {
        Cuda.destroyEvent(device.ordinal(), event);
      }
    } finally {
      lock.writeLock().unlock();
    }
    device.live().remove(LiveCount.Kind.EVENT, 0);
  }

  private void requireOpen() {
    if (closed) {
      throw new IllegalStateException("event: event is closed, expected an open one");
    }
  }

  private void requireRecorded() {
    requireOpen();
    state.requireWorking("event");
    if (!recorded) {
      throw new IllegalStateException(
          "event: event is not recorded, expected record(stream) before");
    }
  }
}
