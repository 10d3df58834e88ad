// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.CudaConstants;
import io.github.nvfp4j.bindings.CudaRuntime;
import io.github.nvfp4j.bindings.NativeError;
import io.github.nvfp4j.bindings.Nvfp4jNative;
import io.github.nvfp4j.bindings.StatusRecord;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;

/// Work of a CUDA stream that futures wait for: an event behind a copy of the status records. One
/// daemon thread asks for all of them (an upcall from the driver could end the JVM).
final class Completion {
  private static final LinkedBlockingQueue<Completion> ADDED = new LinkedBlockingQueue<>();
  private static final long SHORTEST_NANOS = 20_000;
  private static final long LONGEST_NANOS = 500_000;

  /// The thread that asks. It enters a stream for microseconds only.
  static final Thread POLLER =
      Thread.ofPlatform().daemon().name("nvfp4j-poller").unstarted(Completion::run);

  private final Reporting reporting;
  private final DeviceState state;
  private final MemorySegment context;
  private final Mark mark;
  private final List<CompletableFuture<Void>> futures;
  private final List<Reporting.Launched> graphs;
  private final List<ReportedByKernelException> carried = new ArrayList<>();

  // Held while the work is enqueued, by whoever waits for it, and by the poller for the length of a
  // question. The poller never waits for it: a thread that does is about to finish the completion,
  // and those of other streams must not stand behind it. (A waiting thread holds it in a native
  // call, which pins a virtual thread with or without a lock.)
  private final ReentrantLock lock = new ReentrantLock();
  // Requests whose reports the end did not fetch, because it failed. Written under the lock, before
  // `finished`.
  private boolean leftContext;
  private List<Reporting.Launched> leftGraphs = List.of();
  // Written under the lock.
  private volatile boolean finished;

  /// A place in a stream, behind everything enqueued so far.
  interface Mark {
    /// Puts it there.
    ///
    /// @throws RuntimeException if that fails
    void record(long cudaStream);

    /// `CudaConstants.SUCCESS` when the work before it is done, `ERROR_NOT_READY` until then.
    int query();

    /// **Waits** for that work.
    int await();

    /// Frees it.
    void destroy();
  }

  /// A mark that is a CUDA event.
  static final class EventMark implements Mark {
    private final DeviceState state;
    private final int ordinal;
    private final long event;

    EventMark(Device device) {
      this.state = device.state();
      this.ordinal = device.ordinal();
      this.event = Cuda.createEvent(state, "whenDone", ordinal, CudaConstants.EVENT_DISABLE_TIMING);
    }

    @Override
    public void record(long cudaStream) {
      Cuda.check(
          state,
          "whenDone: cudaEventRecord",
          Cuda.onDevice(ordinal, () -> CudaRuntime.eventRecord(event, cudaStream)));
    }

    @Override
    public int query() {
      return Cuda.query(ordinal, event);
    }

    @Override
    public int await() {
      return Cuda.await(ordinal, event);
    }

    @Override
    public void destroy() {
      Cuda.destroyEvent(ordinal, event);
    }
  }

  Completion(
      Reporting reporting,
      DeviceState state,
      MemorySegment context,
      Mark mark,
      List<CompletableFuture<Void>> futures,
      List<Reporting.Launched> graphs) {
    this.reporting = reporting;
    this.state = state;
    this.context = context;
    this.mark = mark;
    this.futures = futures;
    this.graphs = graphs;
  }

  /// Reports that were made earlier and belong to whoever waits next.
  void carry(List<ReportedByKernelException> reports) {
    carried.addAll(reports);
  }

  /// Enqueues what the completion consists of. Whoever waits for it meanwhile waits for that, too.
  void enqueue(Runnable work) {
    lock.lock();
    try {
      work.run();
    } finally {
      lock.unlock();
    }
  }

  /// Marks the place in the stream.
  void record(long cudaStream) {
    mark.record(cudaStream);
  }

  /// Hands the completion to the poller.
  void submit() {
    synchronized (POLLER) {
      if (POLLER.getState() == Thread.State.NEW) {
        POLLER.start();
      }
    }
    ADDED.add(this);
  }

  boolean isFinished() {
    return finished;
  }

  /// Whether the stream's context was asked for a report that nobody fetched; of a finished one.
  boolean leftContext() {
    return finished && leftContext;
  }

