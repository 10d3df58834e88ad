// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.reference.Nvfp4Matrix;
import io.github.nvfp4j.reference.QuantizeReference;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// Many threads, streams, arenas, graphs and futures at once; every result is checked.
@Timeout(300)
final class HammerTest {
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
  }

  abstract static class Contract {
    private static final int THREADS = 8;
    private static final int ROUNDS = 60;
    private static final int ROWS = 21;
    private static final int COLUMNS = 160;

    private final String id;

    Contract(String id) {
      this.id = id;
    }

    @Test
    void threadsWithStreamsOfTheirOwn() throws Exception {
      try (Device device = Device.of(id)) {
        run(THREADS, thread -> work(device, new Values(thread)));
      }
    }

    @Test
    void virtualThreadsWithStreamsOfTheirOwn() throws Exception {
      try (Device device = Device.of(id);
          ExecutorService executor = Executors.newVirtualThreadPerTaskExecutor()) {
        List<Future<?>> tasks = new ArrayList<>();
        for (int i = 0; i < THREADS; i++) {
          Values values = new Values(100 + i);
          tasks.add(
              executor.submit(() -> {
                work(device, values);
                return null;
              }));
        }
        for (Future<?> task : tasks) {
          task.get(200, TimeUnit.SECONDS);
        }
      }
    }

    @Test
    void threadsThatFightForOneStream() throws Exception {
      AtomicLong done = new AtomicLong();
      AtomicLong refused = new AtomicLong();
      try (Device device = Device.of(id);
          Stream stream = device.openStream();
          Arena arena = Arena.ofShared()) {
        Tensor x = device.allocate(arena, DType.F32, 64, 1024);
        Nvfp4Tensor q = device.allocateNvfp4(arena, 64, 1024);
        zero(stream, arena, x);
        run(
            THREADS,
            thread -> {
              for (int i = 0; i < 2000; i++) {
                try {
                  if (i % 50 == 0) {
                    stream.synchronize();
                  } else {
                    Quantize.dynamic(stream, x, q);
                  }
                  done.incrementAndGet();
                } catch (IllegalStateException e) {
                  assertThat(e).hasMessageContaining("is in use by thread");
                  refused.incrementAndGet();
                }
              }
            });
        stream.synchronize();
      }
      assertThat(done.get() + refused.get()).isEqualTo(THREADS * 2000L);
      assertThat(done.get()).isPositive();
      assertThat(refused.get()).isPositive();
    }

    private static void zero(Stream stream, Arena arena, Tensor x) {
      Tensor.of(arena, arena.allocate(x.byteSize(), 64), x.dtype(), x.shape()).copyTo(stream, x);
    }

    private interface Task {
      void run(int thread) throws Exception;
    }

    private static void run(int threads, Task task) throws Exception {
      try (ExecutorService executor = Executors.newFixedThreadPool(threads)) {
        List<Future<?>> tasks = new ArrayList<>();
        for (int i = 0; i < threads; i++) {
          int thread = i;
          tasks.add(
              executor.submit(() -> {
                task.run(thread);
                return null;
              }));
        }
        for (Future<?> each : tasks) {
          each.get(200, TimeUnit.SECONDS);
        }
      }
    }

    private void work(Device device, Values values) throws Exception {
      Random random = values.random();
      for (int round = 0; round < ROUNDS; round++) {
        float[] x = values.finite(DType.F32, ROWS, COLUMNS);
        boolean bad = random.nextInt(4) == 0;
        if (bad) {
          x[random.nextInt(x.length)] = Float.NaN;
        }
        GlobalScale globalScale = OnDevice.GLOBAL_SCALES.get(random.nextInt(2));
        try (Stream stream = device.openStream();
            Arena arena = random.nextBoolean() ? Arena.ofConfined() : Arena.ofShared()) {
          MemorySegment memory = arena.allocateFrom(ValueLayout.JAVA_FLOAT, x);
          Tensor input = Tensor.of(arena, memory, DType.F32, ROWS, COLUMNS).to(stream, arena);
          Nvfp4Tensor q =
              device.allocateNvfp4(arena, ROWS, COLUMNS, ScaleLayout.LINEAR, globalScale);
          // A virtual thread cannot capture.
          if (random.nextBoolean() && !Thread.currentThread().isVirtual()) {
            try (Graph graph = stream.capture(() -> Quantize.dynamic(stream, input, q))) {
              graph.launch(stream);
              graph.launch(stream);
            }
          } else {
            Quantize.dynamic(stream, input, q);
          }
          boolean reported = false;
          try {
            if (random.nextBoolean()) {
              stream.synchronize();
            } else {
              stream.whenDone().join();
            }
          } catch (ReportedByKernelException e) {
            reported = true;
          } catch (CompletionException e) {
            assertThat(e).hasCauseInstanceOf(ReportedByKernelException.class);
            reported = true;
          }
          assertThat(reported).isEqualTo(bad);
          Nvfp4Matrix expected =
              QuantizeReference.dynamic(x, ROWS, COLUMNS, globalScale, Recipe.EXACT, ZeroScale.MIN);
          Nvfp4Tensor host = q.toHost(stream, arena);
          OnDevice.requireEqual(
              "codes", expected.codes(), host.codes().segment().toArray(ValueLayout.JAVA_BYTE));
          OnDevice.requireEqual(
              "scales", expected.scales(), host.scales().segment().toArray(ValueLayout.JAVA_BYTE));
          OnDevice.requireEqual(
              "global scale",
              expected.globalScales(),
              host.globalScales().segment().toArray(ValueLayout.JAVA_FLOAT));
        }
      }
    }
  }
}
