// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.nvfp4j.ScaleLayout;
import java.util.Arrays;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// The tiled layout of block scales.
@Tag("cpu")
class SwizzleTest {
  private static final Golden GOLDEN = Golden.read("nvfp4/layouts");

  @ParameterizedTest
  @CsvSource({"128,4", "130,17", "1,1", "257,9", "33,48", "384,28", "5,3"})
  void goldenShapes(int rows, int blocks) {
    byte[] linear = GOLDEN.bytes("linear_" + rows + "x" + blocks);
    byte[] tiled = GOLDEN.bytes("sw128x4_" + rows + "x" + blocks);
    assertThat(SwizzleReference.bytes(rows, blocks)).isEqualTo(tiled.length);
    assertThat(SwizzleReference.swizzle(linear, rows, blocks)).isEqualTo(tiled);
    assertThat(SwizzleReference.unswizzle(tiled, rows, blocks)).isEqualTo(linear);
  }

  /// Groups of rows, each from a multiple of 128: each is a tiled matrix of its own.
  @Test
  void goldenGroups() {
    int[] tokens = GOLDEN.ints("grouped_tokens");
    int[] offsets = GOLDEN.ints("grouped_sf_row_offsets");
    byte[] linear = GOLDEN.bytes("grouped_linear");
    byte[] tiled = GOLDEN.bytes("grouped_sw128x4");
    int blocks = GOLDEN.shape("grouped_linear", 1);
    byte[] ours = new byte[tiled.length];
    int row = 0;
    int tiledRow = 0;
    for (int group = 0; group < tokens.length; group++) {
      assertThat(offsets[group]).isEqualTo(tiledRow);
      byte[] part = Arrays.copyOfRange(linear, row * blocks, (row + tokens[group]) * blocks);
      byte[] swizzled = SwizzleReference.swizzle(part, tokens[group], blocks);
      System.arraycopy(swizzled, 0, ours, tiledRow * blocks, swizzled.length);
      row += tokens[group];
      tiledRow += swizzled.length / blocks;
    }
    assertThat(offsets[tokens.length]).isEqualTo(tiledRow);
    assertThat(ours).isEqualTo(tiled);
  }

  /// The inverse as a reshape and a transposition of [MT, KT, 32, 4, 4], written as loops.
  @Test
  void isATransposition() {
    RandomGenerator random = Seeds.generator(SwizzleTest.class);
    for (int trial = 0; trial < 200; trial++) {
      int rows = random.nextInt(1, 400);
      int blocks = random.nextInt(1, 40);
      byte[] linear = new byte[rows * blocks];
      random.nextBytes(linear);
      byte[] tiled = SwizzleReference.swizzle(linear, rows, blocks);
      assertThat(tiled).hasSize((rows + 127) / 128 * 128 * ((blocks + 3) / 4 * 4));
      int i = 0;
      for (int mt = 0; mt < (rows + 127) / 128; mt++) {
        for (int kt = 0; kt < (blocks + 3) / 4; kt++) {
          for (int r = 0; r < 32; r++) {
            for (int quarter = 0; quarter < 4; quarter++) {
              for (int c = 0; c < 4; c++, i++) {
                int m = mt * 128 + quarter * 32 + r;
                int s = kt * 4 + c;
                byte expected = m < rows && s < blocks ? linear[m * blocks + s] : 0;
                assertThat(tiled[i]).isEqualTo(expected);
              }
            }
          }
        }
      }
      assertThat(SwizzleReference.unswizzle(tiled, rows, blocks)).isEqualTo(linear);
    }
  }

  @Test
  void sizesAgreeWithTheLayoutsOwn() {
    for (int rows = 0; rows < 300; rows += 13) {
      for (int blocks = 0; blocks < 30; blocks++) {
        assertThat(SwizzleReference.bytes(rows, blocks))
            .isEqualTo(ScaleLayout.SWIZZLED_128X4.bytes(rows, blocks * 16L));
      }
    }
  }

  @Test
  void offsetsPassTwoToThe31() {
    // Row 2^20, block 2^14 of 2^14 + 1: tiles per row 4097.
    long offset = SwizzleReference.offset(1L << 20, 1L << 14, (1L << 14) + 1);
    assertThat(offset).isEqualTo(((1L << 13) * 4097 + 4096) * 512);
  }

  @Test
  void wrongSizes() {
    assertThatThrownBy(() -> SwizzleReference.swizzle(new byte[7], 2, 4))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("swizzle: linear has 7 bytes, expected 8");
    assertThatThrownBy(() -> SwizzleReference.unswizzle(new byte[8], 2, 4))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("unswizzle: swizzled has 8 bytes, expected 512");
  }
}
