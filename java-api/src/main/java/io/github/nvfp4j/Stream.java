// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.NativeError;
import io.github.nvfp4j.bindings.Nvfp4jConstants;
import io.github.nvfp4j.bindings.Nvfp4jNative;
import io.github.nvfp4j.bindings.StatusRecord;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/// A queue of work of one [Device]. Ops take it first; those of one stream run in order.
///
/// On a CUDA device an op returns when it is enqueued; what its kernel finds wrong with the data is
/// thrown by the next [#synchronize]. On the CPU device an op is done when it returns, and reports
/// in the same way.
///
/// **One thread at a time**: a stream may move between threads, but a call that finds another
/// thread inside is refused. Calls pin a virtual thread to its carrier; those that wait say so, and
/// [#whenDone] does not.
public final class Stream implements AutoCloseable {
  private static final AtomicLong NUMBERS = new AtomicLong();

  private final long number = NUMBERS.incrementAndGet();
  private final Device device;
  private final DeviceState state;
  private final int ordinal;
  private final boolean foreign;
  private final MemorySegment context;
  private final long cudaStream;
  private final NativeError error;
  private final MemorySegment errorSegment;
  private final Cuda.Scratch scratch;

  private final Turn turn = new Turn();
  // Everything below belongs to the thread whose turn it is.
  private @Nullable Capture capture;
  private MemorySegment active;
  private long activeStream;
  private final Reporting reporting;

  private Stream(Device device, MemorySegment context, boolean foreign, long cudaStream) {
    this.device = device;
    this.state = device.state();
    this.ordinal = device.isCuda() ? device.ordinal() : Tensor.HOST;
    this.foreign = foreign;
    this.context = context;
    this.cudaStream = cudaStream;
    // Collected with the stream: a call that runs keeps both alive.
    Arena arena = Arena.ofAuto();
    this.error = new NativeError(arena);
    this.errorSegment = error.segment();
    this.scratch = new Cuda.Scratch(arena);
    this.reporting =
        new Reporting(
            this,
            context,
            cudaStream,
            error,
            new StatusRecord(arena),
            () -> new Completion.EventMark(device),
            Reporting.NATIVE_CALLS);
    this.active = context;
    this.activeStream = cudaStream;
  }

  static Stream open(Device device) {
    return create(device, "openStream", false, 0);
  }

  /// Wraps a `cudaStream_t` that something else made and destroys: ops are enqueued on it.
  /// **Unsafe**: nothing checks that the handle is one, or that it stays valid until this stream,
  /// and every graph captured on it, is closed; if not, the process can crash.
  ///
  /// Closing the wrapper waits for the stream's work and leaves the stream alone. 0 is the legacy
  /// default stream.
  ///
  /// @param device the CUDA device that the stream was made on, in the context that the CUDA
  ///   runtime uses (the primary one)
  /// @throws IllegalArgumentException if the device is the CPU, or not the stream's
  public static Stream wrapUnsafe(Device device, long cudaStream) {
    if (!device.isCuda()) {
      throw new IllegalArgumentException("wrapUnsafe: device is cpu, expected a CUDA device");
    }
    return create(device, "wrapUnsafe", true, cudaStream);
  }

  /// As [#wrapUnsafe(Device, long)], for a handle in the form in which `java.lang.foreign` code has
  /// it: a segment whose address is the `cudaStream_t`.
  public static Stream wrapUnsafe(Device device, MemorySegment cudaStream) {
    return wrapUnsafe(device, cudaStream.address());
  }

  private static Stream create(Device device, String what, boolean foreign, long cudaStream) {
    DeviceState state = device.state();
    state.requireWorking(what);
    device.live().add(what, LiveCount.Kind.STREAM, 0);
    try {
      MemorySegment context = Contexts.create(state, device, foreign, cudaStream);
      return new Stream(
          device, context, foreign, foreign ? cudaStream : Contexts.stream(state, context));
    } catch (Throwable e) {
      device.live().remove(LiveCount.Kind.STREAM, 0);
      throw e;
    }
  }

  /// The device whose work this is.
  public Device device() {
    return device;
  }

  /// The `cudaStream_t` for other CUDA libraries of this process; 0 on the CPU device. It is valid
  /// until [#close].
  ///
  /// Within [#capture] it is the stream that is being captured: a library that enqueues work of the
  /// graph must ask for it there.
  ///
  /// @throws IllegalStateException if the stream is closed
  public long cudaStream() {
    if (isClosed()) {
      throw new IllegalStateException("cudaStream: stream is closed, expected an open one");
    }
    return activeStream;
  }

