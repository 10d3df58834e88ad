// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import java.lang.foreign.Arena;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/// How fast so many bytes can be read: the best of several kernels that do nothing else, each timed
/// like an op, over rotating places in one large buffer.
final class ReadCeiling {
  private static final long ALIGNMENT = 256;

  private final CeilingKernels kernels;
  private final Stream stream;
  private final Meter meter;
  private final Arena arena;
  private final Tensor source;
  private final Tensor sink;
  private final Map<Long, Double> known = new HashMap<>();

  /// @param most the most bytes that [#micros] will be asked for
  ReadCeiling(
      CeilingKernels kernels, Stream stream, Arena arena, Meter meter, HostData data, long most) {
    this.kernels = kernels;
    this.stream = stream;
    this.meter = meter;
    this.arena = arena;
    // Fewer bytes a call are more calls: all of them together are at most the rotated bytes and one
    // call more, or two calls.
    long pool = Math.max(2 * round(most), Plan.buffers(1 << 20) * 2L << 20);
    Buffer buffer = new Buffer("source", DType.U8, pool, 0, Buffer.Fill.BYTES);
    source = BufferSet.allocate(stream, arena, List.of(buffer), 1, data).of(0).getFirst();
    sink = stream.device().allocate(arena, DType.U8, ALIGNMENT);
  }

  /// @return microseconds of the fastest kernel
  double micros(long bytes) {
    return known.computeIfAbsent(round(bytes), this::measure);
  }

  private double measure(long bytes) {
    Plan plan = Plan.cuda(bytes, bytes / 2.5e6);
    long places = Math.max(1, source.byteSize() / bytes);
    double best = Double.POSITIVE_INFINITY;
    for (String reader : kernels.of(Ceiling.READ)) {
      Timing timing =
          meter.time(
              plan,
              call -> {
                Tensor part = source.slice(arena, call % places * bytes, bytes);
                return kernels.read(reader, stream, part, sink, bytes);
              });
      best = Math.min(best, timing.median());
    }
    return best;
  }

  private static long round(long bytes) {
    return Math.ceilDiv(bytes, ALIGNMENT) * ALIGNMENT;
  }
}
