// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

/// The 4-bit element of NVFP4: sign, two exponent bits of bias 1, one mantissa bit; no infinity, no
/// NaN.
///
/// | code & 7 | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 |
/// |---|---|---|---|---|---|---|---|---|
/// | value | 0 | 0.5 | 1 | 1.5 | 2 | 3 | 4 | 6 |
///
/// Bit 3 is the sign; code 8 is -0.
///
/// Source: FP4 of the OCP Microscaling Formats specification 1.0; the conversion equals CUDA's
/// `__nv_cvt_float_to_fp4` (`cvt.rn.satfinite.e2m1x2.f32`) for every binary32 input.
public final class E2m1 {
  /// The largest finite value.
  public static final float MAX = 6f;

  private static final float[] MAGNITUDES = {0f, 0.5f, 1f, 1.5f, 2f, 3f, 4f, 6f};

  private E2m1() {}

  /// Rounds to the nearest e2m1 value, ties to the even code, saturating.
  ///
  /// The magnitude is the number of midpoints below `|x|`, where a midpoint counts as passed when
  /// the code above it is even. Infinities become ±6; a NaN of either sign becomes +6 (7); the sign
  /// of zero, and of what underflows to it, is kept.
  ///
  /// @return the code, 0 to 15
  public static int encode(float x) {
    if (Float.isNaN(x)) {
      return 7;
    }
    float a = Math.abs(x);
    int magnitude =
        (a > 0.25f ? 1 : 0)
            + (a >= 0.75f ? 1 : 0)
            + (a > 1.25f ? 1 : 0)
            + (a >= 1.75f ? 1 : 0)
            + (a > 2.5f ? 1 : 0)
            + (a >= 3.5f ? 1 : 0)
            + (a > 5f ? 1 : 0);
    return magnitude | sign(x) << 3;
  }

  /// The value of a code.
  ///
  /// @param code only its four low bits are read
  public static float decode(int code) {
    float magnitude = MAGNITUDES[code & 7];
    return (code & 8) != 0 ? -magnitude : magnitude;
  }

  /// 1 if the sign bit is set, as it is for -0.
  static int sign(float x) {
    return Float.floatToRawIntBits(x) >>> 31;
  }
}
