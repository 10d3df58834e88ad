// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import static io.github.nvfp4j.bindings.CudaConstants.ERROR_INVALID_DEVICE;
import static io.github.nvfp4j.bindings.CudaConstants.MEMCPY_DEVICE_TO_HOST;
import static io.github.nvfp4j.bindings.CudaConstants.MEMCPY_HOST_TO_DEVICE;
import static io.github.nvfp4j.bindings.CudaConstants.SUCCESS;
import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static org.assertj.core.api.Assertions.assertThat;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/// The CUDA runtime's functions on a device, each at least once.
@Gpu
class CudaRuntimeGpuTest {
  private static final long BYTES = 1 << 20;

  private final Arena arena = Arena.ofConfined();
  private final MemorySegment pointer = arena.allocate(ADDRESS);
  private final MemorySegment number = arena.allocate(JAVA_INT);

  @BeforeEach
  void selectDevice() {
    good(CudaRuntime.setDevice(0));
  }

  @AfterEach
  void close() {
    arena.close();
  }

  private static void good(int status) {
    assertThat(status)
        .as(() -> CudaRuntime.getErrorName(status) + ": " + CudaRuntime.getErrorString(status))
        .isEqualTo(SUCCESS);
  }

  private long pointer() {
    return NativeMemory.readPointer(pointer);
  }

  private int attribute(int attribute) {
    good(CudaRuntime.deviceGetAttribute(number, attribute, 0));
    return number.get(JAVA_INT, 0);
  }

