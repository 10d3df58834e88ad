// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.nvfp4j.reference.QuantizeReference;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.ref.Cleaner;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// Memory, threads and the order in which things close.
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
    void memoryIsFreedBehindTheWorkThatUsesIt() {
      int rows = 4096;
      int columns = 4096;
      float[] values = new Values(1).finite(DType.F32, rows, columns);
      byte[] expected =
          QuantizeReference.dynamic(
                  values, rows, columns, GlobalScale.TENSOR, Recipe.EXACT, ZeroScale.MIN)
              .codes();
      Tensor host = host(DType.F32, values, rows, columns, columns);
      MemorySegment pinned = device.allocatePinned(arena, expected.length);
      Tensor codes = Tensor.of(arena, pinned, DType.U8, rows, columns / 2);
      for (int i = 0; i < 5; i++) {
        pinned.fill(POISON);
        try (Arena own = Arena.ofConfined()) {
          Tensor x = host.to(stream, own);
          Nvfp4Tensor q = device.allocateNvfp4(own, rows, columns);
          Quantize.dynamic(stream, x, q);
          q.codes().copyTo(stream, codes);
          // Closed while the kernel and the copy are under way.
        }
        // What could have been handed the same memory.
        try (Arena other = Arena.ofConfined()) {
          poison(device.allocate(other, DType.U8, 4L * rows * columns));
        }
        stream.synchronize();
        requireEqual("codes", expected, pinned.toArray(ValueLayout.JAVA_BYTE));
      }
    }

    @Test
    void aGraphKeepsTheMemoryOfClosedArenas() {
      Arena own = Arena.ofConfined();
      float[] values = new Values(2).finite(DType.F32, 8, 64);
      Tensor x = host(DType.F32, values, 8, 64, 64).to(stream, own);
      Nvfp4Tensor q = device.allocateNvfp4(own, 8, 64);
      Tensor y = device.allocate(arena, DType.F32, 8, 64);
      Quantize.dynamic(stream, x, q);
      Dequantize.run(stream, q, y);
      byte[] expected = bytes(y);
      DeviceState state = device.state();
      Graph graph =
          stream.capture(() -> {
            Quantize.dynamic(stream, x, q);
            Dequantize.run(stream, q, y);
          });
      own.close();
      assertThat(state.pendingCount()).isZero();
      // Would be handed the memory of x and q, had it been freed.
      for (int i = 0; i < 64; i++) {
        poison(device.allocate(arena, DType.U8, 4 * 8 * 64));
      }
      poison(y);
      graph.launch(stream);
      stream.synchronize();
      requireEqual("output", expected, bytes(y));
      graph.close();
      assertThat(state.pendingCount()).isZero();
    }

    @Test
    void memoryThatIsClosedInACaptureIsFreedAfterIt() {
      DeviceState state = device.state();
      Tensor y = device.allocate(arena, DType.F32, 4, 32);
      Nvfp4Tensor q = device.allocateNvfp4(arena, 4, 32);
      Quantize.dynamic(stream, upload(DType.F32, new float[4 * 32], 4, 32), q);
      int[] pending = new int[1];
      try (Graph graph =
          stream.capture(() -> {
            try (Arena own = Arena.ofConfined()) {
              device.allocate(own, DType.F32, 1024);
            }
            pending[0] = state.pendingCount();
            Dequantize.run(stream, q, y);
          })) {
        assertThat(pending[0]).isEqualTo(1);
        assertThat(state.pendingCount()).isZero();
        graph.launch(stream);
      }
    }

    @Test
    void theCollectorFreesDeviceMemoryOnAThreadOfOurs() throws Exception {
      DeviceState state = device.state();
      Device own = Device.of(id);
      allocateAndForget(own);
      long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
      while (true) {
        System.gc();
        Thread.sleep(20);
        try {
          own.close();
          break;
        } catch (IllegalStateException e) {
          assertThat(System.nanoTime()).as(e.getMessage()).isLessThan(end);
        }
      }
      while (state.pendingCount() > 0) {
        assertThat(System.nanoTime()).isLessThan(end);
        Thread.sleep(5);
      }
    }

    private static void allocateAndForget(Device own) {
      for (int i = 0; i < 10; i++) {
        own.allocate(Arena.ofAuto(), DType.F32, 1 << 16);
      }
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
    void pinnedMemoryIsRecognisedInSlices() {
      MemorySegment pinned = device.allocatePinned(arena, 4096);
      assertThat(Tensor.of(arena, pinned, DType.U8, 4096).allocation).isNotNull();
      assertThat(Tensor.of(arena, pinned.asSlice(1024, 512), DType.F32, 128).allocation)
          .isNotNull();
      assertThat(Tensor.of(arena, arena.allocate(64), DType.U8, 64).allocation).isNull();
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

    @Test
    void theJdksCleanerThreadIsRecognised() throws Exception {
      AtomicReference<Thread> thread = new AtomicReference<>();
      CountDownLatch done = new CountDownLatch(1);
      Cleaner cleaner = Cleaner.create();
      cleaner.register(
          new Object(),
          () -> {
            thread.set(Thread.currentThread());
            done.countDown();
          });
      while (!done.await(20, TimeUnit.MILLISECONDS)) {
        System.gc();
      }
      assertThat(Reaper.isCleanerThread(thread.get())).isTrue();
      assertThat(Reaper.isCleanerThread(Thread.currentThread())).isFalse();
    }

    @Test
    void theCollectorFreesTensorsOfAnAutomaticArena() throws Exception {
      Device own = Device.of(id);
      forget(own);
      long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
      while (true) {
        System.gc();
        Thread.sleep(10);
        try {
          own.close();
          return;
        } catch (IllegalStateException e) {
          assertThat(System.nanoTime()).as(e.getMessage()).isLessThan(end);
        }
      }
    }

    private static void forget(Device own) {
      own.allocateNvfp4(Arena.ofAuto(), 64, 64);
    }

    @Test
    void slicesAreViewsOfTheSameArena() {
      Tensor x = device.allocate(arena, DType.F32, 6, 8);
      Tensor rows = x.slice(arena, 2, 3);
      assertThat(rows.shape()).containsExactly(3, 8);
      assertThat(rows.address()).isEqualTo(x.address() + 2 * 8 * 4);
      Tensor part = x.slice(arena, 1, 2, 4);
      assertThat(part.shape()).containsExactly(6, 4);
      assertThat(part.stride()).containsExactly(8, 1);
      assertThat(part.address()).isEqualTo(x.address() + 8);
      assertThat(part.isContiguous()).isFalse();
      assertThat(part.slice(arena, 6, 0).elements()).isZero();
      assertThatThrownBy(() -> x.slice(arena, 5, 2)).isInstanceOf(IndexOutOfBoundsException.class);
      try (Arena other = Arena.ofConfined()) {
        assertThatThrownBy(() -> x.slice(other, 0, 1))
            .isExactlyInstanceOf(IllegalArgumentException.class)
            .hasMessageStartingWith("slice: segment belongs to another arena");
      }
    }

    @Test
    void copiesGoThereAndBack() {
      float[] values = new Values(4).finite(DType.F32, 33, 48);
      Tensor source = host(DType.F32, values, 33, 48, 56);
      Tensor there = source.to(stream, arena);
      assertThat(there.isContiguous()).isTrue();
      assertThat(there.isDevice()).isEqualTo(device.isCuda());
      requireEqual("there and back", values, floats(there));
      // Strided to strided, through page-locked memory.
      MemorySegment pinned = device.allocatePinned(arena, 33 * 60 * 4);
      pinned.fill(POISON);
      Tensor target = Tensor.of(arena, pinned, DType.F32, 33, 60).slice(arena, 1, 5, 48);
      there.copyTo(stream, target);
      stream.synchronize();
      requireEqual("pinned", values, floats(target));
      assertThat(pinned.get(ValueLayout.JAVA_BYTE, 0)).isEqualTo(POISON);
      Tensor again = device.allocate(arena, DType.F32, 33, 48);
      again.copyFrom(stream, target);
      stream.synchronize();
      requireEqual("again", values, floats(again));
      // A tensor of rank 3, and a scalar.
      Tensor cube = there.reshaped(arena, 3, 11, 48).to(stream, arena);
      assertThat(cube.shape()).containsExactly(3, 11, 48);
      requireEqual("cube", values, floats(cube));
      Tensor scalar = there.slice(arena, 0, 1).slice(arena, 1, 7, 1).reshaped(arena);
      assertThat(floats(scalar.to(stream, arena))).containsExactly(values[7]);
    }

    @Test
    void nvfp4TensorsAreCopiedWhole() {
      float[] values = new Values(5).finite(DType.F32, 40, 96);
      for (ScaleLayout layout : ScaleLayout.values()) {
        for (GlobalScale globalScale : GlobalScale.values()) {
          Nvfp4Tensor q = output(40, 96, layout, globalScale);
          Quantize.dynamic(stream, upload(DType.F32, values, 40, 96), q);
          Nvfp4Tensor host = q.toHost(stream, arena);
          Nvfp4Tensor there = host.to(stream, arena);
          Nvfp4Tensor target = output(40, 96, layout, globalScale);
          target.copyFrom(stream, there);
          stream.synchronize();
          requireEqual(
              QuantizeReference.dynamic(values, 40, 96, globalScale, Recipe.EXACT, ZeroScale.MIN),
              target);
          assertThat(target.rows()).isEqualTo(40);
          assertThat(target.columns()).isEqualTo(96);
        }
      }
    }
  }
}
