// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.nvfp4j.bindings.CudaConstants;
import io.github.nvfp4j.bindings.CudaRuntime;
import io.github.nvfp4j.bindings.NativeMemory;
import io.github.nvfp4j.reference.QuantizeReference;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// Threads, and the order in which things close.
@Timeout(120)
final class LifetimeTest {
  @Nested
  @Tag("cpu")
  final class Cpu extends Contract {
    Cpu() {
      super("cpu");
    }

    @Test
    void anArenaCannotCloseWhileAnOpRuns() throws Exception {
      // An attempt may fall between two calls; then the next round tries again.
      int refused = 0;
      for (int round = 0; round < 50 && refused == 0; round++) {
        refused = closeWhileOpsRun();
      }
      assertThat(refused).as("refusals by the JVM").isPositive();
    }

    private int closeWhileOpsRun() throws Exception {
      Arena own = Arena.ofShared();
      Tensor x = device.allocate(own, DType.F32, 2048, 2048);
      Nvfp4Tensor q = device.allocateNvfp4(own, 2048, 2048);
      CountDownLatch begun = new CountDownLatch(1);
      FutureTask<Boolean> worker =
          new FutureTask<>(() -> {
            try {
              while (true) {
                Quantize.dynamic(stream, x, q);
                begun.countDown();
              }
            } catch (IllegalStateException e) {
              // Either before the call (our sentence) or on entry (the JVM's).
              return !own.scope().isAlive();
            }
          });
      Thread.ofPlatform().start(worker);
      begun.await();
      Thread.sleep(1);
      int refused = 0;
      while (own.scope().isAlive()) {
        try {
          own.close();
        } catch (IllegalStateException e) {
          assertThat(e).hasMessageContaining("acquired");
          refused++;
          Thread.onSpinWait();
        }
      }
      assertThat(worker.get(60, TimeUnit.SECONDS)).isTrue();
      return refused;
    }

    @Test
    void aGraphIsNotReplayedOnClosedMemory() {
      Arena own = Arena.ofConfined();
      Tensor x = device.allocate(own, DType.F32, 4, 32);
      Nvfp4Tensor q = device.allocateNvfp4(own, 4, 32);
      try (Graph graph = stream.capture(() -> Quantize.dynamic(stream, x, q))) {
        graph.launch(stream);
        own.close();
        assertThatThrownBy(() -> graph.launch(stream))
            .isExactlyInstanceOf(IllegalStateException.class)
            .hasMessage("quantize: input is closed, expected a tensor of an open arena");
      }
    }
  }

  @Nested
  @Gpu
  final class Cuda extends Contract {
    Cuda() {
      super("cuda:0");
    }

    @Test
    void aForeignStreamIsLeftAlone() {
      try (Stream mine = device.openStream()) {
        // Somebody else's stream, as far as the wrapper knows.
        Stream wrapped = Stream.wrapUnsafe(device, mine.cudaStream());
        float[] values = new Values(3).finite(DType.BF16, 16, 64);
        Tensor x = upload(DType.BF16, values, 16, 64);
        Nvfp4Tensor q = output(16, 64, ScaleLayout.LINEAR, GlobalScale.ROW);
        stream.synchronize();
        Quantize.dynamic(wrapped, x, q);
        try (Graph graph = wrapped.capture(() -> Quantize.dynamic(wrapped, x, q))) {
          graph.launch(wrapped);
          graph.launch(wrapped);
        }
        wrapped.synchronize();
        wrapped.close();
        requireEqual(
            QuantizeReference.dynamic(values, 16, 64, GlobalScale.ROW, Recipe.EXACT, ZeroScale.MIN),
            q);
        Quantize.dynamic(mine, x, q);
        mine.synchronize();
      }
    }

