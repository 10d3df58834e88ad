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

/// The benchmark's own check must see a wrong bit, or a number out of its bounds, or its "equal"
/// means nothing.
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

      for (int i = 0; i < workload.outputs().size(); i++) {
        String name = workload.outputs().get(i).name();
        MemorySegment output = outputs.of(1).get(i).segment();
        long end = output.byteSize() - 1;
        flipInExponent(output, end);
        assertThat(Check.differs(workload, stream, inputs, outputs, 1))
            .as("one bit of %s changed", name)
            .startsWith(workload + ": call 1: ")
            .satisfies(found -> {
              Workload.Bounds bounds = workload.bounds();
              if (bounds == null || !bounds.outputs().contains(name)) {
                assertThat(found)
                    .contains(": " + name + " differs from the CPU device at byte " + end);
              }
            });
        flipInExponent(output, end);
        assertThat(Check.differs(workload, stream, inputs, outputs, 1)).isNull();
      }
    }
  }

  /// Changes a bit of the last byte: in F32 and BF16 numbers one of the exponent.
  private static void flipInExponent(MemorySegment output, long end) {
    output.set(ValueLayout.JAVA_BYTE, end, (byte) (output.get(ValueLayout.JAVA_BYTE, end) ^ 1));
  }
}
