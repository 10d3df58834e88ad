// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.NativeError;
import io.github.nvfp4j.bindings.Nvfp4jConstants;
import io.github.nvfp4j.bindings.Nvfp4jNative;
import io.github.nvfp4j.bindings.StatusRecord;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/// How what kernels reported on a [Stream], and in graphs launched on it, gets to the caller: by
/// waiting ([#collect]) or by a future ([#future]), each fault once. All calls come from the
/// stream's owner, except where they say otherwise.
final class Reporting {
  /// A graph, as the stream knows it that it was launched on.
  interface Launched {
    /// The stream is idle: takes what the kernels reported.
    void collect(Stream stream, Reports reports);

    /// Enqueues, behind the last launch, a copy of what the kernels reported, and makes the stream
    /// wait for it.
    ///
    /// @return whether that was done: not if the graph belongs to another stream by now, or another
    ///   request is open
    boolean requestReport(Stream stream, Completion completion);

    /// Nobody will fetch what [#requestReport] asked for: the stream still has to ask for the
    /// report of the last launch. The completion is about to end.
    void withdraw(Stream stream);

    /// **Waits** for what was withdrawn, and keeps what it found for the next question.
    void takeBack();

    /// As [#takeBack], without waiting; what was found is carried by the stream.
    ///
    /// @return false if it is not complete: come again
    boolean tryTakeBack();

    /// Whether a stream still has to ask for the report of the last launch; where not, the stream
    /// forgets the graph.
    boolean reportsTo(Stream stream);

    /// The context whose report [#requestReport] asks for.
    MemorySegment context();
  }

  /// The native calls that ask a stream's context: a test can stand in for them.
  interface Calls {
    int synchronize(MemorySegment context, MemorySegment record, MemorySegment error);

    int request(MemorySegment context, MemorySegment error);

    int report(MemorySegment context, MemorySegment record, MemorySegment error);

    int cancel(MemorySegment context);
  }

  static final Calls NATIVE_CALLS =
      new Calls() {
        @Override
        public int synchronize(MemorySegment context, MemorySegment record, MemorySegment error) {
          return Nvfp4jNative.contextSynchronize(context, record, error);
        }

        @Override
        public int request(MemorySegment context, MemorySegment error) {
          return Nvfp4jNative.contextRequestReport(context, error);
        }

        @Override
        public int report(MemorySegment context, MemorySegment record, MemorySegment error) {
          return Nvfp4jNative.contextReport(context, record, error);
        }

        @Override
        public int cancel(MemorySegment context) {
          return Nvfp4jNative.contextCancelReport(context, MemorySegment.NULL);
        }
      };

  private final Stream stream;
  private final DeviceState state;
  private final MemorySegment context;
  private final long cudaStream;
  private final NativeError error;
  private final StatusRecord record;
  private final Supplier<Completion.Mark> marks;
  private final Calls calls;

  // Graphs whose reports nobody has asked for since their last launch here.
  private final List<Launched> launched = new ArrayList<>();
  // What was found and could not be thrown: by graphs that closed, or moved to another stream; by
  // calls that then failed. Guarded by itself.
  private final List<ReportedByKernelException> carried = new ArrayList<>();
  // At most one request per context is open; futures that come meanwhile wait for the next.
  private @Nullable Completion outstanding;
  private final List<CompletableFuture<Void>> waiting = new ArrayList<>();
  // Requests, of the stream's context and of graphs in `launched`, whose future failed: nobody
  // fetches them, and there are no others until they are taken back. The poller, which must not
  // wait for their copies, comes again until they are.
  private boolean withdrawn;
  private boolean graphsWithdrawn;

  Reporting(
      Stream stream,
      MemorySegment context,
      long cudaStream,
      NativeError error,
      StatusRecord record,
      Supplier<Completion.Mark> marks,
      Calls calls) {
    this.stream = stream;
    this.state = stream.device().state();
    this.context = context;
    this.cudaStream = cudaStream;
    this.error = error;
    this.record = record;
    this.marks = marks;
    this.calls = calls;
  }

  /// A graph was launched here; its reports are collected with the stream's.
  void addLaunched(Launched graph) {
    launched.add(graph);
  }

  /// What was found, to be thrown at the next synchronisation. Any thread.
  void carry(ReportedByKernelException report) {
    synchronized (carried) {
      carried.add(report);
    }
  }

  /// **Waits**, then takes everything that was reported; the first report, the others as its
  /// suppressed exceptions. Where it fails, what was found until then is the next call's.
  ///
  /// @throws IllegalStateException if another library captures the (wrapped) stream; nothing has
  ///   changed then
  @Nullable ReportedByKernelException collect() {
    Completion first = outstanding;
    if (first != null) {
      first.await();
      settle(first);
    }
    takeBack();
    Reports reports = new Reports();
    try {
      reports.add(
          state, calls.synchronize(context, record.segment(), error.segment()), error, record);
      while (!launched.isEmpty()) {
        launched.getFirst().collect(stream, reports);
        launched.removeFirst();
      }
    } catch (RuntimeException e) {
      ReportedByKernelException found = reports.first();
      if (found != null) {
        carry(found);
      }
      // Where another library's capture is in the way, futures that still wait do so on: the poller
      // comes back for them. Otherwise nothing asks for them any more.
      if (!(e instanceof IllegalStateException)) {
        Completion.complete(takeWaiting(), e);
      }
      throw e;
    }
    takeCarried().forEach(reports::add);
    // The work of futures that still wait is done too; this call throws what was found.
    Completion.complete(takeWaiting(), null);
    return reports.first();
  }

