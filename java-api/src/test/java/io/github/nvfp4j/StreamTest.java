// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// Completion, reports, events, and what a device says about itself.
@Timeout(120)
final class StreamTest {
  @Nested
  @Tag("cpu")
  final class Cpu extends Contract {
    Cpu() {
      super("cpu");
    }

    @Test
    void aFutureIsCompleteAtOnce() {
      assertThat(stream.whenDone()).isCompleted();
      assertThat(stream.cudaStream()).isZero();
    }
  }

  @Nested
  @Gpu
  final class Cuda extends Contract {
    Cuda() {
      super("cuda:0");
    }

    @Test
    void aFutureDoesNotWaitForTheDevice() throws Exception {
      Tensor x = device.allocate(arena, DType.F32, 2048, 2048);
      poison(x);
      Nvfp4Tensor q = device.allocateNvfp4(arena, 2048, 2048);
      Quantize.dynamic(stream, x, q);
      stream.whenDone().get(60, TimeUnit.SECONDS); // Loads the classes, too.
      for (int i = 0; i < 200; i++) {
        Quantize.dynamic(stream, x, q);
      }
      CompletableFuture<Void> first = stream.whenDone();
      CompletableFuture<Void> second = stream.whenDone();
      assertThat(first).isNotDone();
      Quantize.dynamic(stream, x, q); // The stream is free meanwhile.
      first.get(60, TimeUnit.SECONDS);
      second.get(60, TimeUnit.SECONDS);
      // A third that close has to complete.
      for (int i = 0; i < 200; i++) {
        Quantize.dynamic(stream, x, q);
      }
      CompletableFuture<Void> third = stream.whenDone();
      CompletableFuture<Void> fourth = stream.whenDone();
      stream.close();
      third.get(60, TimeUnit.SECONDS);
      fourth.get(60, TimeUnit.SECONDS);
    }

    @Test
    void manyFuturesOfManyStreams() throws Exception {
      List<Stream> streams = new ArrayList<>();
      List<CompletableFuture<Void>> futures = new ArrayList<>();
      Tensor x = device.allocate(arena, DType.F32, 64, 64);
      poison(x);
      for (int i = 0; i < 8; i++) {
        streams.add(device.openStream());
      }
      for (int round = 0; round < 50; round++) {
        for (Stream each : streams) {
          Quantize.dynamic(each, x, device.allocateNvfp4(arena, 64, 64));
          futures.add(each.whenDone());
        }
      }
      CompletableFuture.allOf(futures.toArray(CompletableFuture[]::new)).get(60, TimeUnit.SECONDS);
      streams.forEach(Stream::close);
    }
  }

  abstract static class Contract extends OnDevice {
    Contract(String id) {
      super(id);
    }

    private Tensor bad() {
      float[] values = new float[4 * 32];
      values[33] = Float.NaN;
      return upload(DType.F32, values, 4, 32);
    }

    @Test
    void aFutureReports() throws Exception {
      Tensor x = bad();
      Nvfp4Tensor q = device.allocateNvfp4(arena, 4, 32);
      stream.synchronize();
      stream.whenDone().get(60, TimeUnit.SECONDS);
      Quantize.dynamic(stream, x, q);
      CompletableFuture<Void> future = stream.whenDone();
      assertThatThrownBy(() -> future.get(60, TimeUnit.SECONDS))
          .isInstanceOf(ExecutionException.class)
          .cause()
          .isExactlyInstanceOf(ReportedByKernelException.class)
          .hasMessage(
              "quantize: NON_FINITE_INPUT: an input element is NaN or infinite, first seen at row"
                  + " 1, column 1");
      stream.synchronize(); // Reported already.
      stream.whenDone().get(60, TimeUnit.SECONDS);
      assertThat(future.isCompletedExceptionally()).isTrue();
    }

    @Test
    void aFutureReportsAGraph() throws Exception {
      Tensor x = bad();
      Nvfp4Tensor q = device.allocateNvfp4(arena, 4, 32);
      stream.synchronize();
      try (Graph graph = stream.capture(() -> Quantize.dynamic(stream, x, q))) {
        for (int i = 0; i < 3; i++) {
          graph.launch(stream);
          CompletableFuture<Void> future = stream.whenDone();
          assertThatThrownBy(() -> future.get(60, TimeUnit.SECONDS))
              .cause()
              .isExactlyInstanceOf(ReportedByKernelException.class)
              .hasMessageContaining("row 1, column 1");
        }
        stream.synchronize();
        graph.launch(stream);
      }
      CompletableFuture<Void> future = stream.whenDone();
      assertThatThrownBy(() -> future.get(60, TimeUnit.SECONDS))
          .cause()
          .isExactlyInstanceOf(ReportedByKernelException.class);
      stream.synchronize();
    }

