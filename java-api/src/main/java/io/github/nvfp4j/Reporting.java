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
  private final Stream stream;
  private final DeviceState state;
  private final MemorySegment context;
  private final long cudaStream;
  private final NativeError error;
  private final StatusRecord record;
  private final Supplier<Completion.Mark> marks;

  // Graphs whose reports nobody has asked for since their last launch here.
  private final List<Graph> launched = new ArrayList<>();
  // What graphs reported when they closed, or moved to another stream. Guarded by itself.
  private final List<ReportedByKernelException> carried = new ArrayList<>();
  // At most one request per context is open; futures that come meanwhile wait for the next.
  private @Nullable Completion outstanding;
  private final List<CompletableFuture<Void>> waiting = new ArrayList<>();

  Reporting(
      Stream stream,
      MemorySegment context,
      long cudaStream,
      NativeError error,
      StatusRecord record,
      Supplier<Completion.Mark> marks) {
    this.stream = stream;
    this.state = stream.device().state();
    this.context = context;
    this.cudaStream = cudaStream;
    this.error = error;
    this.record = record;
    this.marks = marks;
  }

  /// A graph was launched here; its reports are collected with the stream's.
  void addLaunched(Graph graph) {
    launched.add(graph);
  }

  /// What a graph reported, to be thrown at the next synchronisation. Any thread.
  void carry(ReportedByKernelException report) {
    synchronized (carried) {
      carried.add(report);
    }
  }

  /// **Waits**, then takes everything that was reported; the first report, the others as its
  /// suppressed exceptions.
  ///
  /// @throws IllegalStateException if another library captures the (wrapped) stream; nothing has
  ///   changed then
  @Nullable ReportedByKernelException collect() {
    Completion first = outstanding;
    if (first != null) {
      first.await();
      outstanding = null;
    }
    Reports reports = new Reports();
    int status = Nvfp4jNative.contextSynchronize(context, record.segment(), error.segment());
    if (status == Nvfp4jConstants.ERROR_INVALID_STATE) {
      // Futures that still wait do so on: the poller comes back for them.
      throw Failures.of(state, null, status, error, "");
    }
    try {
      reports.add(state, status, error, record);
      for (Graph graph : launched) {
        graph.collect(stream, reports);
      }
    } catch (RuntimeException e) {
      // Nothing asks for the futures that still wait any more.
      Completion.complete(takeWaiting(), e);
      throw e;
    }
    launched.clear();
    synchronized (carried) {
      carried.forEach(reports::add);
      carried.clear();
    }
    // The work of futures that still wait is done too; this call throws what was found.
    Completion.complete(takeWaiting(), null);
    return reports.first();
  }

  /// A future for all work enqueued so far on a CUDA stream.
  CompletableFuture<Void> future() {
    CompletableFuture<Void> future = new CompletableFuture<>();
    waiting.add(future);
    if (outstanding == null || outstanding.isFinished()) {
      request();
    }
    return future;
  }

  /// The poller's visit after a completion has finished: asks again for the futures that came in
  /// between.
  ///
  /// @return false if the stream was in use: come again
  boolean tryContinue(Completion finished) {
    if (!stream.tryEnter()) {
      return stream.isClosed();
    }
    try {
      if (outstanding == finished) {
        outstanding = null;
      }
      if (outstanding == null && !waiting.isEmpty()) {
        request();
      }
      return true;
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
  }

  // Asks the device for a report behind everything enqueued so far, for all futures that wait.
  private void request() {
    List<CompletableFuture<Void>> futures = takeWaiting();
    List<Graph> graphs = new ArrayList<>();
    Completion completion;
    try {
      // First what can fail for want of memory.
      completion = new Completion(stream, context, marks.get(), futures, graphs);
    } catch (RuntimeException | Error e) {
      Completion.complete(futures, e);
      return;
    }
    outstanding = completion;
    // A graph knows the completion before its mark is recorded; whoever closes it then waits here.
    completion.enqueue(() -> {
      boolean requested = false;
      try {
        int status = Nvfp4jNative.contextRequestReport(context, error.segment());
        if (status != 0) {
          throw Failures.of(state, null, status, error, "");
        }
        requested = true;
        for (Graph graph : launched) {
          if (graph.requestReport(stream, completion)) {
            graphs.add(graph);
          }
        }
        completion.record(cudaStream);
        completion.submit();
      } catch (RuntimeException | Error e) {
        takeBack(requested, graphs);
        completion.fail(e);
        return;
      }
      launched.removeIf(graph -> graphs.contains(graph) || !graph.reportsTo(stream));
      synchronized (carried) {
        completion.carry(carried);
        carried.clear();
      }
    });
  }

  // Nobody will fetch these reports: what was found until then is the next synchronisation's, or
  // the next future's. Where this fails as well, the device does, and all its calls say so.
  private void takeBack(boolean requested, List<Graph> graphs) {
    for (Graph graph : graphs) {
      graph.cancelReport(stream);
    }
    if (requested) {
      Nvfp4jNative.contextCancelReport(context, MemorySegment.NULL);
    }
  }

  private List<CompletableFuture<Void>> takeWaiting() {
    List<CompletableFuture<Void>> futures = List.copyOf(waiting);
    waiting.clear();
    return futures;
  }
}