  /// The graphs that were; of a finished one. They know it already.
  List<Reporting.Launched> leftGraphs() {
    return finished ? leftGraphs : List.of();
  }

  /// **Waits** for the work, then completes the futures. Does nothing if that is done.
  void await() {
    lock.lock();
    try {
      if (!finished) {
        finish(mark.await());
      }
    } finally {
      lock.unlock();
    }
  }

  /// Completes the futures if the work is done. Never waits.
  ///
  /// @return whether they are completed
  private boolean poll() {
    if (finished) {
      return true;
    }
    if (!lock.tryLock()) {
      return false;
    }
    try {
      if (!finished) {
        int code = mark.query();
        if (code == CudaConstants.ERROR_NOT_READY) {
          return false;
        }
        finish(code);
      }
      return true;
    } finally {
      lock.unlock();
    }
  }

  /// Completes the futures with a failure, unless they are completed.
  void fail(Throwable failure) {
    lock.lock();
    try {
      if (!finished) {
        end(failure);
      }
    } finally {
      lock.unlock();
    }
  }

  private void finish(int code) {
    Throwable failure = null;
    int fetched = 0; // of the context, then of the graphs
    Reports reports = new Reports();
    try {
      Cuda.check(state, "whenDone", code);
      Arena arena = Arena.ofAuto();
      NativeError error = new NativeError(arena);
      StatusRecord record = new StatusRecord(arena);
      reports.add(
          state,
          Nvfp4jNative.contextReport(context, record.segment(), error.segment()),
          error,
          record);
      fetched++;
      for (Reporting.Launched graph : graphs) {
        reports.add(
            state,
            Nvfp4jNative.contextReport(graph.context(), record.segment(), error.segment()),
            error,
            record);
        fetched++;
      }
      carried.forEach(reports::add);
      carried.clear();
      failure = reports.first();
    } catch (RuntimeException | Error e) {
      // An error, too: it would end the poller, and with it every future of the process.
      failure = e;
      // What was found until then is the next synchronisation's, or the next future's.
      ReportedByKernelException found = reports.first();
      if (found != null) {
        reporting.carry(found);
      }
      carried.forEach(reporting::carry);
      // And what was not fetched is taken back: until then the contexts refuse other requests.
      leftContext = fetched == 0;
      leftGraphs = graphs.subList(Math.max(fetched - 1, 0), graphs.size());
      leftGraphs.forEach(reporting::withdraw);
    }
    end(failure);
  }

  private void end(@Nullable Throwable failure) {
    finished = true;
    mark.destroy();
    complete(futures, failure);
  }

  /// Completes futures on a thread that their dependents may block.
  static void complete(List<CompletableFuture<Void>> futures, @Nullable Throwable failure) {
    if (futures.isEmpty()) {
      return;
    }
    Thread.startVirtualThread(() -> {
      for (CompletableFuture<Void> future : futures) {
        if (failure == null) {
          future.complete(null);
        } else {
          future.completeExceptionally(failure);
        }
      }
    });
  }

  // A question that could not be asked for want of memory is asked again: this thread must not end,
  // and with it every future of the process.
  private static boolean quietly(BooleanSupplier question) {
    try {
      return question.getAsBoolean();
    } catch (RuntimeException | Error e) {
      return false;
    }
  }

  private static void run() {
    List<Completion> open = new ArrayList<>();
    List<Completion> done = new ArrayList<>();
    long pause = SHORTEST_NANOS;
    while (true) {
      try {
        if (open.isEmpty() && done.isEmpty()) {
          open.add(ADDED.take());
          pause = SHORTEST_NANOS;
        }
      } catch (InterruptedException e) {
        // Nobody ends this thread: it is a daemon.
        continue;
      }
      if (ADDED.drainTo(open) > 0) {
        pause = SHORTEST_NANOS;
      }
      for (Iterator<Completion> each = open.iterator(); each.hasNext(); ) {
        Completion completion = each.next();
        if (quietly(completion::poll)) {
          each.remove();
          done.add(completion);
          pause = SHORTEST_NANOS;
        }
      }
      done.removeIf(each -> quietly(() -> each.reporting.tryContinue(each)));
      if (!open.isEmpty() || !done.isEmpty()) {
        LockSupport.parkNanos(pause);
        pause = Math.min(pause * 2, LONGEST_NANOS);
      }
    }
  }
}