  @Test
  void properties() {
    CudaDeviceProperties properties = new CudaDeviceProperties(arena);
    good(CudaRuntime.getDeviceProperties(properties, 0));
    assertThat(properties.name()).isNotBlank();
    assertThat(properties.major())
        .isEqualTo(attribute(CudaConstants.DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR));
    assertThat(properties.minor())
        .isEqualTo(attribute(CudaConstants.DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
    assertThat(properties.multiprocessorCount())
        .isEqualTo(attribute(CudaConstants.DEVICE_ATTRIBUTE_MULTI_PROCESSOR_COUNT));
    assertThat(properties.l2CacheSize())
        .isEqualTo(attribute(CudaConstants.DEVICE_ATTRIBUTE_L2_CACHE_SIZE));

    MemorySegment free = arena.allocate(JAVA_LONG);
    MemorySegment total = arena.allocate(JAVA_LONG);
    good(CudaRuntime.memGetInfo(free, total));
    assertThat(free.get(JAVA_LONG, 0)).isPositive().isLessThanOrEqualTo(total.get(JAVA_LONG, 0));
    assertThat((double) properties.totalGlobalMemory() / total.get(JAVA_LONG, 0))
        .isBetween(0.9, 1.1);

    good(CudaRuntime.driverGetVersion(number));
    assertThat(number.get(JAVA_INT, 0)).isGreaterThanOrEqualTo(12000);
    good(CudaRuntime.getDevice(number));
    assertThat(number.get(JAVA_INT, 0)).isZero();
  }

  @Test
  void errorsAreReportedOnceAndForgotten() {
    assertThat(CudaRuntime.setDevice(9999)).isEqualTo(ERROR_INVALID_DEVICE);
    assertThat(CudaRuntime.peekAtLastError()).isEqualTo(ERROR_INVALID_DEVICE);
    assertThat(CudaRuntime.getLastError()).isEqualTo(ERROR_INVALID_DEVICE);
    assertThat(CudaRuntime.getLastError()).isEqualTo(SUCCESS);
    assertThat(CudaRuntime.getErrorName(ERROR_INVALID_DEVICE)).isEqualTo("cudaErrorInvalidDevice");
  }

  @Test
  void memoryStreamsEventsAndGraphs() {
    good(CudaRuntime.malloc(pointer, BYTES));
    long device = pointer();
    good(CudaRuntime.hostAlloc(pointer, BYTES, CudaConstants.HOST_ALLOC_DEFAULT));
    long hostAddress = pointer();
    good(CudaRuntime.streamCreateWithFlags(pointer, CudaConstants.STREAM_NON_BLOCKING));
    long stream = pointer();
    good(CudaRuntime.eventCreateWithFlags(pointer, CudaConstants.EVENT_DEFAULT));
    long start = pointer();
    good(CudaRuntime.eventCreateWithFlags(pointer, CudaConstants.EVENT_DEFAULT));
    long end = pointer();

    CudaPointerAttributes attributes = new CudaPointerAttributes(arena);
    good(CudaRuntime.pointerGetAttributes(attributes, device));
    assertThat(attributes.type()).isEqualTo(CudaConstants.MEMORY_TYPE_DEVICE);
    assertThat(attributes.device()).isZero();
    assertThat(attributes.devicePointer()).isEqualTo(device);
    good(CudaRuntime.pointerGetAttributes(attributes, hostAddress));
    assertThat(attributes.type()).isEqualTo(CudaConstants.MEMORY_TYPE_HOST);
    assertThat(attributes.hostPointer()).isEqualTo(hostAddress);

    MemorySegment host = NativeMemory.view(hostAddress, BYTES, arena).fill((byte) 7);
    MemorySegment onDevice = MemorySegment.ofAddress(device);
    good(CudaRuntime.eventRecord(start, stream));
    good(CudaRuntime.memcpyAsync(onDevice, host, BYTES, MEMCPY_HOST_TO_DEVICE, stream));
    good(CudaRuntime.memsetAsync(device, 9, BYTES / 2, stream));
    good(CudaRuntime.eventRecord(end, stream));
    good(CudaRuntime.streamWaitEvent(stream, end, 0));
    good(CudaRuntime.eventSynchronize(end));
    good(CudaRuntime.eventQuery(end));
    good(CudaRuntime.eventElapsedTime(number, start, end));
    assertThat(number.get(JAVA_FLOAT, 0)).isBetween(0f, 1000f);
    good(CudaRuntime.memcpy(host, onDevice, BYTES, MEMCPY_DEVICE_TO_HOST));
    assertThat(host.get(JAVA_BYTE, BYTES / 2 - 1)).isEqualTo((byte) 9);
    assertThat(host.get(JAVA_BYTE, BYTES / 2)).isEqualTo((byte) 7);

    number.set(JAVA_INT, 0, CudaConstants.STREAM_CAPTURE_MODE_RELAXED);
    good(CudaRuntime.threadExchangeStreamCaptureMode(number));
    good(CudaRuntime.threadExchangeStreamCaptureMode(number)); // as it was
    good(CudaRuntime.streamBeginCapture(stream, CudaConstants.STREAM_CAPTURE_MODE_THREAD_LOCAL));
    good(CudaRuntime.memsetAsync(device, 3, BYTES, stream));
    good(CudaRuntime.streamIsCapturing(stream, number));
    assertThat(number.get(JAVA_INT, 0)).isEqualTo(CudaConstants.STREAM_CAPTURE_STATUS_ACTIVE);
    good(CudaRuntime.streamEndCapture(stream, pointer));
    long graph = pointer();
    MemorySegment count = arena.allocate(JAVA_LONG);
    good(CudaRuntime.graphGetNodes(graph, MemorySegment.NULL, count));
    assertThat(count.get(JAVA_LONG, 0)).isEqualTo(1);
    good(CudaRuntime.graphInstantiate(pointer, graph, 0));
    long executable = pointer();
    good(CudaRuntime.graphUpload(executable, stream));
    good(CudaRuntime.graphLaunch(executable, stream));
    good(CudaRuntime.memcpyAsync(host, onDevice, BYTES, MEMCPY_DEVICE_TO_HOST, stream));
    good(CudaRuntime.streamSynchronize(stream));
    good(CudaRuntime.streamQuery(stream));
    assertThat(host.get(JAVA_BYTE, BYTES - 1)).isEqualTo((byte) 3);

    good(CudaRuntime.graphExecDestroy(executable));
    good(CudaRuntime.graphDestroy(graph));
    good(CudaRuntime.eventDestroy(start));
    good(CudaRuntime.eventDestroy(end));
    good(CudaRuntime.streamDestroy(stream));
    good(CudaRuntime.deviceSynchronize());
    good(CudaRuntime.freeHost(hostAddress));
    good(CudaRuntime.free(device));
    good(CudaRuntime.mallocHost(pointer, 64));
    good(CudaRuntime.freeHost(pointer()));
  }
}
