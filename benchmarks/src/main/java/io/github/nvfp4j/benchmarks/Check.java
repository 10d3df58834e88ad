// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.Device;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.SequencedSet;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/// Compares what was measured with the CPU device, bit for bit.
final class Check {
  private Check() {}

  /// The calls whose outputs are compared: first, middle and last.
  static SequencedSet<Integer> sample(int calls) {
    return new TreeSet<>(List.of(0, calls / 2, calls - 1));
  }

  /// Repeats one call on the CPU device from the same inputs.
  ///
  /// @return null when every output byte is equal, else a sentence that says where the first
  ///   difference is
  static @Nullable String differs(
      Workload workload, Stream stream, BufferSet inputs, BufferSet outputs, int call) {
    try (Device cpu = Device.cpu();
        Stream cpuStream = cpu.openStream();
        Arena arena = Arena.ofConfined()) {
      List<Tensor> actual = outputs.download(stream, arena, call);
      List<Tensor> expected = new ArrayList<>();
      for (Buffer buffer : workload.outputs()) {
        expected.add(BufferSet.hostTensor(arena, buffer));
      }
      List<Tensor> given = inputs.download(stream, arena, call);
      workload.binding().bind(cpuStream, arena, given, expected).run();
      cpuStream.synchronize();
      for (int i = 0; i < expected.size(); i++) {
        long at = expected.get(i).segment().mismatch(actual.get(i).segment());
        if (at >= 0) {
          Buffer buffer = workload.outputs().get(i);
          return String.format(
              "%s: %s of call %d differs from the CPU device at byte %d (row %d)",
              workload, buffer.name(), call, at, at / buffer.rowBytes());
        }
      }
      return null;
    }
  }
}
