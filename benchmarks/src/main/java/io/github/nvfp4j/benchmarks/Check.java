// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.Device;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.SequencedSet;
import java.util.Set;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/// Compares what was measured with the CPU device, bit for bit, and with [Workload.Bounds] where
/// the bits are the device's own.
final class Check {
  private Check() {}

  /// The calls whose outputs are compared: first, middle and last.
  static SequencedSet<Integer> sample(int calls) {
    return new TreeSet<>(List.of(0, calls / 2, calls - 1));
  }

  /// Compares the outputs of one call.
  ///
  /// @return null when every output is what it has to be, else a sentence that says where the first
  ///   difference is
  static @Nullable String differs(
      Workload workload, Stream stream, BufferSet inputs, BufferSet outputs, int call) {
    try (Arena arena = Arena.ofShared()) { // bounds are computed by several threads
      List<Tensor> given = inputs.download(stream, arena, call);
      List<Tensor> actual = outputs.download(stream, arena, call);
      String difference = differsFromCpu(workload, arena, given, actual);
      Workload.Bounds bounds = workload.bounds();
      if (difference == null && bounds != null) {
        difference = bounds.differs(given, actual);
      }
      return difference == null ? null : workload + ": call " + call + ": " + difference;
    }
  }

  /// Repeats one call on the CPU device from the same inputs.
  private static @Nullable String differsFromCpu(
      Workload workload, Arena arena, List<Tensor> given, List<Tensor> actual) {
    Workload.Bounds bounds = workload.bounds();
    Set<String> bounded = bounds == null ? Set.of() : bounds.outputs();
    if (workload.outputs().stream().allMatch(buffer -> bounded.contains(buffer.name()))) {
      return null;
    }
    List<Tensor> expected = new ArrayList<>();
    for (Buffer buffer : workload.outputs()) {
      Tensor tensor = BufferSet.hostTensor(arena, buffer);
      if (buffer.isPartlyNeeded()) { // the rest is to be left as it was
        tensor.segment().fill(Buffer.POISON);
      }
      expected.add(tensor);
    }
    try (Device cpu = Device.cpu();
        Stream stream = cpu.openStream()) {
      workload.binding().bind(stream, arena, given, expected).run();
      stream.synchronize();
    }
    for (int i = 0; i < expected.size(); i++) {
      Buffer buffer = workload.outputs().get(i);
      long at = expected.get(i).segment().mismatch(actual.get(i).segment());
      if (at >= 0 && !bounded.contains(buffer.name())) {
        return String.format(
            "%s differs from the CPU device at byte %d (row %d)",
            buffer.name(), at, at / buffer.rowBytes());
      }
    }
    return null;
  }
}