    @Test
    void aForeignStreamThatIsBeingCapturedIsNotClosed() throws Exception {
      Tensor nan = upload(DType.F32, nanRow(), 1, 32);
      Nvfp4Tensor q = device.allocateNvfp4(arena, 1, 32);
      stream.synchronize();
      try (Stream mine = device.openStream()) {
        long handle = mine.cudaStream();
        Stream wrapped = Stream.wrapUnsafe(device, handle);
        Quantize.dynamic(wrapped, nan, q);
        // Another library captures its stream.
        MemorySegment graph = arena.allocate(ValueLayout.ADDRESS);
        assertThat(
                CudaRuntime.streamBeginCapture(
                    handle, CudaConstants.STREAM_CAPTURE_MODE_THREAD_LOCAL))
            .isZero();
        try {
          assertThatThrownBy(wrapped::close)
              .isExactlyInstanceOf(IllegalStateException.class)
              .hasMessageStartingWith("close: " + wrapped + ": ")
              .hasMessageContaining("is being captured, expected no capture");
          assertThatThrownBy(wrapped::synchronize)
              .isExactlyInstanceOf(IllegalStateException.class)
              .hasMessageContaining("is being captured, expected no capture");
          assertThatThrownBy(() -> wrapped.whenDone().get(60, TimeUnit.SECONDS))
              .hasMessageContaining("is being captured, expected no capture");
        } finally {
          assertThat(CudaRuntime.streamEndCapture(handle, graph)).isZero();
          CudaRuntime.graphDestroy(NativeMemory.readPointer(graph));
        }
        // Nothing was lost: neither the stream, nor what its kernels found.
        assertThatThrownBy(wrapped::close).isExactlyInstanceOf(ReportedByKernelException.class);
        wrapped.close();
      }
    }

    private static float[] nanRow() {
      float[] values = new float[32];
      values[3] = Float.NaN;
      return values;
    }
  }

  abstract static class Contract extends OnDevice {
    Contract(String id) {
      super(id);
    }

    @Test
    void aClosedArenaIsNamed() {
      Arena own = Arena.ofConfined();
      Tensor x = device.allocate(own, DType.F32, 4, 32);
      Nvfp4Tensor q = device.allocateNvfp4(arena, 4, 32);
      own.close();
      assertThatThrownBy(() -> Quantize.dynamic(stream, x, q))
          .isExactlyInstanceOf(IllegalStateException.class)
          .hasMessage("quantize: input is closed, expected a tensor of an open arena");
      assertThatThrownBy(() -> device.allocate(own, DType.F32, 4))
          .isExactlyInstanceOf(IllegalStateException.class)
          .hasMessage("allocate: arena is closed, expected an open one");
    }

    @Test
    void aTensorOfAConfinedArenaBelongsToItsThread() throws Exception {
      try (Arena own = Arena.ofConfined()) {
        Tensor x = device.allocate(own, DType.F32, 4, 32);
        Nvfp4Tensor q = device.allocateNvfp4(arena, 4, 32);
        AtomicReference<Throwable> thrown = new AtomicReference<>();
        Thread worker =
            Thread.ofPlatform()
                .name("worker-7")
                .start(() -> {
                  try (Stream mine = device.openStream()) {
                    Quantize.dynamic(mine, x, q);
                  } catch (Throwable e) {
                    thrown.set(e);
                  }
                });
        worker.join();
        assertThat(thrown.get())
            .isExactlyInstanceOf(WrongThreadException.class)
            .hasMessage(
                "quantize: input belongs to a confined arena of thread "
                    + Thread.currentThread().getName()
                    + ", expected use by that thread (this is worker-7); tensors of"
                    + " Arena.ofShared() can be used by all");
      }
    }

    @Test
    void aStreamIsUsedByOneThreadAtATime() throws Exception {
      // A capture holds the stream for its whole body.
      AtomicReference<Throwable> thrown = new AtomicReference<>();
      String me = Thread.currentThread().getName();
      try (Graph graph =
          stream.capture(() -> {
            Thread other =
                Thread.ofPlatform()
                    .start(() -> {
                      try {
                        stream.synchronize();
                      } catch (Throwable e) {
                        thrown.set(e);
                      }
                    });
            try {
              other.join();
            } catch (InterruptedException e) {
              throw new AssertionError(e);
            }
          })) {
        assertThat(thrown.get())
            .isExactlyInstanceOf(IllegalStateException.class)
            .hasMessage(
                "synchronize: "
                    + stream
                    + " is in use by thread "
                    + me
                    + ", expected one thread at a time: give each thread a stream of its own");
        graph.launch(stream);
      }
      // It may move to another thread, though.
      FutureTask<Boolean> moved =
          new FutureTask<>(() -> {
            stream.synchronize();
            return true;
          });
      Thread.ofPlatform().start(moved);
      assertThat(moved.get()).isTrue();
    }

