// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.nvfp4j.bindings.CudaConstants;
import io.github.nvfp4j.bindings.NativeError;
import io.github.nvfp4j.bindings.Nvfp4jConstants;
import io.github.nvfp4j.bindings.StatusRecord;
import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// How futures report where something fails or waits: on the CPU device, with marks that do what
/// they are told in the place of CUDA events.
@Tag("cpu")
@Timeout(60)
final class ReportingTest extends OnDevice {
  private final ArrayDeque<FakeMark> marks = new ArrayDeque<>();

  ReportingTest() {
    super("cpu");
  }

  /// Done when the test says so.
  private static class FakeMark implements Completion.Mark {
    final CountDownLatch done = new CountDownLatch(1);
    final CountDownLatch waiting = new CountDownLatch(1);
    boolean fails;
    volatile int outcome = CudaConstants.SUCCESS;
    volatile boolean destroyed;

    @Override
    public void record(long cudaStream) {
      if (fails) {
        throw new Nvfp4Exception("whenDone: no mark", null, Status.CUDA, 1, "", null);
      }
    }

    @Override
    public int query() {
      return done.getCount() == 0 ? outcome : CudaConstants.ERROR_NOT_READY;
    }

    @Override
    public int await() {
      waiting.countDown();
      try {
        done.await();
      } catch (InterruptedException e) {
        throw new AssertionError(e);
      }
      return outcome;
    }

    @Override
    public void destroy() {
      destroyed = true;
    }
  }

  /// Copies that take as long as the test says.
  private static final class SlowCopies implements Reporting.Calls {
    final CountDownLatch copied = new CountDownLatch(1);
    final CountDownLatch asked = new CountDownLatch(1);
    volatile boolean cancelled;

    @Override
    public int synchronize(MemorySegment context, MemorySegment record, MemorySegment error) {
      return Reporting.NATIVE_CALLS.synchronize(context, record, error);
    }

    @Override
    public int request(MemorySegment context, MemorySegment error) {
      return Reporting.NATIVE_CALLS.request(context, error);
    }

    @Override
    public int report(MemorySegment context, MemorySegment record, MemorySegment error) {
      asked.countDown();
      return copied.getCount() == 0
          ? Reporting.NATIVE_CALLS.report(context, record, error)
          : Nvfp4jConstants.ERROR_INVALID_STATE;
    }

    @Override
    public int cancel(MemorySegment context) {
      cancelled = true;
      try {
        copied.await();
      } catch (InterruptedException e) {
        throw new AssertionError(e);
      }
      return Reporting.NATIVE_CALLS.cancel(context);
    }
  }

  /// A graph that cannot be asked once.
  private static final class UnwillingGraph implements Reporting.Launched {
    private @Nullable RuntimeException refusal;

    UnwillingGraph(RuntimeException refusal) {
      this.refusal = refusal;
    }

    @Override
    public void collect(Stream stream, Reports reports) {
      RuntimeException thrown = refusal;
      refusal = null;
      if (thrown != null) {
        throw thrown;
      }
    }

    @Override
    public boolean requestReport(Stream stream, Completion completion) {
      return false;
    }

    @Override
    public void withdraw(Stream stream) {}

    @Override
    public void takeBack() {}

    @Override
    public boolean tryTakeBack() {
      return true;
    }

    @Override
    public boolean reportsTo(Stream stream) {
      return true;
    }

    @Override
    public MemorySegment context() {
      return MemorySegment.NULL;
    }
  }

  private FakeMark mark() {
    FakeMark mark = new FakeMark();
    marks.add(mark);
    return mark;
  }

  private Reporting reporting(Stream of) {
    return reporting(of, Reporting.NATIVE_CALLS);
  }

  private Reporting reporting(Stream of, Reporting.Calls calls) {
    return new Reporting(
        of,
        of.context(),
        0,
        new NativeError(arena),
        new StatusRecord(arena),
        () -> {
          FakeMark mark = marks.poll();
          if (mark == null) {
            throw new OutOfDeviceMemoryException("whenDone: no room", null, 2, "", null);
          }
          return mark;
        },
        calls);
  }

  private void findANan() {
    float[] values = new float[4 * 32];
    values[33] = Float.NaN;
    Quantize.dynamic(stream, upload(DType.F32, values, 4, 32), device.allocateNvfp4(arena, 4, 32));
  }

  private CompletableFuture<Void> future(Reporting reporting) {
    stream.enter("test");
    try {
      return reporting.future();
    } finally {
      stream.exit();
    }
  }

  private @Nullable ReportedByKernelException collect(Reporting reporting) {
    stream.enter("test");
    try {
      return reporting.collect();
    } finally {
      stream.exit();
    }
  }

