// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

/// How the E4M3 block scales of an [Nvfp4Tensor] `[M, K]` lie in memory. There is one scale per
/// block of 16 consecutive elements of a row, so `K / 16` of them per row.
public enum ScaleLayout {
  /// Row-major `[M, K/16]` without padding: the layout of checkpoints and of interchange.
  LINEAR(0),
  /// Tiles of 128 rows by 4 scales, as block-scaled tensor cores read them. With `KP = ceil(K/64)`,
  /// the scale of row `m` and block `s` is at `((m/128)*KP + s/4)*512 + (m%32)*16 + ((m%128)/32)*4
  /// + s%4`; the buffer has `ceil(M/128)*128 * KP*4` bytes and its padding is zero.
  ///
  /// Source: cuBLASLt's `VEC16_UE4M3` layout, the same as CUTLASS' `Sm1xxBlockScaledConfig`.
  SWIZZLED_128X4(1);

  private final int code;

  ScaleLayout(int code) {
    this.code = code;
  }

  /// The constant `NVFP4J_SCALE_LAYOUT_*` of the C ABI.
  public int code() {
    return code;
  }

  /// The size in bytes of the block scales of a tensor `[rows, columns]` in this layout.
  ///
  /// @param rows M, not negative
  /// @param columns K in elements, not negative, a multiple of 16
  /// @throws IllegalArgumentException if a shape is not one, or its size exceeds 2^63 - 1
  public long bytes(long rows, long columns) {
    if (rows < 0) {
      throw new IllegalArgumentException("scaleLayout: rows is " + rows + ", expected at least 0");
    }
    if (columns < 0 || columns % 16 != 0) {
      throw new IllegalArgumentException(
          "scaleLayout: columns is " + columns + ", expected a multiple of 16, at least 0");
    }
    try {
      return switch (this) {
        case LINEAR -> Math.multiplyExact(rows, columns / 16);
        case SWIZZLED_128X4 ->
            Math.multiplyExact(Math.ceilDiv(rows, 128L), Math.ceilDiv(columns, 64L) * 512);
      };
    } catch (ArithmeticException e) {
      throw new IllegalArgumentException(
          "scaleLayout: [" + rows + ", " + columns + "] needs more than 2^63 - 1 bytes of scales",
          e);
    }
  }
}
