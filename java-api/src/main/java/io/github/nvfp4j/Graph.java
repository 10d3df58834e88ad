// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.CudaConstants;
import io.github.nvfp4j.bindings.CudaRuntime;
import io.github.nvfp4j.bindings.NativeError;
import io.github.nvfp4j.bindings.Nvfp4jConstants;
import io.github.nvfp4j.bindings.Nvfp4jNative;
import io.github.nvfp4j.bindings.StatusRecord;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.function.IntSupplier;
import org.jspecify.annotations.Nullable;

/// A recorded sequence of ops ([Stream#capture]) that is replayed with one call, on the tensors
/// that it was recorded with: write new inputs into them between launches.
///
/// A graph **retains** the device and page-locked memory of its tensors: where their arena closes
/// first, the memory is freed when the graph closes. (On the CPU device memory belongs to its arena
/// alone: a launch after that is refused.) Memory behind an *unsafe* pointer is its owner's
/// business.
///
/// It runs once at a time: launches on one stream follow each other; a launch on another stream
/// while one is under way is refused. What its kernels report is thrown where the launching stream
/// is synchronised.
public final class Graph implements AutoCloseable {
  /// One recorded call, for replay on a CPU stream.
  @FunctionalInterface
  interface Step {
    void run(Stream stream);
  }

  private final Device device;
  private final DeviceState state;
  private final Capture capture;
  private final boolean cuda;

  // CUDA only: the context of the recorded ops, its stream, the graph, and events behind the last
  // launch and the last report.
  private final MemorySegment context;
  private final long contextStream;
  private final long exec;
  private final long launchDone;
  private final long reportDone;
  private final NativeError error;
  private final StatusRecord record;

  private final Launch launch = new Launch();

  // Guarded by this. Nobody waits for a launch to end under this lock, except to take back a
  // request
  // that failed: a call of another thread that does not wait must not stand behind one that does.
  private final Cuda.Scratch scratch;
  private @Nullable Stream last;
  private @Nullable Stream listed;
  private volatile @Nullable Completion requested;
  // A future failed after its report was requested: nobody fetches it, and there is no other until
  // it is taken back.
  private boolean withdrawn;
  private boolean running;
  private boolean closed;

  private Graph(
      Device device,
      Capture capture,
      MemorySegment context,
      long contextStream,
      long exec,
      long launchDone,
      long reportDone) {
    this.device = device;
    this.state = device.state();
    this.capture = capture;
    this.cuda = device.isCuda();
    this.context = context;
    this.contextStream = contextStream;
    this.exec = exec;
    this.launchDone = launchDone;
    this.reportDone = reportDone;
    Arena arena = Arena.ofAuto();
    this.error = new NativeError(arena);
    this.record = new StatusRecord(arena);
    this.scratch = new Cuda.Scratch(arena);
  }

  static Graph ofSteps(Device device, Capture capture) {
    return new Graph(device, capture, MemorySegment.NULL, 0, 0, 0, 0);
  }

