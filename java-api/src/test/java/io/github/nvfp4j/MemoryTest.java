// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.reference.QuantizeReference;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.ref.Cleaner;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// When memory is freed: behind the work that uses it, and by whom.
@Timeout(120)
final class MemoryTest {
  @Nested
  @Tag("cpu")
  final class Cpu extends Contract {
    Cpu() {
      super("cpu");
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
  }

  abstract static class Contract extends OnDevice {
    Contract(String id) {
      super(id);
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
  }
}
