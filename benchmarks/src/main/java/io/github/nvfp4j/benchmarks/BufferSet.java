// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.Device;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/// The buffers of many calls of one [Workload]: one allocation for each argument, sliced by call.
final class BufferSet {
  private final Arena arena;
  private final List<Buffer> buffers;
  private final List<Tensor> stacked = new ArrayList<>();

  private BufferSet(Arena arena, List<Buffer> buffers) {
    this.arena = arena;
    this.buffers = buffers;
  }

  /// Allocates and fills; waits until the contents are there.
  ///
  /// @param stream a stream of the device that gets the buffers
  /// @param arena frees them
  /// @param buffers what one call needs
  /// @param calls for how many calls
  /// @param data contents
  static BufferSet allocate(
      Stream stream, Arena arena, List<Buffer> buffers, int calls, HostData data) {
    BufferSet set = new BufferSet(arena, buffers);
    Device device = stream.device();
    for (Buffer buffer : buffers) {
      Tensor tensor = device.allocate(arena, buffer.dtype(), buffer.stacked(calls));
      set.stacked.add(tensor);
      set.fill(stream, buffer, tensor, data);
    }
    stream.synchronize();
    return set;
  }

  /// @return the tensors of one call, in the order of the buffers
  List<Tensor> of(int call) {
    List<Tensor> tensors = new ArrayList<>();
    for (int i = 0; i < buffers.size(); i++) {
      Buffer buffer = buffers.get(i);
      tensors.add(stacked.get(i).slice(arena, call * buffer.pitch(), buffer.rows()));
    }
    return List.copyOf(tensors);
  }

  /// @return copies of one call's tensors in host memory, in the order of the buffers
  List<Tensor> download(Stream stream, Arena host, int call) {
    List<Tensor> copies = new ArrayList<>();
    List<Tensor> tensors = of(call);
    for (int i = 0; i < buffers.size(); i++) {
      Tensor copy = hostTensor(host, buffers.get(i));
      tensors.get(i).copyTo(stream, copy);
      copies.add(copy);
    }
    stream.synchronize();
    return copies;
  }

  /// @return a host tensor for one call's buffer, its contents zero
  static Tensor hostTensor(Arena arena, Buffer buffer) {
    MemorySegment segment = arena.allocate(buffer.bytes(), 64);
    return Tensor.of(arena, segment, buffer.dtype(), buffer.shape());
  }

  private void fill(Stream stream, Buffer buffer, Tensor tensor, HostData data) {
    if (buffer.fill().isIndices()) {
      fillIndices(stream, buffer, tensor, data);
      return;
    }
    long rowBytes = buffer.rowBytes();
    long rows = tensor.shape(0);
    long chunk = Math.max(1, Math.min(rows, data.limit() / 2 / rowBytes));
    try (Arena staging = Arena.ofConfined()) {
      MemorySegment segment = staging.allocate(chunk * rowBytes, 64);
      for (long row = 0; row < rows; row += chunk) {
        long count = Math.min(chunk, rows - row);
        long bytes = count * rowBytes;
        MemorySegment part = segment.asSlice(0, bytes);
        part.copyFrom(data.view(buffer.fill(), buffer.dtype(), row / chunk, bytes));
        long[] shape = buffer.shape();
        shape[0] = count;
        Tensor source = Tensor.of(staging, part, buffer.dtype(), shape);
        source.copyTo(stream, tensor.slice(arena, row, count));
        stream.synchronize(); // the staging buffer is used again
      }
    }
  }

  /// Some calls have indices of their own, and the next ones those again.
  private void fillIndices(Stream stream, Buffer buffer, Tensor tensor, HostData data) {
    long calls = tensor.shape(0) / buffer.pitch();
    try (Arena staging = Arena.ofConfined()) {
      IndexData indices = IndexData.of(staging, buffer, calls, data.random(buffer));
      for (long call = 0; call < calls; call += indices.calls()) {
        Tensor source = indices.first(staging, Math.min(indices.calls(), calls - call));
        source.copyTo(stream, tensor.slice(arena, call * buffer.pitch(), source.shape(0)));
      }
      stream.synchronize();
    }
  }
}
