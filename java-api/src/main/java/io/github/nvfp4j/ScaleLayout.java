// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

/// How the E4M3 block scales of an [Nvfp4Tensor] `[M, K]` lie in memory. There is one scale per
/// block of 16 consecutive elements of a row, so `K / 16` of them per row. Quantisation knows
/// [#LINEAR] and [#SWIZZLED_128X4]; the other two are for operands of matrix products.
public enum ScaleLayout {
  /// Row-major `[M, K/16]` without padding: the layout of checkpoints and of interchange.
  LINEAR(0),
  /// Tiles of 128 rows by 4 scales, as block-scaled tensor cores read them. With `KP = ceil(K/64)`,
  /// the scale of row `m` and block `s` is at `((m/128)*KP + s/4)*512 + (m%32)*16 + ((m%128)/32)*4
  /// + s%4`; the buffer has `ceil(M/128)*128 * KP*4` bytes and its padding is zero.
  ///
  /// Source: cuBLASLt's `VEC16_UE4M3` layout, the same as CUTLASS' `Sm1xxBlockScaledConfig`.
  SWIZZLED_128X4(1),
  /// Weights in the order in which the matrix products read them: codes and scales together in the
  /// buffer of codes, as many bytes as the two have in [#LINEAR]; there are no scales apart. Made
  /// by [PrepareWeights], read by [Gemm], [GroupedGemm] and [BatchedGemm]. The order is this
  /// version's own: **never store it**.
  PREPARED(2),
  /// Activations unpacked for the matrix products: in the place of codes the products `e2m1(code) *
  /// e4m3(scale)`, which are exact in BF16, as BF16 `[M, K]`; there are no scales. Made by
  /// [PackActivations], read by [Gemm], [GroupedGemm] and [BatchedGemm].
  PACKED(3);

  private final int code;

  ScaleLayout(int code) {
    this.code = code;
  }

  /// The constant `NVFP4J_SCALE_LAYOUT_*` of the C ABI.
  public int code() {
    return code;
  }

  /// Whether block scales have a buffer of their own in this layout.
  boolean hasScales() {
    return this == LINEAR || this == SWIZZLED_128X4;
  }

  /// The size in bytes of the block scales of a tensor `[rows, columns]` in this layout: 0 for
  /// [#PREPARED] and [#PACKED].
  ///
  /// @param rows M, not negative
  /// @param columns K in elements, not negative, a multiple of 16
  /// @throws IllegalArgumentException if a shape is not one, or its size exceeds 2^63 - 1
  public long bytes(long rows, long columns) {
    check(rows, columns);
    try {
      return switch (this) {
        case LINEAR -> Math.multiplyExact(rows, columns / 16);
        case SWIZZLED_128X4 ->
            Math.multiplyExact(Math.ceilDiv(rows, 128L), Math.ceilDiv(columns, 64L) * 512);
        case PREPARED, PACKED -> 0;
      };
    } catch (ArithmeticException e) {
      throw tooLarge(rows, columns, "scales", e);
    }
  }

  /// The size in bytes of the codes of a tensor `[rows, columns]` in this layout, or of what stands
  /// in their place.
  ///
  /// @param rows M, not negative; of `G` matrices `[M, K]`, `G * M`
  /// @param columns K in elements, not negative, a multiple of 16
  /// @throws IllegalArgumentException if a shape is not one, or its size exceeds 2^63 - 1
  public long codesBytes(long rows, long columns) {
    check(rows, columns);
    try {
      return switch (this) {
        case LINEAR, SWIZZLED_128X4 -> Math.multiplyExact(rows, columns / 2);
        case PREPARED -> Math.multiplyExact(rows, columns / 16 * 9);
        case PACKED -> Math.multiplyExact(rows, Math.multiplyExact(columns, 2L));
      };
    } catch (ArithmeticException e) {
      throw tooLarge(rows, columns, "codes", e);
    }
  }

  private static void check(long rows, long columns) {
    if (rows < 0) {
      throw new IllegalArgumentException("scaleLayout: rows is " + rows + ", expected at least 0");
    }
    if (columns < 0 || columns % 16 != 0) {
      throw new IllegalArgumentException(
          "scaleLayout: columns is " + columns + ", expected a multiple of 16, at least 0");
    }
  }

  private static IllegalArgumentException tooLarge(
      long rows, long columns, String what, ArithmeticException cause) {
    return new IllegalArgumentException(
        "scaleLayout: [" + rows + ", " + columns + "] needs more than 2^63 - 1 bytes of " + what,
        cause);
  }
}