  private static void requireReport(CompletableFuture<Void> future) {
    assertThatThrownBy(() -> future.get(30, TimeUnit.SECONDS))
        .isInstanceOf(ExecutionException.class)
        .cause()
        .isExactlyInstanceOf(ReportedByKernelException.class)
        .hasMessageContaining("row 1, column 1");
  }

  @Test
  void aFutureThatFailsAfterItsReportWasRequestedLosesNothing() throws Exception {
    Reporting reporting = reporting(stream);
    findANan();
    FakeMark broken = mark();
    broken.fails = true;
    CompletableFuture<Void> failed = future(reporting);
    assertThatThrownBy(() -> failed.get(30, TimeUnit.SECONDS)).hasMessageContaining("no mark");
    assertThat(broken.destroyed).isTrue();
    // No request is outstanding, and the fault is the next future's.
    mark().done.countDown();
    requireReport(future(reporting));
    mark().done.countDown();
    future(reporting).get(30, TimeUnit.SECONDS);

    // Or the next synchronisation's.
    findANan();
    mark().fails = true;
    assertThatThrownBy(() -> future(reporting).get(30, TimeUnit.SECONDS))
        .hasMessageContaining("no mark");
    assertThatThrownBy(stream::synchronize)
        .isExactlyInstanceOf(ReportedByKernelException.class)
        .hasMessageContaining("row 1, column 1");
    stream.synchronize();
  }

  @Test
  void aFutureWhoseEndFailsLosesNothing() throws Exception {
    Reporting reporting = reporting(stream);
    findANan();
    FakeMark broken = mark();
    broken.outcome = 1; // cudaErrorInvalidValue
    broken.done.countDown();
    CompletableFuture<Void> failed = future(reporting);
    // (What it says needs the CUDA runtime.)
    assertThatThrownBy(() -> failed.get(30, TimeUnit.SECONDS))
        .isInstanceOf(ExecutionException.class);
    // The request that nobody fetched is taken back, and the fault is the next future's.
    mark().done.countDown();
    requireReport(future(reporting));

    // Or the next synchronisation's.
    findANan();
    FakeMark other = mark();
    other.outcome = 1;
    other.done.countDown();
    CompletableFuture<Void> second = future(reporting);
    assertThatThrownBy(() -> second.get(30, TimeUnit.SECONDS))
        .isInstanceOf(ExecutionException.class);
    assertThat(collect(reporting)).isNotNull().hasMessageContaining("row 1, column 1");
    mark().done.countDown();
    future(reporting).get(30, TimeUnit.SECONDS);
  }

  @Test
  void aFutureWithoutRoomForItsMarkRequestsNothing() throws Exception {
    Reporting reporting = reporting(stream);
    findANan();
    assertThatThrownBy(() -> future(reporting).get(30, TimeUnit.SECONDS))
        .cause()
        .isExactlyInstanceOf(OutOfDeviceMemoryException.class);
    mark().done.countDown();
    requireReport(future(reporting));
  }

  @Test
  void whatGraphsReportedEarlierIsKeptByAFailure() {
    Reporting reporting = reporting(stream);
    findANan();
    ReportedByKernelException earlier = null;
    try {
      stream.synchronize();
    } catch (ReportedByKernelException e) {
      earlier = e;
    }
    assertThat(earlier).isNotNull();
    reporting.carry(earlier);
    mark().fails = true;
    assertThatThrownBy(() -> future(reporting).get(30, TimeUnit.SECONDS))
        .hasMessageContaining("no mark");
    mark().done.countDown();
    requireReport(future(reporting));
  }

  @Test
  void aThreadThatWaitsDoesNotHoldUpOtherStreams() throws Exception {
    Reporting slow = reporting(stream);
    try (Stream second = device.openStream()) {
      FakeMark late = mark();
      CompletableFuture<Void> first = future(slow);
      Thread waiter =
          Thread.ofPlatform()
              .start(() -> {
                stream.enter("test");
                try {
                  slow.collect();
                } finally {
                  stream.exit();
                }
              });
      late.waiting.await();
      // The poller passes the one that is waited for by.
      Reporting quick = reporting(second);
      mark().done.countDown();
      second.enter("test");
      CompletableFuture<Void> other = quick.future();
      second.exit();
      other.get(30, TimeUnit.SECONDS);
      assertThat(first).isNotDone();
      late.done.countDown();
      first.get(30, TimeUnit.SECONDS);
      waiter.join();
    }
  }

  @Test
  void aCaptureThatBeginsBetweenTwoQuestionsChangesNothing() throws Exception {
    Reporting reporting = reporting(stream);
    FakeMark first = mark();
    CompletableFuture<Void> done = future(reporting);
    findANan();
    CompletableFuture<Void> waits = future(reporting);
    reporting.addLaunched(new UnwillingGraph(new IllegalStateException("being captured")));
    mark().done.countDown();
    stream.enter("test");
    try {
      // The stream is asked first, and has something to say.
      first.done.countDown();
      assertThatThrownBy(reporting::collect).hasMessage("being captured");
      assertThat(waits).isNotDone();
    } finally {
      stream.exit();
    }
    done.get(30, TimeUnit.SECONDS);
    requireReport(waits);
    assertThat(collect(reporting)).isNull();
  }