    @Test
    void nothingIsUsedAfterClose() {
      Tensor x = device.allocate(arena, DType.F32, 4, 32);
      Nvfp4Tensor q = device.allocateNvfp4(arena, 4, 32);
      Stream closed = device.openStream();
      Graph graph = closed.capture(() -> Quantize.dynamic(closed, x, q));
      Event event = Event.create(device);
      event.record(closed);
      closed.close();
      closed.close();
      assertThatThrownBy(() -> Quantize.dynamic(closed, x, q))
          .isExactlyInstanceOf(IllegalStateException.class)
          .hasMessage("quantize: stream is closed, expected an open one");
      assertThatThrownBy(closed::synchronize)
          .hasMessage("synchronize: stream is closed, expected an open one");
      assertThatThrownBy(closed::whenDone)
          .hasMessage("whenDone: stream is closed, expected an open one");
      assertThatThrownBy(closed::cudaStream)
          .hasMessage("cudaStream: stream is closed, expected an open one");
      assertThatThrownBy(() -> closed.capture(() -> {}))
          .hasMessage("capture: stream is closed, expected an open one");
      graph.launch(stream);
      graph.close();
      graph.close();
      assertThatThrownBy(() -> graph.launch(stream))
          .isExactlyInstanceOf(IllegalStateException.class)
          .hasMessage("launch: graph is closed, expected an open one");
      event.close();
      event.close();
      assertThatThrownBy(event::isDone)
          .isExactlyInstanceOf(IllegalStateException.class)
          .hasMessage("event: event is closed, expected an open one");
      stream.synchronize();
      Device other = Device.of(id);
      other.close();
      other.close();
      assertThatThrownBy(other::openStream)
          .isExactlyInstanceOf(IllegalStateException.class)
          .hasMessage("openStream: device " + id + " is closed, expected an open one");
      assertThatThrownBy(() -> other.allocate(arena, DType.F32, 4))
          .hasMessage("allocate: device " + id + " is closed, expected an open one");
    }

    @Test
    void aDeviceSaysWhatIsStillOpen() {
      Device own = Device.of(id);
      Arena first = Arena.ofConfined();
      own.allocate(first, DType.F32, 256);
      own.allocateNvfp4(first, 16, 64);
      assertThatThrownBy(own::close)
          .isExactlyInstanceOf(IllegalStateException.class)
          .hasMessageStartingWith("close: device " + id + " has 2 tensors open (")
          .hasMessageContaining("bytes), expected none");
      Stream stream1 = own.openStream();
      Event event = Event.create(own);
      first.close();
      assertThatThrownBy(own::close)
          .hasMessage(
              "close: device "
                  + id
                  + " has 1 stream, 1 event open, expected none: close streams, graphs and events,"
                  + " and the arenas of tensors, first");
      Graph graph = stream1.capture(() -> {});
      stream1.close();
      event.close();
      assertThatThrownBy(own::close).hasMessageContaining("has 1 graph open");
      graph.close();
      own.close();
    }

    @Test
    void aFailedDeviceRefusesEverything() {
      // A CPU device of its own can be made to fail without harm to other tests; a CUDA device's
      // failure is the process's.
      try (Device own = Device.cpu(1)) {
        Stream failing = own.openStream();
        Tensor x = own.allocate(arena, DType.F32, 4, 32);
        Nvfp4Tensor q = own.allocateNvfp4(arena, 4, 32);
        own.state().fail("quantize: cudaErrorIllegalAddress (700)");
        String sentence =
            ": device cpu has failed earlier (quantize: cudaErrorIllegalAddress (700)), expected a"
                + " working one: restart the process";
        assertThatThrownBy(() -> Quantize.dynamic(failing, x, q))
            .isExactlyInstanceOf(DeviceFailedException.class)
            .hasMessage("quantize" + sentence);
        assertThatThrownBy(failing::synchronize)
            .isExactlyInstanceOf(DeviceFailedException.class)
            .hasMessage("synchronize" + sentence);
        assertThatThrownBy(own::openStream).isExactlyInstanceOf(DeviceFailedException.class);
        assertThatThrownBy(() -> own.allocate(arena, DType.F32, 4))
            .isExactlyInstanceOf(DeviceFailedException.class);
        assertThatThrownBy(own::warmUp).isExactlyInstanceOf(DeviceFailedException.class);
        failing.close();
        arena.close();
        arena = Arena.ofShared();
      }
    }
  }
}