  /// Takes over a recorded graph (destroyed here in any case) and, if all goes well, the context.
  static Graph ofCuda(
      Device device, Capture capture, MemorySegment context, long stream, long recorded) {
    DeviceState state = device.state();
    int ordinal = device.ordinal();
    long exec = 0;
    long[] events = new long[2];
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment out = arena.allocate(ValueLayout.JAVA_LONG);
      // Relaxed: this thread may be within the capture of another stream, which none of this
      // concerns.
      int code =
          Cuda.onDevice(
              ordinal,
              () -> {
                int made = Cuda.relaxed(() -> CudaRuntime.graphInstantiate(out, recorded, 0));
                CudaRuntime.graphDestroy(recorded);
                return made;
              });
      Cuda.check(state, "capture: cudaGraphInstantiate", code);
      exec = out.get(ValueLayout.JAVA_LONG, 0);
      for (int i = 0; i < events.length; i++) {
        events[i] = Cuda.createEvent(state, "capture", ordinal, CudaConstants.EVENT_DISABLE_TIMING);
      }
      long made = exec;
      Cuda.check(
          state,
          "capture: cudaGraphUpload",
          Cuda.onDevice(ordinal, () -> Cuda.relaxed(() -> CudaRuntime.graphUpload(made, stream))));
      Cuda.check(
          state,
          "capture: cudaStreamSynchronize",
          Cuda.onDevice(ordinal, () -> Cuda.relaxed(() -> CudaRuntime.streamSynchronize(stream))));
      return new Graph(device, capture, context, stream, exec, events[0], events[1]);
    } catch (RuntimeException e) {
      destroy(ordinal, exec, events);
      throw e;
    }
  }

  // 0 is what was not made.
  private static void destroy(int ordinal, long exec, long... events) {
    for (long event : events) {
      Cuda.destroyEvent(ordinal, event);
    }
    if (exec != 0) {
      Cuda.onDevice(ordinal, () -> Cuda.relaxed(() -> CudaRuntime.graphExecDestroy(exec)));
    }
  }

  static void destroyQuietly(int ordinal, long recorded) {
    if (recorded != 0) {
      Cuda.onDevice(ordinal, () -> CudaRuntime.graphDestroy(recorded));
    }
  }

  /// Enqueues the recorded ops on a stream, any of the graph's device. Asynchronous on a CUDA
  /// device, done on return on the CPU.
  ///
  /// @throws IllegalArgumentException if the stream is of another device
  /// @throws IllegalStateException if the graph is closed, or a launch on another stream is under
  ///   way; if the stream is closed, being captured, or in use by another thread; on the CPU
  ///   device, if the arena of a tensor is closed
  public void launch(Stream stream) {
    stream.enter("launch");
    try {
      stream.refuseCapture("launch");
      if (cuda != stream.device().isCuda() || device.ordinal() != stream.device().ordinal()) {
        throw new IllegalArgumentException(
            "launch: stream is on "
                + stream.device().info().id()
                + ", expected the graph's device "
                + device.info().id());
      }
      if (cuda) {
        launchCuda(stream);
      } else {
        launchCpu(stream);
      }
    } finally {
      stream.exit();
    }
  }

  private synchronized void launchCuda(Stream stream) {
    requireOpen();
    Stream former = last;
    if (former != null && former != stream) {
      if (!Cuda.isDone(state, device.ordinal(), "launch", launchDone)) {
        throw new IllegalStateException(
            "launch: graph is under way on "
                + former
                + ", expected one launch at a time: synchronise that stream first");
      }
      // From now on the record is the new stream's.
      takeReportFor(former);
      last = null;
    }
    long cudaStream = stream.cudaStream();
    check("launch: cudaGraphLaunch", () -> CudaRuntime.graphLaunch(exec, cudaStream));
    last = stream;
    if (listed != stream) {
      stream.reporting().addLaunched(launch);
      listed = stream;
    }
    check("launch: cudaEventRecord", () -> CudaRuntime.eventRecord(launchDone, cudaStream));
  }

  // A call on the graph's device. The caller holds the lock.
  private void check(String what, IntSupplier call) {
    Cuda.check(state, what, Cuda.onDevice(device.ordinal(), scratch, call));
  }

  private void launchCpu(Stream stream) {
    synchronized (this) {
      requireOpen();
      if (running) {
        throw new IllegalStateException(
            "launch: graph is under way on another stream, expected one launch at a time");
      }
      running = true;
    }
    stream.hold(true);
    try {
      for (Step step : capture.steps()) {
        step.run(stream);
      }
    } finally {
      stream.hold(false);
      synchronized (this) {
        running = false;
        notifyAll();
      }
    }
  }

  /// **Waits** until the last launch is done, then frees the graph and what it retained. Faults
  /// that its kernels found and nobody has asked for yet are thrown where the launching stream is
  /// synchronised next. Closing twice does nothing.
  @Override
  public void close() {
    synchronized (this) {
      if (closed) {
        return;
      }
      // No launch and no request begins from here on.
      closed = true;
    }
    try {
      if (cuda) {
        closeCuda();
      } else {
        awaitCpu();
      }
    } finally {
      capture.releaseAll();
      device.live().remove(LiveCount.Kind.GRAPH, 0);
    }
  }

  private void closeCuda() {
    // Neither `last` nor `requested` changes any more, and nobody else uses the context: all that
    // looks at `closed` first.
    Completion completion = requested;
    if (completion != null) {
      completion.await();
    }
    try {
      Stream former;
      synchronized (this) {
        former = last;
      }
      if (former != null && !state.hasFailed()) {
        Cuda.check(state, "close: cudaEventSynchronize", Cuda.await(device.ordinal(), launchDone));
        takeReportFor(former);
      }
    } finally {
      destroy(device.ordinal(), exec, launchDone, reportDone);
      Contexts.destroyQuietly(context);
    }
  }

  private synchronized void awaitCpu() {
    boolean interrupted = false;
    while (running) {
      try {
        wait();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  private void requireOpen() {
    if (closed) {
      throw new IllegalStateException("launch: graph is closed, expected an open one");
    }
  }

  // ---- reports ----------------------------------------------------------------------------------

  /// The graph as the stream knows it that it was launched on.
  private final class Launch implements Reporting.Launched {
    @Override
    public void collect(Stream stream, Reports reports) {
      synchronized (Graph.this) {
        if (!closed && last == stream) {
          reports.add(
              state,
              Nvfp4jNative.contextSynchronize(context, record.segment(), error.segment()),
              error,
              record);
        }
        // Not before: where the call fails, the stream asks again.
        if (listed == stream) {
          listed = null;
        }
      }
    }

    @Override
    public boolean requestReport(Stream stream, Completion completion) {
      synchronized (Graph.this) {
        if (closed || last != stream || withdrawn) {
          return false;
        }
        Completion former = requested;
        if (former != null && !former.isFinished()) {
          return false;
        }
        check(
            "whenDone: cudaStreamWaitEvent",
            () -> CudaRuntime.streamWaitEvent(contextStream, launchDone, 0));
        int status = Nvfp4jNative.contextRequestReport(context, error.segment());
        if (status != 0) {
          throw Failures.of(state, null, status, error, "");
        }
        requested = completion;
        long cudaStream = stream.cudaStream();
        try {
          check(
              "whenDone: cudaEventRecord",
              () -> CudaRuntime.eventRecord(reportDone, contextStream));
          check(
              "whenDone: cudaStreamWaitEvent",
              () -> CudaRuntime.streamWaitEvent(cudaStream, reportDone, 0));
        } catch (RuntimeException | Error e) {
          withdrawn = true;
          throw e;
        }
        listed = null;
        return true;
      }
    }

    @Override
    public void withdraw(Stream stream) {
      synchronized (Graph.this) {
        withdrawn = true;
        listed = stream;
      }
    }

    @Override
    public void takeBack() {
      synchronized (Graph.this) {
        if (!closed) {
          cancelWithdrawn();
        }
      }
    }

    @Override
    public boolean tryTakeBack() {
      synchronized (Graph.this) {
        // What a graph that closes has found is taken there.
        if (closed || !withdrawn) {
          return true;
        }
        int status = Nvfp4jNative.contextReport(context, record.segment(), error.segment());
        if (status == Nvfp4jConstants.ERROR_INVALID_STATE) {
          return false;
        }
        Stream stream = last;
        if (status == Nvfp4jConstants.ERROR_REPORTED && stream != null) {
          stream.reporting().carry(Failures.reported(error, record));
        }
        withdrawn = status != 0 && status != Nvfp4jConstants.ERROR_REPORTED;
        // Where the question fails the wait does, too, and at once.
        cancelWithdrawn();
        return true;
      }
    }

    @Override
    public boolean reportsTo(Stream stream) {
      synchronized (Graph.this) {
        boolean reports = !closed && last == stream;
        if (!reports && listed == stream) {
          listed = null;
        }
        return reports;
      }
    }

    @Override
    public MemorySegment context() {
      return context;
    }
  }

  // The caller holds the lock, or nobody else uses the context any more. Waits for the request's
  // copy.
  private void cancelWithdrawn() {
    if (withdrawn) {
      Nvfp4jNative.contextCancelReport(context, MemorySegment.NULL);
      withdrawn = false;
    }
  }

  // The last launch is done: what it reported is thrown by its stream's next synchronisation.
  private void takeReportFor(Stream stream) {
    cancelWithdrawn();
    Reports reports = new Reports();
    reports.add(
        state,
        Nvfp4jNative.contextSynchronize(context, record.segment(), error.segment()),
        error,
        record);
    ReportedByKernelException report = reports.first();
    if (report != null) {
      stream.reporting().carry(report);
    }
  }
}
