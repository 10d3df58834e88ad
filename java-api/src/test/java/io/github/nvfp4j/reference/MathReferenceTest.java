// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.stream.IntStream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/// Accuracy and special values of exp, log and log1p. That they are the native library's, bit for
/// bit, is [MathHashTest]'s.
@Tag("cpu")
class MathReferenceTest {
  private static final float INF = Float.POSITIVE_INFINITY;
  private static final float[] NANS = {
    Float.NaN,
    Float.intBitsToFloat(0xffc00000),
    Float.intBitsToFloat(0x7f800001),
    Float.intBitsToFloat(0xff800001),
    Float.intBitsToFloat(0x7fffffff),
    Float.intBitsToFloat(0xffffffff)
  };

  private interface Function32 {
    float apply(float x);
  }

  private interface Function64 {
    double apply(double x);
  }

  @Test
  void errorOfExp() {
    double error = maxError(MathReference::exp, StrictMath::exp);
    assertThat(error).isBetween(0.8, 0.892);
    // The worst of all inputs.
    assertThat(ulps(MathReference.exp(at(0xc0bb2813)), StrictMath.exp(at(0xc0bb2813))))
        .isBetween(0.8913, 0.8914);
  }

  @Test
  void errorOfLog() {
    double error = maxError(MathReference::log, StrictMath::log);
    assertThat(error).isBetween(0.8, 0.957);
    assertThat(ulps(MathReference.log(at(0x3ebfeb68)), StrictMath.log(at(0x3ebfeb68))))
        .isBetween(0.9567, 0.9568);
  }

  @Test
  void errorOfLog1p() {
    double error = maxError(MathReference::log1p, StrictMath::log1p);
    assertThat(error).isBetween(0.8, 0.957);
    assertThat(ulps(MathReference.log1p(at(0xbf200a4c)), StrictMath.log1p(at(0xbf200a4c))))
        .isBetween(0.9567, 0.9568);
    // Either side of where the argument is split.
    for (float x : new float[] {0.5f, -0.25f, 2f, -0.625f, 5f}) {
      for (int step = -100; step <= 100; step++) {
        float y = at(Float.floatToRawIntBits(x) + step);
        assertThat(ulps(MathReference.log1p(y), StrictMath.log1p(y))).isLessThan(0.957);
      }
    }
  }

  private static float at(int bits) {
    return Float.intBitsToFloat(bits);
  }

  /// Over every 1021st bit pattern; 1021 is a prime, so the samples fall differently in each
  /// binade.
  private static double maxError(Function32 f, Function64 exact) {
    int stride = 1021;
    return IntStream.range(0, 64)
        .parallel()
        .mapToDouble(part -> {
          double worst = 0;
          for (long b = part * stride; b < 1L << 32; b += 64L * stride) {
            float x = Float.intBitsToFloat((int) b);
            worst = Math.max(worst, ulps(f.apply(x), exact.apply(x)));
          }
          return worst;
        })
        .max()
        .orElseThrow();
  }

  /// The distance in units in the last place of the true result; infinite where they are not both
  /// NaN, the same infinity or the same zero.
  private static double ulps(float actual, double exact) {
    float rounded = (float) exact;
    if (Double.isNaN(exact)) {
      return Float.floatToRawIntBits(actual) == 0x7fc00000 ? 0 : INF;
    }
    if (Float.isInfinite(rounded) || Float.isInfinite(actual) || exact == 0) {
      return Float.compare(rounded, actual) == 0 ? 0 : INF;
    }
    int exponent = Math.max(Math.getExponent(exact), Float.MIN_EXPONENT);
    return Math.abs(actual - exact) / Math.scalb(1.0, exponent - 23);
  }

  @Test
  void specialValuesOfExp() {
    assertBits(MathReference.exp(0f), 1f);
    assertBits(MathReference.exp(-0f), 1f);
    assertBits(MathReference.exp(Float.MIN_VALUE), 1f);
    assertBits(MathReference.exp(INF), INF);
    assertBits(MathReference.exp(-INF), 0f);
    assertBits(MathReference.exp(Float.MAX_VALUE), INF);
    assertBits(MathReference.exp(-Float.MAX_VALUE), 0f);
    // The last finite result, and the first infinite one.
    assertThat(MathReference.exp(88.72283f)).isFinite();
    assertBits(MathReference.exp(Math.nextUp(88.72283f)), INF);
    // Gradual underflow: the last subnormal result, and the first zero.
    assertBits(MathReference.exp(-103.97207f), Float.MIN_VALUE);
    assertBits(MathReference.exp(Math.nextDown(-103.97208f)), 0f);
    assertThat(MathReference.exp(-90f)).isBetween(Float.MIN_VALUE, Float.MIN_NORMAL);
    for (float nan : NANS) {
      assertNan(MathReference.exp(nan));
    }
  }

  @Test
  void specialValuesOfLog() {
    assertBits(MathReference.log(1f), 0f);
    assertBits(MathReference.log(0f), -INF);
    assertBits(MathReference.log(-0f), -INF);
    assertBits(MathReference.log(INF), INF);
    assertBits(MathReference.log(Float.MIN_VALUE), (float) StrictMath.log(0x1p-149));
    assertNan(MathReference.log(-Float.MIN_VALUE));
    assertNan(MathReference.log(-1f));
    assertNan(MathReference.log(-INF));
    for (float nan : NANS) {
      assertNan(MathReference.log(nan));
    }
  }

  @Test
  void specialValuesOfLog1p() {
    assertBits(MathReference.log1p(0f), 0f);
    assertBits(MathReference.log1p(-0f), -0f);
    for (float x : new float[] {Float.MIN_VALUE, Float.MIN_NORMAL, 1e-30f, 0x1p-26f}) {
      assertBits(MathReference.log1p(x), x);
      assertBits(MathReference.log1p(-x), -x);
    }
    assertBits(MathReference.log1p(-1f), -INF);
    assertBits(MathReference.log1p(INF), INF);
    assertNan(MathReference.log1p(Math.nextDown(-1f)));
    assertNan(MathReference.log1p(-INF));
    assertBits(MathReference.log1p(Float.MAX_VALUE), MathReference.log(Float.MAX_VALUE));
    for (float nan : NANS) {
      assertNan(MathReference.log1p(nan));
    }
  }

  private static void assertBits(float actual, float expected) {
    assertThat(Float.floatToRawIntBits(actual)).isEqualTo(Float.floatToRawIntBits(expected));
  }

  private static void assertNan(float actual) {
    assertThat(Float.floatToRawIntBits(actual)).isEqualTo(0x7fc00000);
  }
}
