// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import io.github.nvfp4j.GlobalScale;
import java.util.Arrays;

/// An NVFP4 matrix in Java arrays: `x ~ e2m1(code) * (e4m3(block scale) * global scale)`.
///
/// The arrays are not copied: whoever holds one can change it.
///
/// @param rows M
/// @param columns K in elements, a multiple of 16
/// @param codes packed codes `[M, K/2]`, see [PackedCodes]
/// @param scales E4M3 block scales in the linear layout `[M, K/16]`
/// @param globalScale what one element of `globalScales` covers
/// @param globalScales the multipliers: 1, or M of them, or 2 for the halves of the rows
public record Nvfp4Matrix(
    int rows,
    int columns,
    byte[] codes,
    byte[] scales,
    GlobalScale globalScale,
    float[] globalScales) {
  /// Elements that share a block scale.
  public static final int BLOCK = 16;

  /// Checks that the arrays fit the shape.
  ///
  /// @throws IllegalArgumentException if they do not
  public Nvfp4Matrix {
    checkShape("nvfp4Matrix", rows, columns);
    check("codes", codes.length, (long) rows * columns / 2);
    check("scales", scales.length, (long) rows * columns / BLOCK);
    check("globalScales", globalScales.length, globalScale.count(rows));
    if (globalScale == GlobalScale.HALVES && rows % 2 != 0) {
      throw new IllegalArgumentException(
          "nvfp4Matrix: rows is " + rows + ", expected an even number (global scale HALVES)");
    }
  }

  /// The number of block scales in a row.
  public int blocksPerRow() {
    return columns / BLOCK;
  }

  /// The global scale of a row.
  public float globalScaleOf(int row) {
    return switch (globalScale) {
      case TENSOR, GROUP -> globalScales[0];
      case ROW -> globalScales[row];
      case HALVES -> globalScales[row < rows / 2 ? 0 : 1];
    };
  }

  /// Rows `from` to `to - 1`, as a copy; of global scales for the tensor or for each row.
  Nvfp4Matrix rows(int from, int to) {
    return new Nvfp4Matrix(
        to - from,
        columns,
        Arrays.copyOfRange(codes, from * (columns / 2), to * (columns / 2)),
        Arrays.copyOfRange(scales, from * blocksPerRow(), to * blocksPerRow()),
        globalScale,
        globalScale == GlobalScale.ROW ? Arrays.copyOfRange(globalScales, from, to) : globalScales);
  }

  /// Columns `from` to `from + count - 1`, whole blocks, as a copy.
  Nvfp4Matrix columns(int from, int count) {
    byte[] someCodes = new byte[rows * count / 2];
    byte[] someScales = new byte[rows * count / BLOCK];
    for (int m = 0; m < rows; m++) {
      System.arraycopy(codes, (m * columns + from) / 2, someCodes, m * count / 2, count / 2);
      System.arraycopy(
          scales, (m * columns + from) / BLOCK, someScales, m * count / BLOCK, count / BLOCK);
    }
    return new Nvfp4Matrix(rows, count, someCodes, someScales, globalScale, globalScales);
  }

  static void checkShape(String op, int rows, int columns) {
    if (rows < 0 || columns < 0) {
      throw new IllegalArgumentException(
          op + ": shape is [" + rows + ", " + columns + "], expected no negative dimension");
    }
    if (columns % BLOCK != 0) {
      throw new IllegalArgumentException(
          op + ": columns is " + columns + ", expected a multiple of " + BLOCK);
    }
  }

  private static void check(String name, int actual, long expected) {
    if (actual != expected) {
      throw new IllegalArgumentException(
          "nvfp4Matrix: " + name + " has " + actual + " elements, expected " + expected);
    }
  }
}