  /// A future for all work enqueued so far on a CUDA stream.
  CompletableFuture<Void> future() {
    CompletableFuture<Void> future = new CompletableFuture<>();
    waiting.add(future);
    Completion former = outstanding;
    if (former != null && former.isFinished()) {
      settle(former);
    }
    if (!isWithdrawn() && outstanding == null) {
      request();
      // Not by the poller, so this may wait.
      takeBack();
    }
    return future;
  }

  /// The poller's visit after a completion has finished: asks again for the futures that came in
  /// between.
  ///
  /// @return false if the stream was in use, or a request has still to be taken back: come again
  boolean tryContinue(Completion finished) {
    if (!stream.tryEnter()) {
      return stream.isClosed();
    }
    try {
      if (outstanding == finished) {
        settle(finished);
      }
      if (tryTakeBack() && outstanding == null && !waiting.isEmpty()) {
        request();
      }
      return !isWithdrawn();
    } finally {
      stream.exit();
    }
  }

  /// At close, where [#collect] may not have come to its end: nobody waits for ever.
  void abandon(@Nullable RuntimeException failure) {
    RuntimeException reason =
        failure != null ? failure : new IllegalStateException("whenDone: stream was closed");
    if (outstanding != null) {
      outstanding.fail(reason);
      outstanding = null;
    }
    Completion.complete(takeWaiting(), reason);
    // Nobody else will ask.
    takeCarried().forEach(reason::addSuppressed);
  }

  // Asks the device for a report behind everything enqueued so far, for all futures that wait,
  // without waiting itself. Where it fails, what was requested is withdrawn.
  private void request() {
    List<CompletableFuture<Void>> futures = takeWaiting();
    List<Launched> graphs = new ArrayList<>(launched.size());
    Completion completion;
    try {
      // First what can fail for want of memory.
      completion = new Completion(this, state, context, marks.get(), futures, graphs);
    } catch (RuntimeException | Error e) {
      Completion.complete(futures, e);
      return;
    }
    outstanding = completion;
    // A graph knows the completion before its mark is recorded; whoever closes it then waits here.
    completion.enqueue(() -> {
      boolean requested = false;
      try {
        int status = calls.request(context, error.segment());
        if (status != 0) {
          throw Failures.of(state, null, status, error, "");
        }
        requested = true;
        for (Launched graph : launched) {
          if (graph.requestReport(stream, completion)) {
            graphs.add(graph);
          }
        }
        completion.record(cudaStream);
        completion.submit();
      } catch (RuntimeException | Error e) {
        withdrawn = requested;
        graphsWithdrawn = requested;
        graphs.forEach(graph -> graph.withdraw(stream));
        completion.fail(e);
        outstanding = null;
        return;
      }
      launched.removeIf(graph -> graphs.contains(graph) || !graph.reportsTo(stream));
      synchronized (carried) {
        completion.carry(carried);
        carried.clear();
      }
    });
  }

  /// The end of a completion failed before it fetched the graph's report. Any thread.
  void withdraw(Launched graph) {
    graph.withdraw(stream);
  }

  // The completion has finished; what it left unfetched is taken back like what was withdrawn.
  private void settle(Completion completion) {
    outstanding = null;
    withdrawn |= completion.leftContext();
    for (Launched graph : completion.leftGraphs()) {
      graphsWithdrawn = true;
      launched.add(graph);
    }
  }

  private boolean isWithdrawn() {
    return withdrawn || graphsWithdrawn;
  }

  // Waits for what was withdrawn: what it found is the next synchronisation's, or the next
  // future's. Where this fails as well, the device does, and all its calls say so.
  private void takeBack() {
    if (graphsWithdrawn) {
      launched.forEach(Launched::takeBack);
      graphsWithdrawn = false;
    }
    if (withdrawn) {
      calls.cancel(context);
      withdrawn = false;
    }
  }

  // The same without waiting; false if it is not complete.
  private boolean tryTakeBack() {
    if (graphsWithdrawn) {
      for (Launched graph : launched) {
        if (!graph.tryTakeBack()) {
          return false;
        }
      }
      graphsWithdrawn = false;
    }
    if (withdrawn) {
      int status = calls.report(context, record.segment(), error.segment());
      if (status == Nvfp4jConstants.ERROR_INVALID_STATE) {
        return false;
      }
      if (status == Nvfp4jConstants.ERROR_REPORTED) {
        carry(Failures.reported(error, record));
      } else if (status != Nvfp4jConstants.OK) {
        // Where the question fails the wait does, too, and at once.
        calls.cancel(context);
      }
      withdrawn = false;
    }
    return true;
  }

  private List<ReportedByKernelException> takeCarried() {
    synchronized (carried) {
      List<ReportedByKernelException> taken = List.copyOf(carried);
      carried.clear();
      return taken;
    }
  }

  private List<CompletableFuture<Void>> takeWaiting() {
    List<CompletableFuture<Void>> futures = List.copyOf(waiting);
    waiting.clear();
    return futures;
  }
}
