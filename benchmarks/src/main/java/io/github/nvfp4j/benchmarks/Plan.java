// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

/// How many calls are timed, and over how many different buffers.
///
/// @param buffers different buffer sets, used in turn
/// @param nodes calls in a graph
/// @param graphs graphs, replayed in turn
/// @param replays replays timed, over all graphs
/// @param flush whether the last-level cache is emptied before each timed replay, because all
///   buffers together fit into it
record Plan(int buffers, int nodes, int graphs, int replays, boolean flush) {
  /// Four times the last-level cache of an H100 and more: no call finds its bytes there.
  static final long ROTATED_BYTES = 208L << 20;

  private static final int MIN_NODES = 40;
  private static final int MAX_NODES = 1024;

  /// Making so many calls takes seconds; calls of less than 13 KiB would need more of them.
  private static final int MAX_BUFFERS = 16_384;

  /// Most bytes of the buffers of a workload whose calls need a part of them only.
  private static final long ALLOCATED_BYTES = 4L << 30;

  private static final int MIN_REPLAYS = 21;
  private static final double LONG_GRAPH_MICROS = 6_000;

  /// @return the plan for a CUDA device: calls of one round together touch at least 208 MiB, or the
  ///   cache is emptied before each round
  static Plan cuda(long bytesPerCall) {
    int buffers = (int) Math.max(2, Math.ceilDiv(ROTATED_BYTES, bytesPerCall));
    if (buffers > MAX_BUFFERS) {
      return new Plan(MAX_NODES, MAX_NODES, 1, MIN_REPLAYS, true);
    }
    int nodes = Math.clamp(buffers, MIN_NODES, MAX_NODES);
    int graphs = Math.ceilDiv(buffers, nodes);
    return new Plan(buffers, nodes, graphs, Math.max(MIN_REPLAYS, 2 * graphs), false);
  }

  /// The plan for calls on a CUDA device that need a part of their buffers only: as above, but no
  /// more buffers than four gigabytes hold, the cache emptied before each round where they are
  /// fewer.
  ///
  /// @param bytesPerCall bytes that a call reads and writes
  /// @param allocatedPerCall bytes of its buffers
  static Plan cudaWithin(long bytesPerCall, long allocatedPerCall) {
    Plan plan = cuda(bytesPerCall);
    int most = (int) Math.max(2, ALLOCATED_BYTES / allocatedPerCall);
    if (allocatedPerCall == bytesPerCall || plan.buffers <= most) {
      return plan;
    }
    return new Plan(most, most, 1, MIN_REPLAYS, true);
  }

  /// The plan for a matrix product on a CUDA device: the first, but graphs of calls that take long
  /// have fewer, 4 and more.
  ///
  /// @param bytesPerCall bytes that a call reads and writes
  /// @param estimatedMicros about what a call takes
  static Plan cuda(long bytesPerCall, double estimatedMicros) {
    Plan plan = cuda(bytesPerCall);
    if (plan.graphs > 1) {
      return plan;
    }
    int enough = (int) Math.clamp(Math.ceil(LONG_GRAPH_MICROS / estimatedMicros), 4, MIN_NODES);
    int nodes = Math.max(plan.buffers, Math.min(plan.nodes, enough));
    return new Plan(plan.buffers, nodes, 1, plan.replays, plan.flush);
  }

  /// @return how many buffers of so many bytes together exceed the last-level cache by far
  static int buffers(long bytes) {
    return cuda(bytes).buffers;
  }

  /// @return the plan for the CPU device, whose calls take milliseconds
  static Plan cpu(long bytesPerCall, boolean quick) {
    int buffers = quick ? 2 : Math.clamp(ROTATED_BYTES / bytesPerCall, 2, 64);
    return new Plan(buffers, buffers, 1, quick ? 3 : 15, false);
  }
}
