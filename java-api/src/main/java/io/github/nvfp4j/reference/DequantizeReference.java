// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import io.github.nvfp4j.DType;

/// Decoding of NVFP4, the definition that [io.github.nvfp4j.Dequantize] equals bit for bit: `y =
/// e2m1(q) * (e4m3(S) * gs)`, both products rounded to binary32, then `y` to the type asked for.
///
/// Source: the definition of the format; Transformer Engine and FlashInfer multiply in another
/// order and differ by up to two units in the last place.
///
/// Scales are used as they are: a NaN scale (`0x7f`, `0xff`) makes NaNs, a negative one negates,
/// and so do global scales. (A device reports block scales that are NaN or negative.)
public final class DequantizeReference {
  private DequantizeReference() {}

  /// Decodes a matrix.
  ///
  /// @param q `[M, K]`
  /// @param dtype [DType#F32], [DType#BF16] or [DType#F16]: what the values are rounded to
  /// @return `[M, K]`
  /// @throws IllegalArgumentException for another type
  public static float[] dequantize(Nvfp4Matrix q, DType dtype) {
    float[] y = new float[Math.multiplyExact(q.rows(), q.columns())];
    for (int i = 0; i < y.length; i++) {
      float block = E4m3.decode(q.scales()[i / Nvfp4Matrix.BLOCK]);
      float d = block * q.globalScaleOf(i / q.columns());
      y[i] = round(E2m1.decode(PackedCodes.get(q.codes(), i)) * d, dtype);
    }
    return y;
  }

  /// The value rounded to a type, with the one NaN.
  static float round(float y, DType dtype) {
    return switch (dtype) {
      case F32 -> Float.isNaN(y) ? Float.NaN : y;
      case BF16 -> Bf16.round(y);
      case F16 -> F16.round(y);
      default ->
          throw new IllegalArgumentException("dtype is " + dtype + ", expected F32, BF16 or F16");
    };
  }
}
