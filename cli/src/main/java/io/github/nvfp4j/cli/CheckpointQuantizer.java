// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.Device;
import io.github.nvfp4j.Nvfp4Tensor;
import io.github.nvfp4j.Quantize;
import io.github.nvfp4j.ReportedByKernelException;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.checkpoint.SafetensorsFile;
import io.github.nvfp4j.checkpoint.SafetensorsWriter;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Quantises the selected tensors of a checkpoint one after the other and writes each at once.
///
/// Weights are read from the mapping of the file. Buffers for the results (on a GPU for the weights
/// as well) are kept for the two shapes used last, since those of a model come in turns: this is
/// all the memory that is held, however large the checkpoint is.
final class CheckpointQuantizer implements AutoCloseable {
  private static final int BUFFERED_SHAPES = 2;
  private static final int ALIGNMENT = 64;

  private final SafetensorsFile file;
  private final Arena fileArena;
  private final Stream stream;
  private final LinkedHashMap<Shape, Buffers> buffers = new LinkedHashMap<>(4, 0.75f, true);
  private long quantizeNanos;

  private record Shape(DType dtype, long rows, long columns) {}

  /// Memory for a tensor of one shape. Shared arenas: the noise is measured by several threads.
  private static final class Buffers implements AutoCloseable {
    final Arena arena = Arena.ofShared();
    final Nvfp4Tensor result;
    final @Nullable Tensor deviceWeight;
    final Tensor hostCodes;
    final Tensor hostScales;
    final Tensor hostGlobalScale;
    @Nullable Tensor aligned;

    Buffers(Device device, Shape shape) {
      result = device.allocateNvfp4(arena, shape.rows(), shape.columns());
      boolean cuda = device.isCuda();
      deviceWeight =
          cuda ? device.allocate(arena, shape.dtype(), shape.rows(), shape.columns()) : null;
      hostCodes = cuda ? host(device, result.codes()) : result.codes();
      hostScales = cuda ? host(device, result.scales()) : result.scales();
      hostGlobalScale = cuda ? host(device, result.globalScales()) : result.globalScales();
    }

    private Tensor host(Device device, Tensor tensor) {
      MemorySegment pinned = device.allocatePinned(arena, tensor.byteSize());
      return Tensor.of(arena, pinned, tensor.dtype(), tensor.shape());
    }

    /// Host memory for a weight that its file does not align.
    Tensor aligned(Shape shape) {
      if (aligned == null) {
        long bytes = Math.multiplyExact(shape.rows() * shape.columns(), shape.dtype().bytes());
        MemorySegment memory = arena.allocate(bytes, ALIGNMENT);
        aligned = Tensor.of(arena, memory, shape.dtype(), shape.rows(), shape.columns());
      }
      return aligned;
    }

    @Override
    public void close() {
      arena.close();
    }
  }

  /// @param fileArena the arena of `file`, a shared one
  CheckpointQuantizer(SafetensorsFile file, Arena fileArena, Stream stream) {
    this.file = file;
    this.fileArena = fileArena;
    this.stream = stream;
  }

  /// Quantises one tensor and writes its three.
  ///
  /// @return its signal and noise
  Snr quantize(QuantizePlan.Selected tensor, SafetensorsWriter writer) throws IOException {
    String name = tensor.entry().name();
    DType dtype = RunOps.dtype(tensor.entry().dtype());
    Shape shape = new Shape(dtype, tensor.rows(), tensor.columns());
    Buffers buffer = buffersFor(shape);
    long start = System.nanoTime();
    Tensor weight = hostWeight(name, shape, buffer);
    if (buffer.deviceWeight != null) {
      buffer.deviceWeight.copyFrom(stream, weight);
      weight = buffer.deviceWeight;
    }
    Quantize.dynamic(stream, weight, buffer.result);
    if (buffer.deviceWeight != null) {
      buffer.result.codes().copyTo(stream, buffer.hostCodes);
      buffer.result.scales().copyTo(stream, buffer.hostScales);
      buffer.result.globalScales().copyTo(stream, buffer.hostGlobalScale);
    }
    try {
      stream.synchronize();
    } catch (ReportedByKernelException e) {
      throw new Failure(Verdict.CHECK_FAILED, name + ": " + Verdict.of(e).sentence(), e);
    }
    quantizeNanos += System.nanoTime() - start;
    MemorySegment codes = buffer.hostCodes.segment();
    MemorySegment scales = buffer.hostScales.segment();
    MemorySegment globalScale = buffer.hostGlobalScale.segment();
    writer.write(tensor.codes().name(), codes);
    writer.write(tensor.scales().name(), scales);
    writer.write(tensor.globalScale().name(), globalScale);
    return Snr.of(
        tensor.entry().dtype(),
        file.data(name),
        codes,
        scales,
        globalScale.get(ValueLayout.JAVA_FLOAT, 0),
        tensor.rows(),
        tensor.columns());
  }

  private Tensor hostWeight(String name, Shape shape, Buffers buffer) {
    MemorySegment data = file.data(name);
    if (file.isAligned(name, shape.dtype().bytes())) {
      return Tensor.of(fileArena, data, shape.dtype(), shape.rows(), shape.columns());
    }
    Tensor copy = buffer.aligned(shape);
    copy.segment().copyFrom(data);
    return copy;
  }

  private Buffers buffersFor(Shape shape) {
    Buffers found = buffers.get(shape);
    if (found != null) {
      return found;
    }
    if (buffers.size() == BUFFERED_SHAPES) {
      Map.Entry<Shape, Buffers> oldest = buffers.firstEntry();
      buffers.remove(oldest.getKey());
      oldest.getValue().close();
    }
    Buffers made = new Buffers(stream.device(), shape);
    buffers.put(shape, made);
    return made;
  }

  /// Time spent with the device: copies to and from it included, reading and writing files not.
  long quantizeNanos() {
    return quantizeNanos;
  }

  @Override
  public void close() {
    buffers.values().forEach(Buffers::close);
    buffers.clear();
  }
}