  /// **Waits** until all work of this stream is done, then throws what its kernels reported, graphs
  /// launched on it included. A fault is reported once: by this, by [#whenDone], or by [#close],
  /// whichever comes first.
  ///
  /// @throws ReportedByKernelException naming op, cause, row and column; the stream stays usable
  /// @throws IllegalStateException if the stream is closed, being captured, or in use by another
  ///   thread
  /// @throws DeviceFailedException if a kernel crashed the device
  public void synchronize() {
    enter("synchronize");
    try {
      refuseCapture("synchronize");
      ReportedByKernelException report = reporting.collect();
      if (report != null) {
        throw report;
      }
    } finally {
      exit();
    }
  }

  /// A future that completes when all work enqueued so far is done, without a thread that waits:
  /// normally, or with the [ReportedByKernelException] of faults found until then (which is then
  /// not thrown by [#synchronize]).
  ///
  /// Where an earlier future of this stream is still open, it may complete later than its own work:
  /// with the work enqueued until that one was done. Dependents run on a virtual thread. On the CPU
  /// device it is complete at once.
  ///
  /// @throws IllegalStateException if the stream is closed, being captured, or in use by another
  ///   thread
  public CompletableFuture<Void> whenDone() {
    enter("whenDone");
    try {
      refuseCapture("whenDone");
      if (!device.isCuda()) {
        ReportedByKernelException report = reporting.collect();
        return report == null
            ? CompletableFuture.completedFuture(null)
            : CompletableFuture.failedFuture(report);
      }
      return reporting.future();
    } finally {
      exit();
    }
  }

  /// Records the ops that `body` calls on this stream, instead of running them, as a graph that
  /// replays them. `body` runs once, now, on this thread. Arguments are checked while recording; an
  /// exception of `body` ends the capture cleanly and is thrown again.
  ///
  /// In `body`, only ops and copies between device and page-locked memory may be called on this
  /// stream; whatever waits is refused. Other threads cannot use the stream meanwhile.
  ///
  /// **Other streams** are not affected, in `body` as elsewhere: what it calls on them is no part
  /// of the graph, is enqueued (on the CPU device: done) once, now, and may wait. They can be
  /// captured as well, in a `body` within this one. Nothing orders their work with the graph's
  /// launches.
  ///
  /// On an own stream other CUDA libraries must enqueue on [#cudaStream] as it is within `body`.
  /// Kernels are loaded before, memory freed meanwhile is freed afterwards. **Waits** until the
  /// graph is on the device.
  ///
  /// @return the graph; the caller closes it
  /// @throws IllegalStateException if the stream is closed, being captured already, or in use by
  ///   another thread; if this is a virtual thread, which could end a capture on another carrier
  ///   than it began
  public Graph capture(Runnable body) {
    enter("capture");
    try {
      refuseCapture("capture");
      if (Thread.currentThread().isVirtual()) {
        throw new IllegalStateException(
            "capture: thread "
                + Thread.currentThread()
                + " is virtual, expected a platform thread");
      }
      turn.hold(true);
      try {
        return device.isCuda() ? Capture.cuda(this, body) : Capture.cpu(this, body);
      } finally {
        turn.hold(false);
      }
    } finally {
      exit();
    }
  }

  /// **Waits** for the stream's work, then frees it (a wrapped stream is left alone). Closing twice
  /// does nothing.
  ///
  /// @throws ReportedByKernelException if kernels reported faults that nobody has asked for yet;
  ///   the stream is closed nevertheless
  /// @throws IllegalStateException if the stream is in use by another thread, or being captured (a
  ///   wrapped one: by whoever else enqueues on it); it stays open then, and close can be called
  ///   again
  @Override
  public void close() {
    if (isClosed()) {
      return;
    }
    enterAnyState("close");
    ReportedByKernelException report = null;
    RuntimeException failure = null;
    try {
      refuseCapture("close");
    } catch (IllegalStateException e) {
      exit();
      throw e;
    }
    try {
      if (!state.hasFailed()) {
        report = reporting.collect();
      }
    } catch (IllegalStateException e) {
      // Another library captures the (wrapped) stream. Nothing has changed.
      exit();
      throw new IllegalStateException("close: " + this + ": " + e.getMessage(), e);
    } catch (RuntimeException e) {
      failure = e;
    }
    reporting.abandon(failure);
    boolean worked = !state.hasFailed();
    int status = Nvfp4jNative.contextDestroy(context, errorSegment);
    if (status == Nvfp4jConstants.ERROR_INVALID_STATE) {
      // A capture of another library began in between: the context is as it was.
      if (report != null) {
        reporting.carry(report);
      }
      RuntimeException refusal = raise(null, status, "");
      if (failure != null) {
        refusal.addSuppressed(failure);
      }
      exit();
      throw refusal;
    }
    if (status != 0 && failure == null && worked) {
      failure = raise(null, status, "");
    }
    device.live().remove(LiveCount.Kind.STREAM, 0);
    turn.close();
    if (failure != null) {
      throw failure;
    }
    if (report != null) {
      throw report;
    }
  }

