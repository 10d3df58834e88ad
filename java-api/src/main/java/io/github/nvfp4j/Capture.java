// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.CudaConstants;
import io.github.nvfp4j.bindings.CudaRuntime;
import io.github.nvfp4j.bindings.NativeMemory;
import io.github.nvfp4j.bindings.Nvfp4jNative;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Set;

/// What a graph that is being recorded will need: the memory that must not be freed before it
/// closes and, on the CPU device, the calls themselves.
final class Capture {
  private final Set<Allocation> allocations = Collections.newSetFromMap(new IdentityHashMap<>());
  private final List<Graph.Step> steps = new ArrayList<>();

  /// The graph knows a tensor's memory from now on.
  void retain(Op op, String name, Tensor tensor) {
    Allocation allocation = tensor.allocation;
    if (allocation == null || allocations.contains(allocation)) {
      return;
    }
    if (!allocation.state().retain(allocation)) {
      throw new IllegalStateException(
          op.opName() + ": " + name + " is closed, expected a tensor of an open arena");
    }
    allocations.add(allocation);
  }

  void add(Graph.Step step) {
    steps.add(step);
  }

  List<Graph.Step> steps() {
    return steps;
  }

  /// The graph has closed, or never came to be.
  void releaseAll() {
    for (Allocation allocation : allocations) {
      allocation.state().releaseRetained(allocation);
    }
    allocations.clear();
  }

  /// Records on a CPU stream. The native recorder checks the arguments of every op; the calls
  /// themselves are kept here, where a replay can hold the arenas of their tensors.
  static Graph cpu(Stream stream, Runnable body) {
    Device device = stream.device();
    device.live().add("capture", LiveCount.Kind.GRAPH, 0);
    Capture recording = new Capture();
    try {
      MemorySegment context = stream.context();
      check(stream, Nvfp4jNative.cpuCaptureBegin(context, stream.error()));
      stream.beginCapture(recording, context, 0);
      try {
        body.run();
      } finally {
        stream.endCapture();
        check(stream, Nvfp4jNative.cpuCaptureEnd(context, MemorySegment.NULL, stream.error()));
      }
      return Graph.ofSteps(device, recording);
    } catch (Throwable e) {
      recording.releaseAll();
      device.live().remove(LiveCount.Kind.GRAPH, 0);
      throw e;
    }
  }

  private static void check(Stream stream, int status) {
    if (status != 0) {
      throw stream.raise(null, status, "");
    }
  }

  /// Records on a CUDA stream.
  static Graph cuda(Stream stream, Runnable body) {
    Device device = stream.device();
    DeviceState state = device.state();
    device.live().add("capture", LiveCount.Kind.GRAPH, 0);
    Capture recording = new Capture();
    MemorySegment context = MemorySegment.NULL;
    try {
      // An own stream is captured on a stream of the graph's, so that its reports never meet other
      // work; a foreign one is captured itself, since other libraries enqueue on its handle.
      context = Contexts.create(state, device, stream.isForeign(), stream.cudaStream());
      Contexts.warmUp(state, context);
      long cudaStream = Contexts.stream(state, context);
      long recorded = record(stream, recording, context, cudaStream, body);
      return Graph.ofCuda(device, recording, context, cudaStream, recorded);
    } catch (Throwable e) {
      recording.releaseAll();
      Contexts.destroyQuietly(context);
      device.live().remove(LiveCount.Kind.GRAPH, 0);
      throw e;
    }
  }

  private static long record(
      Stream stream, Capture recording, MemorySegment context, long cudaStream, Runnable body) {
    DeviceState state = stream.device().state();
    int ordinal = stream.device().ordinal();
    state.beginCapture();
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment graph = arena.allocate(ValueLayout.JAVA_LONG);
      int begun =
          Cuda.onDevice(
              ordinal,
              () ->
                  CudaRuntime.streamBeginCapture(
                      cudaStream, CudaConstants.STREAM_CAPTURE_MODE_THREAD_LOCAL));
      Cuda.check(state, "capture: cudaStreamBeginCapture", begun);
      stream.beginCapture(recording, context, cudaStream);
      try {
        body.run();
      } catch (Throwable e) {
        stream.endCapture();
        Cuda.onDevice(ordinal, () -> CudaRuntime.streamEndCapture(cudaStream, graph));
        CudaRuntime.getLastError();
        Graph.destroyQuietly(ordinal, NativeMemory.readPointer(graph));
        throw e;
      }
      stream.endCapture();
      Cuda.check(
          state,
          "capture: cudaStreamEndCapture",
          Cuda.onDevice(ordinal, () -> CudaRuntime.streamEndCapture(cudaStream, graph)));
      return NativeMemory.readPointer(graph);
    } finally {
      state.endCapture();
    }
  }
}
