// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

/// exp, log and log1p as this library defines them on every device.
///
/// Each is one fixed sequence of binary32 additions, multiplications and fused multiply-adds, and
/// of integer operations on bit patterns: the transcription, operation for operation, of
/// `native/src/common/math.hpp`, which says why each constant is what it is. Platform functions
/// (`Math.exp`, libm, CUDA's `expf`) differ from each other in the last bits; these cannot.
///
/// Largest error over all 2^32 inputs, in units in the last place of the true result (2^-149 where
/// that is subnormal): exp 0.892, log 0.957, log1p 0.957.
///
/// A result that is NaN is `0x7fc00000`.
public final class MathReference {
  private static final int NAN = 0x7fc00000;
  private static final int INFINITY = 0x7f800000;
  private static final int NEGATIVE_INFINITY = 0xff800000;
  private static final int MAGNITUDE = 0x7fffffff;

  private MathReference() {}

  /// e^x: `exp(±0) = 1`, `exp(-inf) = +0`, `exp(inf) = inf`. Overflows to infinity above 88.72284,
  /// underflows gradually, to +0 below -103.9721.
  public static float exp(float x) {
    // Beyond these the result is inf or 0 anyway. NaN passes.
    float c = x > 89f ? 89f : x;
    c = c < -104f ? -104f : c;
    // n = c / ln 2 rounded to an integer.
    float t = Math.fma(c, 0x1.715476p+0f, 12582912f);
    int n = Float.floatToRawIntBits(t) - 0x4b400000;
    float k = t + -12582912f;
    // r = c - n * ln 2
    float r = Math.fma(k, -0x1.62e400p-1f, c);
    r = Math.fma(k, -0x1.7f7d1cp-20f, r);
    // e^r = 1 + r + r^2 * Q(r)
    float q = 0x1.6a2408p-10f;
    q = Math.fma(q, r, 0x1.1239ccp-7f);
    q = Math.fma(q, r, 0x1.5558d2p-5f);
    q = Math.fma(q, r, 0x1.555492p-3f);
    q = Math.fma(q, r, 0x1.fffffcp-2f);
    q = Math.fma(q, r, 1f);
    float p = Math.fma(q, r, 1f);
    // Times 2^n in two halves: the first product is exact, the second overflows or rounds once.
    int low = n >> 1;
    int high = n - low;
    float y = p * Float.intBitsToFloat(low + 127 << 23);
    y = y * Float.intBitsToFloat(high + 127 << 23);
    return Float.isNaN(y) ? Float.intBitsToFloat(NAN) : y;
  }

  /// Natural logarithm: `log(1) = +0`, `log(±0) = -inf`, `log(inf) = inf`, NaN for what is
  /// negative.
  public static float log(float x) {
    int b = Float.floatToRawIntBits(x);
    boolean subnormal = b >= 0 && b < 0x00800000; // or +0
    int normal = subnormal ? Float.floatToRawIntBits(x * 0x1p23f) : b;
    int shifted = split(normal);
    float f = Float.intBitsToFloat(normal - shifted) + -1f; // exact
    float y = logOf(f, shifted - (subnormal ? 23 << 23 : 0)); // 2^23 taken back
    int result = Float.floatToRawIntBits(y);
    result = b < 0 || b > INFINITY ? NAN : result;
    result = b == INFINITY ? INFINITY : result;
    result = (b & MAGNITUDE) == 0 ? NEGATIVE_INFINITY : result;
    return Float.intBitsToFloat(result);
  }

  /// log(1 + x): `log1p(±0) = ±0`, tiny values come back unchanged, `log1p(-1) = -inf`, `log1p(inf)
  /// = inf`, NaN below -1.
  public static float log1p(float x) {
    int b = Float.floatToRawIntBits(x);
    // f = 2^-k * (1 + x) - 1, without the rounding of 1 + x
    int shifted = split(Float.floatToRawIntBits(1f + x));
    shifted = b >= 0 && b <= 0x3f000000 ? 0 : shifted; // +0 <= x <= 0.5
    float f =
        Float.intBitsToFloat(b - shifted)
            + Math.fma(0.25f, Float.intBitsToFloat(0x40800000 - shifted), -1f);
    int result = Float.floatToRawIntBits(logOf(f, shifted));
    result = (b & MAGNITUDE) == 0 ? b : result; // keeps -0
    result = b == INFINITY ? INFINITY : result;
    result = b == 0xbf800000 ? NEGATIVE_INFINITY : result; // x = -1
    result = x < -1f || Float.isNaN(x) ? NAN : result;
    return Float.intBitsToFloat(result);
  }

  /// k << 23 where a number with these bits is 2^k * m with m in [3/4, 3/2).
  private static int split(int bits) {
    return bits - 0x3f400000 & 0xff800000;
  }

  /// log(1 + f) + k * ln 2 for f in [-1/4, 1/2] and shifted = k << 23, as f + f^2 * Q(f) + k * ln
  /// 2.
  private static float logOf(float f, int shifted) {
    float q = -0x1.6fe6dcp-5f;
    q = Math.fma(q, f, 0x1.abf72cp-4f);
    q = Math.fma(q, f, -0x1.0d9068p-3f);
    q = Math.fma(q, f, 0x1.2897eap-3f);
    q = Math.fma(q, f, -0x1.54f25ap-3f);
    q = Math.fma(q, f, 0x1.996864p-3f);
    q = Math.fma(q, f, -0x1.000026p-2f);
    q = Math.fma(q, f, 0x1.5555a6p-2f);
    q = Math.fma(q, f, -0.5f);
    float r = Math.fma(q, f * f, f);
    float k = shifted >> 23;
    return Math.fma(k, 0x1.62e430p-1f, r);
  }
}