  /// For example `stream 3 of cuda:0`.
  @Override
  public String toString() {
    return (foreign ? "wrapped stream " : "stream ") + number + " of " + device.info().id();
  }

  // ---- for ops ----------------------------------------------------------------------------------

  /// Takes the stream for one call of this thread. The counterpart of [#exit].
  void enter(String what) {
    state.requireWorking(what);
    enterAnyState(what);
  }

  private void enterAnyState(String what) {
    turn.take(this, what);
  }

  /// Gives the stream back.
  void exit() {
    turn.end();
  }

  /// The context that ops go to now: the stream's own, or a capture's.
  MemorySegment context() {
    return active;
  }

  /// For calls of the CUDA runtime by the thread that is inside.
  Cuda.Scratch scratch() {
    return scratch;
  }

  /// The error structure of calls on this stream.
  MemorySegment error() {
    return errorSegment;
  }

  /// Checks what C cannot see of a tensor that an op reads: arena, thread, device.
  void reads(Op op, String name, Tensor tensor) {
    if (!Scopes.usable(tensor.descriptor)
        || (tensor.ordinal != ordinal && tensor.ordinal != Tensor.HOST)) {
      throw Refusals.place(
          device, op, name, tensor.descriptor, tensor.threadName(), tensor.ordinal);
    }
    if (capture != null) {
      capture.retain(op, name, tensor);
    }
  }

  /// As [#reads], of a tensor that an op writes.
  void writes(Op op, String name, Tensor tensor) {
    if (tensor.readOnly) {
      throw new IllegalArgumentException(
          op.opName() + ": " + name + " is read-only, expected memory that can be written");
    }
    reads(op, name, tensor);
  }

  void reads(Op op, String name, Nvfp4Tensor tensor) {
    if (!Scopes.usable(tensor.descriptor)
        || (tensor.ordinal != ordinal && tensor.ordinal != Tensor.HOST)) {
      throw Refusals.place(
          device, op, name, tensor.descriptor, tensor.codes().threadName(), tensor.ordinal);
    }
    if (capture != null) {
      capture.retain(op, name, tensor.codes());
      capture.retain(op, name, tensor.scales());
      capture.retain(op, name, tensor.globalScales());
    }
  }

  void writes(Op op, String name, Nvfp4Tensor tensor) {
    if (tensor.readOnly != null) {
      throw new IllegalArgumentException(
          op.opName()
              + ": "
              + name
              + "."
              + tensor.readOnly
              + " is read-only, expected memory that can be written");
    }
    reads(op, name, tensor);
  }

  /// An op is about to be given page-locked memory that it may work on after it has returned: on
  /// the CPU device, none does.
  void uses(Tensor tensor) {
    if (tensor.allocation != null && device.isCuda()) {
      tensor.allocation.usedBy(state);
    }
  }

  /// Whether a CPU stream records; then ops add themselves with [#recordStep].
  boolean records() {
    return capture != null && !device.isCuda();
  }

  /// Adds a call to the graph that is being recorded.
  void recordStep(Graph.Step step) {
    if (capture != null) {
      capture.add(step);
    }
  }

  /// Whether a capture is under way on this stream.
  boolean isCapturing() {
    return capture != null;
  }

  /// The exception for a failed call of an op, or of another function where `op` is null.
  RuntimeException raise(@Nullable Op op, int status, String shapes) {
    return Failures.of(state, op, status, error, shapes);
  }

  // ---- for Graph and Event (inside enter and exit) ----------------------------------------------

  /// Holds the stream across the calls of a replay.
  void hold(boolean value) {
    turn.hold(value);
  }

  /// What graphs and the poller have to do with this stream's reports.
  Reporting reporting() {
    return reporting;
  }

  /// The poller's way in: never waits.
  boolean tryEnter() {
    return turn.tryTake();
  }

  boolean isClosed() {
    return turn.isOver();
  }

  // ---- for Capture (inside enter and exit) ------------------------------------------------------

  /// From now on ops go to a capture's context, on its stream.
  void beginCapture(Capture recording, MemorySegment captureContext, long captureStream) {
    capture = recording;
    active = captureContext;
    activeStream = captureStream;
  }

  /// Ops go to this stream again.
  void endCapture() {
    capture = null;
    active = context;
    activeStream = cudaStream;
  }

  boolean isForeign() {
    return foreign;
  }

  void refuseCapture(String what) {
    if (capture != null) {
      throw new IllegalStateException(
          what + ": stream is being captured, expected no capture: end it first");
    }
  }
}
