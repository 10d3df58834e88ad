// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.Device;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.benchmarks.Buffer.Fill;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class IndexDataTest {

  @Test
  void choicesOfARowAreDifferentAndBelowTheBound() {
    for (int[] call : calls(new Buffer("c", DType.I32, 20, 6, Fill.CHOICES, 7), 3)) {
      assertThat(call).hasSize(120).doesNotContain(7).contains(0, 6);
      for (int row = 0; row < 20; row++) {
        assertThat(Arrays.stream(call, 6 * row, 6 * row + 6).distinct().count()).isEqualTo(6);
        assertThat(call[6 * row]).isBetween(0, 6);
      }
    }
  }

  @Test
  void positionsAreEachPlaceOnceAndAscendWithinAnExpert() {
    for (int[] call : calls(new Buffer("p", DType.I32, 30, 4, Fill.POSITIONS, 8), 3)) {
      assertThat(call).containsExactlyInAnyOrder(IntStream.range(0, 120).toArray());
      // A token goes to an expert once: behind a place of its is another token's, of the same
      // expert, or the next one's.
      int[] tokens = new int[120];
      for (int i = 0; i < 120; i++) {
        tokens[call[i]] = i / 4;
      }
      long descents = IntStream.range(1, 120).filter(i -> tokens[i] <= tokens[i - 1]).count();
      assertThat(descents).isLessThan(8);
    }
  }

  @Test
  void countsAreNearTheirBound() {
    for (int[] call : calls(new Buffer("n", DType.I32, 500, 0, Fill.COUNTS, 100), 2)) {
      assertThat(Arrays.stream(call).min()).hasValue(85);
      assertThat(Arrays.stream(call).max()).hasValue(100);
    }
  }

  @Test
  void callsHaveContentsOfTheirOwn() {
    List<int[]> calls = calls(new Buffer("i", DType.I32, 64, 0, Fill.INDICES, 1 << 30), 40);
    for (int i = 1; i < calls.size(); i++) {
      assertThat(calls.get(i)).isNotEqualTo(calls.get(i - 1)).isNotEqualTo(calls.getFirst());
    }
  }

  @Test
  void largeOnesAreAlikeInAllCalls() {
    List<int[]> calls = calls(new Buffer("t", DType.I32, 400_000, 2, Fill.CHOICES, 9), 3);
    assertThat(calls.get(1)).isEqualTo(calls.getFirst());
    assertThat(calls.get(2)).isEqualTo(calls.getFirst());
  }

  @Test
  void i64HasTheSameRange() {
    try (Device device = Device.cpu();
        Stream stream = device.openStream();
        Arena arena = Arena.ofConfined()) {
      Buffer buffer = new Buffer("o", DType.I64, 100, 0, Fill.INDICES, 1L << 40);
      Tensor tensor = allocate(stream, arena, buffer, 1).of(0).getFirst();
      long[] values = tensor.segment().toArray(ValueLayout.JAVA_LONG);
      assertThat(Arrays.stream(values).min().orElseThrow()).isNotNegative();
      assertThat(Arrays.stream(values).max().orElseThrow()).isBetween(1L << 36, (1L << 40) - 1);
    }
  }

  @Test
  void eachCallsBufferBeginsAtAMultipleOf256Bytes() {
    for (long columns : new long[] {0, 1, 3, 6, 64, 448, 7168}) {
      for (DType dtype : DType.values()) {
        for (long rows : new long[] {1, 2, 385, 8192}) {
          Buffer buffer = new Buffer("b", dtype, rows, columns, Fill.POISON);
          assertThat(buffer.pitch() * buffer.rowBytes() % 256).as("%s", buffer).isZero();
          assertThat(buffer.pitch() - rows).isBetween(0L, 255L);
        }
      }
    }
  }

  private static List<int[]> calls(Buffer buffer, int calls) {
    try (Device device = Device.cpu();
        Stream stream = device.openStream();
        Arena arena = Arena.ofConfined()) {
      BufferSet set = allocate(stream, arena, buffer, calls);
      List<int[]> values = new ArrayList<>();
      for (int call = 0; call < calls; call++) {
        MemorySegment segment = set.of(call).getFirst().segment();
        values.add(segment.toArray(ValueLayout.JAVA_INT));
      }
      return values;
    }
  }

  private static BufferSet allocate(Stream stream, Arena arena, Buffer buffer, int calls) {
    return BufferSet.allocate(stream, arena, List.of(buffer), calls, new HostData(arena, 5));
  }
}
