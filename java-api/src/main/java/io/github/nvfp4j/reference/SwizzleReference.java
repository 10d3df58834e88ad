// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

/// Block scales between the linear layout `[rows, blocks]` and the tiled 128x4 layout
/// ([io.github.nvfp4j.ScaleLayout#SWIZZLED_128X4]).
///
/// A tile has 128 rows by 4 scales, 512 bytes. Within it the rows `r`, `r + 32`, `r + 64` and `r +
/// 96` lie side by side, four scales each: 16 bytes per `r`. Tiles follow each other along a row of
/// tiles, rows of tiles along M. What the matrix does not cover is padding, and zero.
///
/// Source: the `VEC16_UE4M3` scale layout of cuBLASLt, the same as CUTLASS'
/// `Sm1xxBlockScaledConfig` and torchao's `to_blocked`.
public final class SwizzleReference {
  private static final int TILE_ROWS = 128;
  private static final int TILE_BLOCKS = 4;

  private SwizzleReference() {}

  /// Where the scale of `(row, block)` lies: `((m/128)*KP + s/4)*512 + (m%32)*16 + ((m%128)/32)*4 +
  /// s%4` with `KP = ceil(blocks/4)`.
  ///
  /// @param row m
  /// @param block s, the column of the scale
  /// @param blocks scales in a row: K/16
  /// @return the offset in bytes
  public static long offset(long row, long block, long blocks) {
    long tile = row / TILE_ROWS * tilesPerRow(blocks) + block / TILE_BLOCKS;
    long inTile = row % 32 * 16 + row % TILE_ROWS / 32 * 4 + block % TILE_BLOCKS;
    return tile * (TILE_ROWS * TILE_BLOCKS) + inTile;
  }

  /// The size of the tiled layout in bytes: `ceil(rows/128)*128 * ceil(blocks/4)*4`.
  public static long bytes(long rows, long blocks) {
    return Math.multiplyExact(
        Math.ceilDiv(rows, (long) TILE_ROWS) * TILE_ROWS, tilesPerRow(blocks) * TILE_BLOCKS);
  }

  /// Linear to tiled; padding is zero.
  ///
  /// @param linear `[rows, blocks]`
  /// @param rows M
  /// @param blocks K/16
  /// @return [#bytes(long, long)] bytes
  /// @throws IllegalArgumentException if the array has another size
  public static byte[] swizzle(byte[] linear, int rows, int blocks) {
    check("swizzle: linear", linear.length, (long) rows * blocks);
    byte[] swizzled = new byte[Math.toIntExact(bytes(rows, blocks))];
    for (int m = 0; m < rows; m++) {
      for (int s = 0; s < blocks; s++) {
        swizzled[(int) offset(m, s, blocks)] = linear[m * blocks + s];
      }
    }
    return swizzled;
  }

  /// Tiled to linear; padding is dropped.
  ///
  /// @param swizzled [#bytes(long, long)] bytes
  /// @param rows M
  /// @param blocks K/16
  /// @return `[rows, blocks]`
  /// @throws IllegalArgumentException if the array has another size
  public static byte[] unswizzle(byte[] swizzled, int rows, int blocks) {
    check("unswizzle: swizzled", swizzled.length, bytes(rows, blocks));
    byte[] linear = new byte[Math.multiplyExact(rows, blocks)];
    for (int m = 0; m < rows; m++) {
      for (int s = 0; s < blocks; s++) {
        linear[m * blocks + s] = swizzled[(int) offset(m, s, blocks)];
      }
    }
    return linear;
  }

  private static long tilesPerRow(long blocks) {
    return Math.ceilDiv(blocks, (long) TILE_BLOCKS);
  }

  private static void check(String name, int actual, long expected) {
    if (actual != expected) {
      throw new IllegalArgumentException(name + " has " + actual + " bytes, expected " + expected);
    }
  }
}
