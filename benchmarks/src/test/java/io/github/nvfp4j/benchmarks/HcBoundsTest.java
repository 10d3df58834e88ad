// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.Device;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// The bounds are narrow: an error that is small beside the results lies outside of them. Any token
/// is compared.
class HcBoundsTest {

  static List<Workload> workloads() {
    return Workloads.all(true).stream().filter(w -> w.bounds() instanceof HcBounds).toList();
  }

  @ParameterizedTest
  @MethodSource("workloads")
  void aSmallErrorOfAnyTokenIsSeen(Workload workload) {
    try (Device device = Device.cpu();
        Stream stream = device.openStream();
        Arena arena = Arena.ofShared()) {
      HostData data = new HostData(arena, 11);
      List<Tensor> inputs = BufferSet.allocate(stream, arena, workload.inputs(), 1, data).of(0);
      List<Tensor> outputs = BufferSet.allocate(stream, arena, workload.outputs(), 1, data).of(0);
      workload.binding().bind(stream, arena, inputs, outputs).run();
      Workload.Bounds bounds = workload.bounds();
      assertThat(bounds).isNotNull();
      assertThat(bounds.differs(inputs, outputs)).isNull();

      List<String> seen = new ArrayList<>();
      for (int i = 0; i < outputs.size(); i++) {
        Buffer buffer = workload.outputs().get(i);
        if (!bounds.outputs().contains(buffer.name())) {
          continue;
        }
        for (long token : new long[] {0, 13, workload.rows() - 1}) {
          MemorySegment row =
              outputs.get(i).segment().asSlice(token * buffer.rowBytes(), buffer.rowBytes());
          byte[] right = row.toArray(ValueLayout.JAVA_BYTE);
          disturb(buffer, row, workload.variant().contains("norm") ? 4 : 2);
          assertThat(bounds.differs(inputs, outputs))
              .as("token %d", token)
              .startsWith(buffer.name());
          row.copyFrom(MemorySegment.ofArray(right));
        }
        seen.add(buffer.name());
      }
      assertThat(seen).containsExactlyInAnyOrderElementsOf(bounds.outputs());
      assertThat(bounds.differs(inputs, outputs)).isNull();
    }
  }

  /// Makes the largest F32 of a row larger by a ten-thousandth, or its largest BF16 by some units
  /// in the last place, or changes a bit.
  ///
  /// @param units 2 where one rounding is in a number, 4 where it was rounded before the norm too
  private static void disturb(Buffer buffer, MemorySegment row, int units) {
    switch (buffer.dtype()) {
      case F32 -> {
        int largest = 0;
        for (int i = 0; i < row.byteSize() / 4; i++) {
          float x = row.getAtIndex(ValueLayout.JAVA_FLOAT, i);
          largest = x > row.getAtIndex(ValueLayout.JAVA_FLOAT, largest) ? i : largest;
        }
        float x = row.getAtIndex(ValueLayout.JAVA_FLOAT, largest);
        row.setAtIndex(ValueLayout.JAVA_FLOAT, largest, x * 1.0001f);
      }
      case BF16 -> {
        int largest = 0;
        for (int i = 0; i < row.byteSize() / 2; i++) {
          short x = row.getAtIndex(ValueLayout.JAVA_SHORT, i);
          boolean larger =
              (x & 0x7FFF) > (row.getAtIndex(ValueLayout.JAVA_SHORT, largest) & 0x7FFF);
          largest = larger ? i : largest;
        }
        short x = row.getAtIndex(ValueLayout.JAVA_SHORT, largest);
        row.setAtIndex(ValueLayout.JAVA_SHORT, largest, (short) (x + units));
      }
      default -> row.set(ValueLayout.JAVA_BYTE, 0, (byte) (row.get(ValueLayout.JAVA_BYTE, 0) ^ 1));
    }
  }
}