    @Test
    void closeReportsWhatNobodyAskedFor() {
      Tensor x = bad();
      Nvfp4Tensor q = device.allocateNvfp4(arena, 4, 32);
      Stream own = device.openStream();
      stream.synchronize();
      Quantize.dynamic(own, x, q);
      assertThatThrownBy(own::close)
          .isExactlyInstanceOf(ReportedByKernelException.class)
          .hasMessageContaining("row 1, column 1");
      assertThatThrownBy(own::synchronize).hasMessageContaining("stream is closed");
    }

    @Test
    void severalOpsReportTogether() {
      Tensor x = bad();
      Nvfp4Tensor q = device.allocateNvfp4(arena, 4, 32);
      Nvfp4Tensor half = device.allocateNvfp4(arena, 4, 16);
      stream.synchronize();
      upload(new float[] {-1f}).copyTo(stream, q.globalScales());
      Quantize.given(stream, x, q);
      SwigluQuantize.run(stream, x, null, half, Swiglu.Options.DEFAULT, Quantize.Options.DYNAMIC);
      assertThatThrownBy(stream::synchronize)
          .isExactlyInstanceOf(ReportedByKernelException.class)
          .satisfies(e -> {
            ReportedByKernelException report = (ReportedByKernelException) e;
            assertThat(report.op()).isEqualTo(Op.QUANTIZE);
            assertThat(report.causes().get(Op.QUANTIZE))
                .containsExactlyInAnyOrder(Cause.NON_FINITE_INPUT, Cause.BAD_GLOBAL_SCALE);
            assertThat(report.causes().get(Op.SWIGLU_QUANTIZE))
                .containsExactly(Cause.NON_FINITE_INPUT);
            assertThat(report.shapes()).isEmpty();
          });
    }

    @Test
    void eventsTimeWork() {
      Tensor x = device.allocate(arena, DType.F32, 1024, 1024);
      poison(x);
      Nvfp4Tensor q = device.allocateNvfp4(arena, 1024, 1024);
      Quantize.dynamic(stream, x, q);
      stream.synchronize();
      try (Event begin = Event.create(device);
          Event end = Event.create(device)) {
        assertThatThrownBy(begin::isDone)
            .isExactlyInstanceOf(IllegalStateException.class)
            .hasMessage("event: event is not recorded, expected record(stream) before");
        begin.record(stream);
        for (int i = 0; i < 10; i++) {
          Quantize.dynamic(stream, x, q);
        }
        end.record(stream);
        end.synchronize();
        assertThat(begin.isDone()).isTrue();
        assertThat(end.isDone()).isTrue();
        double millis = end.elapsedMillis(begin);
        assertThat(millis).isBetween(1e-3, 10_000.0);
        assertThat(begin.elapsedMillis(begin)).isZero();
      }
    }

    @Test
    void theDeviceDescribesItself() {
      DeviceInfo info = device.info();
      assertThat(info.id()).isEqualTo(id);
      assertThat(info.name()).isNotBlank();
      assertThat(info.multiprocessors()).isPositive();
      assertThat(info.memoryBytes()).isGreaterThan(1L << 28);
      assertThat(info.computeCapabilityMajor() > 0).isEqualTo(device.isCuda());
      assertThat(info.runtimeVersion() > 0).isEqualTo(device.isCuda());
      assertThat(info.driverVersion() >= info.runtimeVersion()).isTrue();
      assertThat(Device.all()).contains(info);
      assertThat(Device.all().getFirst().id()).isEqualTo("cpu");
      for (Op op : Op.values()) {
        assertThat(device.pathFor(op)).as(op.opName()).isNotBlank();
        assertThat(device.workspaceBytes(op, 128, 1024)).isNotNegative();
      }
      device.warmUp();
      device.warmUp();
      assertThat(device.toString()).startsWith(id);
      assertThat(Nvfp4j.version()).matches("[0-9]+\\.[0-9]+\\.[0-9]+.*");
      assertThat(Nvfp4j.buildInfo()).startsWith("{").contains("\"compiler\"");
      assertThat(Nvfp4j.abiVersion()).isEqualTo(2);
    }
  }
}
