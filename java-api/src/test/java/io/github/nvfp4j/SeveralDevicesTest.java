// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.bindings.NativeMemory;
import io.github.nvfp4j.bindings.Nvfp4jNative;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.concurrent.Callable;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// More than one GPU: which one a thread is on, and memory that two of them use.
@Timeout(120)
final class SeveralDevicesTest {
  /// What must be current to this thread after a visit to a device: 0 for no context.
  private static long contextBesides(int ordinal) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment former = arena.allocate(ValueLayout.ADDRESS);
      assertThat(Nvfp4jNative.deviceEnter(ordinal, former, MemorySegment.NULL)).isZero();
      long context = NativeMemory.readPointer(former);
      MemorySegment handle = MemorySegment.ofAddress(context);
      assertThat(Nvfp4jNative.deviceLeave(ordinal, handle, MemorySegment.NULL)).isZero();
      return context;
    }
  }

  private static <T> T onAThreadOfItsOwn(Callable<T> work) throws Exception {
    FutureTask<T> task = new FutureTask<>(work);
    Thread.ofPlatform().start(task);
    return task.get(100, TimeUnit.SECONDS);
  }

  /// Everything that makes a call of the CUDA runtime.
  private static void useEverything(int ordinal) {
    try (Device device = Device.cuda(ordinal);
        Stream stream = device.openStream();
        Stream second = device.openStream();
        Event begin = Event.create(device);
        Event end = Event.create(device);
        Arena arena = Arena.ofShared()) {
      device.warmUp();
      MemorySegment pinned = device.allocatePinned(arena, 4 * 32 * 4L).fill((byte) 0);
      Tensor host = Tensor.of(arena, pinned, DType.F32, 4, 32);
      Tensor x = host.to(stream, arena);
      Nvfp4Tensor q = device.allocateNvfp4(arena, 4, 32);
      begin.record(stream);
      Quantize.dynamic(stream, x, q);
      end.record(stream);
      end.synchronize();
      assertThat(end.isDone()).isTrue();
      assertThat(end.elapsedMillis(begin)).isNotNegative();
      stream.whenDone().join();
      try (Graph graph = stream.capture(() -> Quantize.dynamic(stream, x, q))) {
        graph.launch(stream);
        stream.whenDone().join();
        graph.launch(second);
        second.synchronize();
      }
      try {
        stream.capture(() -> {
          throw new IllegalStateException("no graph");
        });
      } catch (IllegalStateException e) {
        assertThat(e).hasMessage("no graph");
      }
      try (Stream wrapped = Stream.wrapUnsafe(device, second.cudaStream())) {
        wrapped.synchronize();
      }
    }
  }

  @Test
  @Gpu
  void aThreadOfTheFirstGpuStaysThere() throws Exception {
    long[] contexts =
        onAThreadOfItsOwn(() -> {
          useEverything(0);
          long first = contextBesides(0);
          useEverything(0);
          return new long[] {first, contextBesides(0)};
        });
    assertThat(contexts[0]).isNotZero();
    assertThat(contexts[1]).isEqualTo(contexts[0]);
  }

  @Test
  @Gpu(devices = 2)
  void aThreadThatChoseNoGpuIsOnNoneAfterwards() throws Exception {
    // A call that had been made outside would have chosen cuda:0, and stayed there.
    long context =
        onAThreadOfItsOwn(() -> {
          useEverything(1);
          return contextBesides(1);
        });
    assertThat(context).isZero();
  }

  @Test
  @Gpu(devices = 2)
  void aThreadKeepsTheGpuThatItChose() throws Exception {
    long[] contexts =
        onAThreadOfItsOwn(() -> {
          useEverything(0);
          long chosen = contextBesides(1);
          useEverything(1);
          return new long[] {chosen, contextBesides(1)};
        });
    assertThat(contexts[0]).isNotZero();
    assertThat(contexts[1]).isEqualTo(contexts[0]);
  }

  @Test
  @Gpu
  void pinnedMemoryServesTheCpuDevice() {
    try (Device gpu = Device.cuda(0);
        Device cpu = Device.cpu(1);
        Stream stream = cpu.openStream()) {
      try (Arena arena = Arena.ofConfined()) {
        MemorySegment pinned = gpu.allocatePinned(arena, 64).fill((byte) 7);
        Tensor copy = Tensor.of(arena, pinned, DType.U8, 64).to(stream, arena);
        assertThat(copy.segment().mismatch(pinned)).isEqualTo(-1);
      }
      assertThat(gpu.state().pendingCount()).isZero();
    }
  }

  @Test
  @Gpu(devices = 2)
  void pinnedMemoryOfOneGpuServesAnother() {
    int bytes = 256 << 20;
    try (Device first = Device.cuda(0);
        Device second = Device.cuda(1);
        Stream stream = second.openStream();
        Arena arena = Arena.ofConfined()) {
      Tensor there = second.allocate(arena, DType.U8, bytes);
      try (Arena own = Arena.ofConfined()) {
        MemorySegment pinned = first.allocatePinned(own, bytes);
        pinned.fill((byte) 0x5A);
        Tensor.of(own, pinned, DType.U8, bytes).copyTo(stream, there);
        // Closed while the copy is under way.
      }
      MemorySegment back = there.toHost(stream, arena).segment();
      MemorySegment expected = arena.allocate(bytes).fill((byte) 0x5A);
      assertThat(back.mismatch(expected)).isEqualTo(-1);
    }
  }
}
