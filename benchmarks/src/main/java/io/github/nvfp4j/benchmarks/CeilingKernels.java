// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import static java.lang.foreign.MemorySegment.NULL;
import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/// `libnvfp4j_bench.so`: kernels that only move bytes, enqueued on a stream of the public API.
///
/// Each call may be captured. Addresses are 16-byte aligned; sizes are rounded up to multiples of
/// 16, within the tensors.
@SuppressWarnings("restricted") // a binding of this module's own; the library's is elsewhere
final class CeilingKernels implements AutoCloseable {
  private static final String PREFIX = "nvfp4j_bench_";

  /// Readers of different shapes: which one is the fastest depends on the bytes.
  private static final List<String> READERS =
      List.of("read", "read_4x512", "read_2x1024", "read_8x256");

  private static final FunctionDescriptor SIGNATURE =
      FunctionDescriptor.of(JAVA_INT, ADDRESS, ADDRESS, JAVA_LONG, ADDRESS, JAVA_LONG);

  private final Arena arena = Arena.ofShared();
  private final Map<String, MethodHandle> kernels = new LinkedHashMap<>();
  private final MethodHandle empty;

  /// @param library the file
  /// @throws IllegalArgumentException when it cannot be loaded or lacks a function
  CeilingKernels(Path library) {
    SymbolLookup lookup = SymbolLookup.libraryLookup(library.toAbsolutePath(), arena);
    for (Ceiling ceiling : Ceiling.values()) {
      for (String kernel : of(ceiling)) {
        kernels.put(kernel, handle(lookup, PREFIX + kernel));
      }
    }
    empty = handle(lookup, PREFIX + "empty");
  }

  private static MethodHandle handle(SymbolLookup lookup, String name) {
    MemorySegment symbol =
        lookup
            .find(name)
            .orElseThrow(() -> new IllegalArgumentException("--ceilings: no function " + name));
    return Linker.nativeLinker().downcallHandle(symbol, SIGNATURE);
  }

  /// Enqueues a kernel that does nothing.
  void empty(Stream stream) {
    enqueue("empty", empty, pointer(stream.cudaStream()), NULL, 0, NULL, 0);
  }

  /// @return the kernels of a ceiling, of which the fastest is it
  List<String> of(Ceiling ceiling) {
    return ceiling == Ceiling.READ ? READERS : List.of(ceiling.label());
  }

  /// Makes the call of a ceiling kernel over the bytes of a workload.
  ///
  /// @param ceiling which
  /// @param kernel one [#of] it
  /// @param stream where it is enqueued
  /// @param source at least [Workload#bytes()] bytes, rounded up to 16; read
  /// @param sink as many, written
  /// @param workload gives the bytes
  Runnable call(
      Ceiling ceiling,
      String kernel,
      Stream stream,
      Tensor source,
      Tensor sink,
      Workload workload) {
    long reads =
        switch (ceiling) {
          case READ -> workload.bytes();
          case WRITE -> 0;
          case COPY -> workload.bytes() / 2;
          case MIX -> workload.bytesRead();
        };
    long writes =
        switch (ceiling) {
          case READ -> 0;
          case WRITE -> workload.bytes();
          case COPY -> workload.bytes() / 2;
          case MIX -> workload.bytesWritten();
        };
    return call(kernel, stream, source, round(reads), sink, round(writes));
  }

  /// Makes the call of a kernel that only reads.
  ///
  /// @param reader one [#of] [Ceiling#READ]
  /// @param stream where it is enqueued
  /// @param source at least `bytes` bytes, rounded up to 16
  /// @param sink 16 bytes
  /// @param bytes how many are read
  Runnable read(String reader, Stream stream, Tensor source, Tensor sink, long bytes) {
    return call(reader, stream, source, round(bytes), sink, 0);
  }

  private Runnable call(
      String kernel, Stream stream, Tensor source, long reads, Tensor sink, long writes) {
    MethodHandle handle = Objects.requireNonNull(kernels.get(kernel), kernel);
    MemorySegment from = pointer(source.address());
    MemorySegment to = pointer(sink.address());
    // The stream's handle is asked for in each call: within a capture it is another one.
    return () -> enqueue(kernel, handle, pointer(stream.cudaStream()), from, reads, to, writes);
  }

  private static void enqueue(
      String name,
      MethodHandle kernel,
      MemorySegment stream,
      MemorySegment source,
      long reads,
      MemorySegment sink,
      long writes) {
    int status;
    try {
      status = (int) kernel.invokeExact(stream, source, reads, sink, writes);
    } catch (RuntimeException | Error e) {
      throw e;
    } catch (Throwable e) {
      throw new AssertionError(e); // a downcall throws nothing checked
    }
    if (status != 0) {
      throw new IllegalStateException(PREFIX + name + ": CUDA error " + status);
    }
  }

  private static MemorySegment pointer(long address) {
    return MemorySegment.ofAddress(address);
  }

  private static long round(long bytes) {
    return Math.ceilDiv(bytes, 16) * 16;
  }

  @Override
  public void close() {
    arena.close();
  }
}
