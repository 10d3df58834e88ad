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
/// On a CUDA device each timed replay is enqueued behind an untimed one, of the graph before it in
/// turn. It keeps the device busy while the host enqueues the timed one, so that host time is not
/// in the figure; with the buffers of one round larger than the last-level cache, it also leaves
/// nothing there that the timed one could find. Where they are not, a copy between the two does so.
final class Meter implements AutoCloseable {
  private final Stream stream;
  private final Event start;
  private final Event end;
  private final boolean cuda;
  private final Arena arena = Arena.ofConfined();

  /// What empties the last-level cache when it is copied, one half to the other; null until a plan
  /// asks for it.
  private @Nullable Tensor flushed;

  Meter(Stream stream) {
    this.stream = stream;
    Device device = stream.device();
    start = Event.create(device);
    end = Event.create(device);
    cuda = device.isCuda();
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
      if (cuda) {
        graphs.get(Math.floorMod(i - 1, graphs.size())).launch(stream);
        if (plan.flush()) {
          flush();
        }
      }
      start.record(stream);
      graphs.get(i % graphs.size()).launch(stream);
      end.record(stream);
      stream.synchronize();
      micros[i] = 1e3 * end.elapsedMillis(start);
    }
    return Timing.of(micros, plan.nodes());
  }

  private void flush() {
    long half = Plan.ROTATED_BYTES / 2;
    Tensor whole = flushed;
    if (whole == null) {
      whole = stream.device().allocate(arena, DType.U8, 2 * half);
      flushed = whole;
    }
    whole.slice(arena, 0, half).copyTo(stream, whole.slice(arena, half, half));
  }

  @Override
  public void close() {
    arena.close();
    end.close();
    start.close();
  }
}
