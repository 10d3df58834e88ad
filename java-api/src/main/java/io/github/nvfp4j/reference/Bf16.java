// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

/// bfloat16: the upper 16 bits of a binary32.
public final class Bf16 {
  private Bf16() {}

  /// Rounds to the nearest bfloat16, ties to even; overflow gives infinity, NaN gives `0x7fc0`.
  ///
  /// Half a unit less one, plus the lowest bit that stays, makes truncation round half to even; a
  /// carry runs into the exponent, up to infinity.
  ///
  /// @return the bits
  public static short encode(float x) {
    if (Float.isNaN(x)) {
      return 0x7fc0;
    }
    int bits = Float.floatToRawIntBits(x);
    return (short) (bits + 0x7fff + (bits >>> 16 & 1) >>> 16);
  }

  /// The value of a bit pattern; exact. NaN becomes the quiet NaN `0x7fc00000`.
  public static float decode(short bits) {
    float x = Float.intBitsToFloat(bits << 16);
    return Float.isNaN(x) ? Float.NaN : x;
  }

  /// `decode(encode(x))`: the value rounded to bfloat16.
  public static float round(float x) {
    return decode(encode(x));
  }

  /// Encodes every element.
  public static short[] encode(float[] x) {
    short[] bits = new short[x.length];
    for (int i = 0; i < x.length; i++) {
      bits[i] = encode(x[i]);
    }
    return bits;
  }

  /// Decodes every element.
  public static float[] decode(short[] bits) {
    float[] x = new float[bits.length];
    for (int i = 0; i < bits.length; i++) {
      x[i] = decode(bits[i]);
    }
    return x;
  }
}
