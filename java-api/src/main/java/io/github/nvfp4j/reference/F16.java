// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

/// IEEE 754 binary16.
public final class F16 {
  private F16() {}

  /// Rounds to the nearest binary16, ties to even, with gradual underflow; overflow gives infinity,
  /// NaN gives `0x7e00`.
  ///
  /// @return the bits
  public static short encode(float x) {
    return Float.isNaN(x) ? 0x7e00 : Float.floatToFloat16(x);
  }

  /// The value of a bit pattern; exact. NaN becomes the quiet NaN `0x7fc00000`.
  public static float decode(short bits) {
    float x = Float.float16ToFloat(bits);
    return Float.isNaN(x) ? Float.NaN : x;
  }

  /// `decode(encode(x))`: the value rounded to binary16.
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
