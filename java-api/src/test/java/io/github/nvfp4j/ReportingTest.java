// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.nvfp4j.bindings.CudaConstants;
import io.github.nvfp4j.bindings.NativeError;
import io.github.nvfp4j.bindings.StatusRecord;
import java.util.ArrayDeque;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
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
  private static final class FakeMark implements Completion.Mark {
    final CountDownLatch done = new CountDownLatch(1);
    final CountDownLatch waiting = new CountDownLatch(1);
    boolean fails;
    volatile boolean destroyed;

    @Override
    public void record(long cudaStream) {
      if (fails) {
        throw new Nvfp4Exception("whenDone: no mark", null, Status.CUDA, 1, "", null);
      }
    }

    @Override
    public int query() {
      return done.getCount() == 0 ? CudaConstants.SUCCESS : CudaConstants.ERROR_NOT_READY;
    }

    @Override
    public int await() {
      waiting.countDown();
      try {
        done.await();
      } catch (InterruptedException e) {
        throw new AssertionError(e);
      }
      return CudaConstants.SUCCESS;
    }

    @Override
    public void destroy() {
      destroyed = true;
    }
  }

  private FakeMark mark() {
    FakeMark mark = new FakeMark();
    marks.add(mark);
    return mark;
  }

  private Reporting reporting(Stream of) {
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
        });
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
}
