// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.Device;
import io.github.nvfp4j.Stream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// The benchmark's own check must see a wrong bit, or its "equal" means nothing.
class CheckTest {

  static List<Workload> workloads() {
    return Workloads.all(true);
  }

  @ParameterizedTest
  @MethodSource("workloads")
  void aPoisonedOrChangedOutputIsSeen(Workload workload) {
    try (Device device = Device.cpu();
        Stream stream = device.openStream();
        Arena arena = Arena.ofConfined()) {
      HostData data = new HostData(arena, 7);
      BufferSet inputs = BufferSet.allocate(stream, arena, workload.inputs(), 2, data);
      BufferSet outputs = BufferSet.allocate(stream, arena, workload.outputs(), 2, data);
      assertThat(Check.differs(workload, stream, inputs, outputs, 1))
          .as("never written")
          .startsWith(workload.toString());

      workload.binding().bind(stream, arena, inputs.of(1), outputs.of(1)).run();
      assertThat(Check.differs(workload, stream, inputs, outputs, 1)).isNull();

      MemorySegment last = outputs.of(1).getLast().segment();
      long end = last.byteSize() - 1;
      last.set(ValueLayout.JAVA_BYTE, end, (byte) (last.get(ValueLayout.JAVA_BYTE, end) ^ 1));
      assertThat(Check.differs(workload, stream, inputs, outputs, 1))
          .as("one bit changed")
          .contains("call 1 differs from the CPU device at byte " + end);
    }
  }
}
