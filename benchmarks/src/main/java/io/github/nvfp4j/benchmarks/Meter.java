// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.Device;
import io.github.nvfp4j.Event;
import io.github.nvfp4j.Graph;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.function.IntFunction;
import org.jspecify.annotations.Nullable;

/// Times calls by replaying graphs of them between two events.
///
/// On a CUDA device each timed replay is enqueued behind a large device-to-device copy. It keeps
/// the device busy while the host enqueues the replay, so that host time is not in the figure, and
/// it evicts what the calls before left in the cache.
final class Meter implements AutoCloseable {
  private static final long LEAD_BYTES = 1L << 30;

  private final Stream stream;
  private final Arena arena = Arena.ofConfined();
  private final Event start;
  private final Event end;
  private final @Nullable Tensor leadSource;
  private final @Nullable Tensor leadDestination;

  Meter(Stream stream) {
    this.stream = stream;
    Device device = stream.device();
    start = Event.create(device);
    end = Event.create(device);
    if (device.isCuda()) {
      leadSource = device.allocate(arena, DType.U8, LEAD_BYTES);
      leadDestination = device.allocate(arena, DType.U8, LEAD_BYTES);
    } else {
      leadSource = null;
      leadDestination = null;
    }
  }

  /// Times one call.
  ///
  /// @param plan how often
  /// @param call makes the n-th call, n counting through all buffer sets
  Timing time(Plan plan, IntFunction<Runnable> call) {
    List<Runnable> calls = new ArrayList<>();
    for (int i = 0; i < plan.buffers(); i++) {
      calls.add(call.apply(i));
    }
    List<Graph> graphs = new ArrayList<>();
    try {
      for (int g = 0; g < plan.graphs(); g++) {
        int first = g * plan.nodes();
        graphs.add(
            stream.capture(() -> {
              for (int n = 0; n < plan.nodes(); n++) {
                calls.get((first + n) % calls.size()).run();
              }
            }));
      }
      return replay(plan, graphs);
    } finally {
      graphs.forEach(Graph::close);
    }
  }

  private Timing replay(Plan plan, List<Graph> graphs) {
    for (Graph graph : graphs) { // the first launch uploads the graph
      graph.launch(stream);
      stream.synchronize();
    }
    double[] micros = new double[plan.replays()];
    for (int i = 0; i < micros.length; i++) {
      if (leadSource != null && leadDestination != null) {
        leadSource.copyTo(stream, leadDestination);
      }
      start.record(stream);
      graphs.get(i % graphs.size()).launch(stream);
      end.record(stream);
      stream.synchronize();
      micros[i] = 1e3 * end.elapsedMillis(start);
    }
    return Timing.of(micros, plan.nodes());
  }

  @Override
  public void close() {
    end.close();
    start.close();
    arena.close();
  }
}
