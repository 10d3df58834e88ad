// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.Device;
import io.github.nvfp4j.Stream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// The check of a product must see a wrong element of the tile, or "right" means nothing.
class GemmTileTest {

  static List<GemmCase> products() {
    return GemmPlan.all(true, false);
  }

  @ParameterizedTest
  @MethodSource("products")
  void aPoisonedOrChangedResultIsSeen(GemmCase product) {
    try (Device device = Device.cpu();
        Stream stream = device.openStream();
        Arena arena = Arena.ofConfined()) {
      HostData data = new HostData(arena, 11);
      GemmWeights weights = new GemmWeights(stream, arena, product, true, data);
      GemmOperands operands = new GemmOperands(stream, arena, product, weights, 3, data);
      for (int call = 0; call < 3; call++) {
        assertThat(GemmTile.differs(stream, operands, call))
            .as("never written")
            .startsWith(product + ": call " + call);
        operands.call(stream, call).run();
        assertThat(GemmTile.differs(stream, operands, call)).isNull();
      }
      // The last element of D is in every tile: a larger value than any rounding makes.
      MemorySegment d = operands.result(1).segment();
      d.set(ValueLayout.JAVA_SHORT_UNALIGNED, d.byteSize() - 2, (short) 0x7F00);
      assertThat(GemmTile.differs(stream, operands, 1)).contains("values differ");
    }
  }

  @Test
  void rowsGoToOtherExpertsInEachCall() {
    GemmCase product = GemmCase.grouped("w13", 64, 6, 1, 6144, 7168);
    assertThat(GemmOperands.firstExpert(product, 0)).isZero();
    assertThat(GemmOperands.firstExpert(product, 9)).isEqualTo(54);
    assertThat(GemmOperands.firstExpert(product, 10)).isZero();
    assertThat(GemmOperands.firstExpert(GemmCase.grouped("w13", 64, 64, 9, 8, 16), 5)).isZero();
  }

  @Test
  void aSampleHasBothEnds() {
    assertThat(GemmTile.sample(3, 6)).containsExactly(0, 1, 2);
    assertThat(GemmTile.sample(65536, 40))
        .hasSize(40)
        .doesNotHaveDuplicates()
        .isSorted()
        .startsWith(0)
        .endsWith(65535);
  }
}
