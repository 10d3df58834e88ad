// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

/// The 8-bit block scale of NVFP4: sign, four exponent bits of bias 7, three mantissa bits; no
/// infinity.
///
/// Largest value 448 (`0x7e`), smallest normal 2^-6 (`0x08`), smallest subnormal 2^-9 (`0x01`), NaN
/// `0x7f` and `0xff`. A block scale is never negative; the codec handles the sign all the same.
///
/// Source: FP8 E4M3 of the OCP 8-bit Floating Point specification 1.0 (`float8_e4m3fn`); the
/// conversion equals CUDA's `cvt.rn.satfinite.e4m3x2.f32` for every binary32 input.
public final class E4m3 {
  /// The largest finite value.
  public static final float MAX = 448f;

  /// The code of NaN.
  public static final int NAN = 0x7f;

  private E4m3() {}

  /// Rounds to the nearest E4M3 value, ties to even, saturating at ±448 (infinities too).
  ///
  /// @return the code, 0 to 255; `0x7f` for a NaN of either sign
  public static int encode(float x) {
    if (Float.isNaN(x)) {
      return NAN;
    }
    float a = Math.abs(x);
    int sign = E2m1.sign(x) << 7;
    if (a >= MAX) {
      return 0x7e | sign;
    }
    if (a < 0x1p-6f) {
      // Subnormal or zero: a multiple of 2^-9. Scaling by a power of two is exact here, or the
      // value
      // is far below half a unit; rint rounds half to even. 8 units are 2^-6, whose code is 0x08.
      return (int) Math.rint(a * 512d) | sign;
    }
    // Drop 20 of the 23 mantissa bits, to nearest even; a carry moves into the exponent as it
    // should.
    // Exponent biases 127 and 7 differ by 120, which is 960 in units of the third mantissa bit.
    int bits = Float.floatToRawIntBits(a);
    int rounded = (bits + 0x7ffff + (bits >>> 20 & 1) >>> 20) - 960;
    return Math.min(rounded, 0x7e) | sign;
  }

  /// The value of a code: `m * 2^-9` where the exponent field is 0, else `(1 + m/8) * 2^(e - 7)`.
  ///
  /// @param code only its eight low bits are read
  public static float decode(int code) {
    int exponent = code >>> 3 & 15;
    int mantissa = code & 7;
    if (exponent == 15 && mantissa == 7) {
      return Float.NaN;
    }
    float magnitude =
        exponent == 0 ? mantissa * 0x1p-9f : Math.scalb(1f + mantissa / 8f, exponent - 7);
    return (code & 0x80) != 0 ? -magnitude : magnitude;
  }
}