  @Test
  void aSynchronisationThatFailsHalfwayLosesNothing() throws Exception {
    Reporting reporting = reporting(stream);
    Nvfp4Exception refusal = new Nvfp4Exception("of paper", null, Status.CUDA, 1, "", null);
    findANan();
    reporting.addLaunched(new UnwillingGraph(refusal));
    assertThatThrownBy(() -> collect(reporting)).isSameAs(refusal);
    assertThat(collect(reporting)).hasMessageContaining("row 1, column 1");
    assertThat(collect(reporting)).isNull();

    // At close there is no next call.
    findANan();
    reporting.addLaunched(new UnwillingGraph(refusal));
    assertThatThrownBy(() -> collect(reporting)).isSameAs(refusal);
    reporting.abandon(refusal);
    assertThat(refusal.getSuppressed())
        .hasSize(1)
        .allSatisfy(found -> assertThat(found).hasMessageContaining("row 1, column 1"));
  }

  @Test
  void thePollerDoesNotWaitForWhatItTakesBack() throws Exception {
    SlowCopies copies = new SlowCopies();
    Reporting reporting = reporting(stream, copies);
    CompletableFuture<Void> failed = failOnThePoller(reporting);
    CompletableFuture<Void> next;
    try {
      assertThatThrownBy(() -> failed.get(30, TimeUnit.SECONDS)).hasMessageContaining("no mark");
      assertThat(copies.asked.await(30, TimeUnit.SECONDS)).isTrue();
      // Other streams have their futures, and this one's user is not in anybody's way.
      try (Stream second = device.openStream()) {
        mark().done.countDown();
        second.enter("test");
        CompletableFuture<Void> other = reporting(second).future();
        second.exit();
        other.get(30, TimeUnit.SECONDS);
      }
      mark().done.countDown();
      next = future(reporting);
      assertThat(next).isNotDone();
    } finally {
      copies.copied.countDown();
    }
    requireReport(next);
    assertThat(copies.cancelled).isFalse();
    assertThat(collect(reporting)).isNull();
  }

  @Test
  void whoeverWaitsTakesBackWhatThePollerCouldNot() throws Exception {
    SlowCopies copies = new SlowCopies();
    Reporting reporting = reporting(stream, copies);
    CompletableFuture<Void> failed = failOnThePoller(reporting);
    assertThatThrownBy(() -> failed.get(30, TimeUnit.SECONDS)).hasMessageContaining("no mark");
    stream.enter("test");
    try {
      copies.copied.countDown();
      assertThat(reporting.collect()).hasMessageContaining("row 1, column 1");
      assertThat(reporting.collect()).isNull();
    } finally {
      stream.exit();
    }
    mark().done.countDown();
    future(reporting).get(30, TimeUnit.SECONDS);
  }

  /// A future for work with a fault, whose request was made by the poller and has no mark.
  private CompletableFuture<Void> failOnThePoller(Reporting reporting) throws Exception {
    FakeMark first = mark();
    CompletableFuture<Void> before = future(reporting);
    findANan();
    mark().fails = true;
    CompletableFuture<Void> failed = future(reporting);
    first.done.countDown();
    before.get(30, TimeUnit.SECONDS);
    return failed;
  }

  @Test
  void aThreadThatFindsThePollerInsideDoesNotSpinForLong() throws Exception {
    CountDownLatch inside = new CountDownLatch(1);
    CountDownLatch leave = new CountDownLatch(1);
    FakeMark first = mark();
    FakeMark slow =
        new FakeMark() {
          @Override
          public void record(long cudaStream) {
            inside.countDown();
            try {
              leave.await();
            } catch (InterruptedException e) {
              throw new AssertionError(e);
            }
          }
        };
    marks.add(slow);
    Reporting reporting = reporting(stream);
    future(reporting);
    CompletableFuture<Void> second = future(reporting);
    first.done.countDown();
    inside.await(); // The poller is, and has the stream.
    Thread user =
        Thread.ofPlatform()
            .start(() -> {
              stream.enter("test");
              stream.exit();
            });
    try {
      long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
      while (user.getState() != Thread.State.TIMED_WAITING) {
        assertThat(user.isAlive()).isTrue();
        assertThat(System.nanoTime()).as("still spins").isLessThan(end);
        Thread.onSpinWait();
      }
    } finally {
      leave.countDown();
    }
    user.join();
    slow.done.countDown();
    second.get(30, TimeUnit.SECONDS);
  }
}
