// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.Recipe;
import io.github.nvfp4j.ZeroScale;
import java.util.Arrays;
import java.util.List;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/// What quantisation promises, on random matrices and at the edges.
@Tag("cpu")
class QuantizeTest {
  private final RandomGenerator random = Seeds.generator(QuantizeTest.class);

  private static Nvfp4Matrix exact(float[] x, int rows, GlobalScale kind) {
    return QuantizeReference.dynamic(x, rows, x.length / rows, kind, Recipe.EXACT, ZeroScale.MIN);
  }

  private static Nvfp4Matrix given(float[] x, float gs, Recipe recipe, ZeroScale zeroScale) {
    return QuantizeReference.given(
        x, 1, x.length, GlobalScale.TENSOR, new float[] {gs}, recipe, zeroScale);
  }

  /// One block: `first` elements, then +0.
  private static float[] block(float... first) {
    return Arrays.copyOf(first, 16);
  }

  private static int code(Nvfp4Matrix q, int i) {
    return PackedCodes.get(q.codes(), i);
  }

  // ---- accuracy
  // ----------------------------------------------------------------------------------

  @ParameterizedTest
  @EnumSource(names = {"TENSOR", "ROW"})
  void gaussianSignalToNoise(GlobalScale kind) {
    float[] x = Seeds.gaussian(random, 1 << 18);
    for (Recipe recipe : Recipe.values()) {
      Nvfp4Matrix q = QuantizeReference.dynamic(x, 256, 1024, kind, recipe, ZeroScale.MIN);
      float[] y = DequantizeReference.dequantize(q, DType.F32);
      double signal = 0;
      double noise = 0;
      for (int i = 0; i < x.length; i++) {
        signal += (double) x[i] * x[i];
        noise += ((double) x[i] - y[i]) * ((double) x[i] - y[i]);
      }
      assertThat(10 * Math.log10(signal / noise)).isBetween(20.3, 20.55);
    }
  }

  /// Where the block scale is normal and does not saturate: |x - y| <= 18/17 * ab / 6.
  @Test
  void errorOfEveryElementIsBounded() {
    float[] x = Seeds.gaussian(random, 1 << 16);
    Nvfp4Matrix q = exact(x, 64, GlobalScale.ROW);
    float[] y = DequantizeReference.dequantize(q, DType.F32);
    for (int b = 0; b < q.scales().length; b++) {
      float amax = 0;
      for (int i = 0; i < 16; i++) {
        amax = Math.max(amax, Math.abs(x[b * 16 + i]));
      }
      assertThat(q.scales()[b] & 0xff).isGreaterThanOrEqualTo(8);
      for (int i = b * 16; i < b * 16 + 16; i++) {
        assertThat(Math.abs((double) x[i] - y[i]))
            .isLessThanOrEqualTo(18d / 17 * amax / 6 * 1.000001);
      }
    }
  }

  // ---- the definition, checked element by element
  // ------------------------------------------------

  /// Codes and scales by search, from the quotients that the formula names.
  @Test
  void codesAndScalesAreNearest() {
    for (int trial = 0; trial < 20_000; trial++) {
      float[] x = new float[16];
      int spread = random.nextInt(1, 40);
      int centre = random.nextInt(-120, 110);
      for (int i = 0; i < 16; i++) {
        x[i] = Math.scalb((float) random.nextGaussian(), centre + random.nextInt(spread));
        if (!Float.isFinite(x[i])) {
          x[i] = 0;
        }
      }
      float gs = Math.scalb(1 + random.nextFloat(), centre + random.nextInt(-12, spread));
      gs = Float.isFinite(gs) && gs > 0 ? gs : 1f;
      Nvfp4Matrix q = given(x, gs, Recipe.EXACT, ZeroScale.FLUSH);
      float amax = 0;
      for (float v : x) {
        amax = Math.max(amax, Math.abs(v));
      }
      float t = Math.min(amax / (6 * gs), 1000f); // saturated by then
      int s = q.scales()[0];
      assertThat(s).as("no sign").isBetween(0, 0x7e);
      double distance = Math.abs(E4m3.decode(s) - (double) t);
      for (int other = Math.max(s - 1, 0); other <= Math.min(s + 1, 0x7e); other++) {
        double here = Math.abs(E4m3.decode(other) - (double) t);
        assertThat(here > distance || here == distance && s % 2 <= other % 2).isTrue();
      }
      float d = E4m3.decode(s) * gs;
      for (int i = 0; i < 16; i++) {
        int c = code(q, i);
        assertThat(c >> 3).isEqualTo(Float.floatToRawIntBits(x[i]) >>> 31);
        if (d == 0) {
          assertThat(c & 7).isZero();
          continue;
        }
        double a = Math.min(Math.abs(x[i] / d), 1000f);
        double error = Math.abs(E2m1.decode(c & 7) - a);
        for (int other = 0; other < 8; other++) {
          double here = Math.abs(E2m1.decode(other) - a);
          assertThat(here > error || here == error && c % 2 <= other % 2).isTrue();
        }
      }
    }
  }

  // ---- idempotence
  // -------------------------------------------------------------------------------

  /// encode(decode(q)) = q for every scale and code, under many global scales.
  @Test
  void codesAreIdempotent() {
    for (int trial = 0; trial < 200; trial++) {
      float gs = Math.scalb(1 + random.nextFloat(), random.nextInt(-100, 100));
      for (int s = 1; s <= 0x7e; s++) {
        float d = E4m3.decode(s) * gs;
        for (int q = 0; q < 16; q++) {
          assertThat(E2m1.encode(E2m1.decode(q) * d / d)).isEqualTo(q);
        }
      }
    }
  }

  @Test
  void decodedMatricesQuantiseToThemselves() {
    float[] x = Seeds.gaussian(random, 1 << 16);
    for (GlobalScale kind : List.of(GlobalScale.TENSOR, GlobalScale.ROW)) {
      Nvfp4Matrix q = exact(x, 64, kind);
      float[] y = DequantizeReference.dequantize(q, DType.F32);
      Nvfp4Matrix again =
          QuantizeReference.given(y, 64, 1024, kind, q.globalScales(), Recipe.EXACT, ZeroScale.MIN);
      assertThat(again.codes()).isEqualTo(q.codes());
      assertThat(again.scales()).isEqualTo(q.scales());
    }
  }

  // ---- symmetries
  // --------------------------------------------------------------------------------

  @Test
  void powersOfTwoOnlyMoveTheGlobalScale() {
    float[] x = Seeds.gaussian(random, 4096);
    Nvfp4Matrix q = exact(x, 16, GlobalScale.ROW);
    for (int power : new int[] {-60, -3, 1, 50}) {
      float[] scaled = new float[x.length];
      for (int i = 0; i < x.length; i++) {
        scaled[i] = Math.scalb(x[i], power);
      }
      Nvfp4Matrix r = exact(scaled, 16, GlobalScale.ROW);
      assertThat(r.codes()).isEqualTo(q.codes());
      assertThat(r.scales()).isEqualTo(q.scales());
      for (int m = 0; m < 16; m++) {
        assertThat(r.globalScales()[m]).isEqualTo(Math.scalb(q.globalScales()[m], power));
      }
    }
  }

  @Test
  void negationFlipsSigns() {
    float[] x = Seeds.gaussian(random, 4096);
    float[] negated = new float[x.length];
    for (int i = 0; i < x.length; i++) {
      negated[i] = -x[i];
    }
    Nvfp4Matrix q = exact(x, 16, GlobalScale.TENSOR);
    Nvfp4Matrix r = exact(negated, 16, GlobalScale.TENSOR);
    assertThat(r.scales()).isEqualTo(q.scales());
    for (int i = 0; i < x.length; i++) {
      assertThat(code(r, i)).isEqualTo(code(q, i) ^ 8);
    }
  }

  /// A row's bits depend on that row alone, and gathering is quantising the gathered matrix.
  @Test
  void rowsAreIndependentAndGather() {
    int rows = 9;
    int columns = 64;
    float[] x = Seeds.gaussian(random, rows * columns);
    Nvfp4Matrix all = exact(x, rows, GlobalScale.ROW);
    int[] ids = {8, 0, -1, 8, 3, 9, Integer.MIN_VALUE};
    float[] gathered = QuantizeReference.gather(x, rows, columns, ids);
    Nvfp4Matrix q = exact(gathered, ids.length, GlobalScale.ROW);
    for (int i = 0; i < ids.length; i++) {
      byte[] codes = Arrays.copyOfRange(q.codes(), i * 32, i * 32 + 32);
      byte[] scales = Arrays.copyOfRange(q.scales(), i * 4, i * 4 + 4);
      if (ids[i] < 0 || ids[i] >= rows) {
        assertThat(codes).containsOnly(0);
        assertThat(scales).containsOnly(0);
        assertThat(q.globalScales()[i]).isEqualTo(1f);
      } else {
        int id = ids[i];
        assertThat(codes).isEqualTo(Arrays.copyOfRange(all.codes(), id * 32, id * 32 + 32));
        assertThat(scales).isEqualTo(Arrays.copyOfRange(all.scales(), id * 4, id * 4 + 4));
        assertThat(q.globalScales()[i]).isEqualTo(all.globalScales()[id]);
      }
    }
  }

  // ---- edges
  // -------------------------------------------------------------------------------------

  @Test
  void zeros() {
    Nvfp4Matrix q = exact(block(0f, -0f), 1, GlobalScale.TENSOR);
    assertThat(q.globalScales()[0]).isEqualTo(1f);
    assertThat(q.scales()[0]).isZero();
    assertThat(code(q, 0)).isZero();
    assertThat(code(q, 1)).isEqualTo(8);
    Nvfp4Matrix te =
        QuantizeReference.dynamic(
            block(0f, -0f), 1, 16, GlobalScale.TENSOR, Recipe.TE_EXACT, ZeroScale.MIN);
    assertThat(te.globalScales()[0]).isEqualTo(1f);
    assertThat(te.scales()[0]).isZero();
    assertThat(te.codes()).containsOnly(0);
  }

  @Test
  void globalScaleUnderflowsToOne() {
    // 1e-45 / 2688 rounds to 0: the global scale is 1 and the block scale the smallest.
    Nvfp4Matrix q = exact(block(Float.MIN_VALUE), 1, GlobalScale.TENSOR);
    assertThat(q.globalScales()[0]).isEqualTo(1f);
    assertThat(q.scales()[0]).isEqualTo((byte) 1);
    assertThat(code(q, 0)).isZero();
  }

  @Test
  void zeroScalePolicy() {
    float[] x = block(1e-6f, -1e-6f, 1e-9f);
    Nvfp4Matrix min = given(x, 1f, Recipe.EXACT, ZeroScale.MIN);
    assertThat(min.scales()[0]).isEqualTo((byte) 1);
    assertThat(code(min, 0)).isZero();
    assertThat(code(min, 1)).isEqualTo(8);
    Nvfp4Matrix flush = given(x, 1f, Recipe.EXACT, ZeroScale.FLUSH);
    assertThat(flush.scales()[0]).isZero();
    assertThat(code(flush, 0)).isZero();
    assertThat(code(flush, 1)).isEqualTo(8);
    // MIN keeps what it can: 0.001 is half a step of 2^-9.
    float[] half = block(0.001f);
    assertThat(E4m3.encode(0.001f / 6)).isZero();
    assertThat(code(given(half, 1f, Recipe.EXACT, ZeroScale.MIN), 0)).isEqualTo(1);
    // TE_EXACT divides by a scale of 0: ±6 over 0, and has no policy.
    for (ZeroScale policy : ZeroScale.values()) {
      Nvfp4Matrix te = given(x, 1f, Recipe.TE_EXACT, policy);
      assertThat(te.scales()[0]).isZero();
      assertThat(code(te, 0)).isEqualTo(7);
      assertThat(code(te, 1)).isEqualTo(15);
      assertThat(code(te, 3)).isZero();
    }
  }

  @Test
  void saturates() {
    Nvfp4Matrix q = given(block(1e9f, -1e9f, 1f), 1f, Recipe.EXACT, ZeroScale.MIN);
    assertThat(q.scales()[0]).isEqualTo((byte) 0x7e);
    assertThat(code(q, 0)).isEqualTo(7);
    assertThat(code(q, 1)).isEqualTo(15);
    assertThat(code(q, 2)).isZero();
    assertThat(DequantizeReference.dequantize(q, DType.F32)[0]).isEqualTo(2688f);
  }

  @Test
  void nonFiniteElements() {
    float inf = Float.POSITIVE_INFINITY;
    float negativeNan = Float.intBitsToFloat(0xffc00000);
    for (Recipe recipe : Recipe.values()) {
      float[] x = block(inf, -inf, Float.NaN, negativeNan, 6f, -3f);
      Nvfp4Matrix q =
          QuantizeReference.dynamic(x, 1, 16, GlobalScale.TENSOR, recipe, ZeroScale.MIN);
      // They count in no maximum.
      Nvfp4Matrix without =
          QuantizeReference.dynamic(
              block(0f, 0f, 0f, 0f, 6f, -3f), 1, 16, GlobalScale.TENSOR, recipe, ZeroScale.MIN);
      assertThat(q.globalScales()).isEqualTo(without.globalScales());
      assertThat(q.scales()).isEqualTo(without.scales());
      assertThat(code(q, 0)).isEqualTo(7);
      assertThat(code(q, 1)).isEqualTo(15);
      assertThat(code(q, 2)).isEqualTo(7);
      assertThat(code(q, 3)).isEqualTo(7);
      assertThat(code(q, 4)).isEqualTo(7);
      assertThat(code(q, 5)).isEqualTo(13);
      // In a block that is otherwise zero, too.
      Nvfp4Matrix alone =
          QuantizeReference.dynamic(
              block(-inf, negativeNan), 1, 16, GlobalScale.TENSOR, recipe, ZeroScale.MIN);
      assertThat(alone.globalScales()[0]).isEqualTo(1f);
      assertThat(alone.scales()[0]).isZero();
      assertThat(code(alone, 0)).isEqualTo(15);
      assertThat(code(alone, 1)).isEqualTo(7);
    }
  }

  @Test
  void badGlobalScalesCountAsOne() {
    float[] x = Seeds.gaussian(random, 16);
    for (Recipe recipe : Recipe.values()) {
      Nvfp4Matrix one = given(x, 1f, recipe, ZeroScale.MIN);
      for (float bad : new float[] {0f, -0f, -1f, Float.NaN, Float.POSITIVE_INFINITY}) {
        Nvfp4Matrix q = given(x, bad, recipe, ZeroScale.MIN);
        assertThat(q.codes()).isEqualTo(one.codes());
        assertThat(q.scales()).isEqualTo(one.scales());
        Bits.assertEqual(q.globalScales(), new float[] {bad}); // only read
      }
    }
  }

  @Test
  void hugeGlobalScales() {
    // 6 * gs overflows: the quotient is 0. d does not.
    Nvfp4Matrix q = given(block(1f, -1f), 3e38f, Recipe.EXACT, ZeroScale.MIN);
    assertThat(q.scales()[0]).isEqualTo((byte) 1);
    assertThat(code(q, 0)).isZero();
    assertThat(code(q, 1)).isEqualTo(8);
    // The largest matrix: A / 2688 is exact enough that nothing overflows.
    Nvfp4Matrix max = exact(block(Float.MAX_VALUE, -Float.MAX_VALUE), 1, GlobalScale.TENSOR);
    assertThat(max.scales()[0]).isEqualTo((byte) 0x7e);
    assertThat(code(max, 0)).isEqualTo(7);
    assertThat(code(max, 1)).isEqualTo(15);
  }

  /// The reciprocal of a given subnormal global scale overflows: TE_EXACT takes the largest float.
  @Test
  void tinyGlobalScales() {
    Nvfp4Matrix zero = given(block(), Float.MIN_VALUE, Recipe.TE_EXACT, ZeroScale.MIN);
    assertThat(zero.scales()[0]).isZero();
    assertThat(zero.codes()).containsOnly(0);
    // 2^-126 * (FLT_MAX / 6) = 4 / 6, whose nearest scale is 0.6875.
    Nvfp4Matrix q = given(block(0x1p-126f), Float.MIN_VALUE, Recipe.TE_EXACT, ZeroScale.MIN);
    assertThat(E4m3.decode(q.scales()[0])).isEqualTo(0.6875f);
    // The reciprocal of a subnormal product overflows too: x * FLT_MAX is 4.
    assertThat(code(q, 0)).isEqualTo(6);
  }

  @Test
  void zeroTimesInfinityIsTheOneNan() {
    Nvfp4Matrix q =
        new Nvfp4Matrix(
            1,
            16,
            new byte[8],
            new byte[] {0x38},
            GlobalScale.ROW,
            new float[] {Float.NEGATIVE_INFINITY});
    for (float y : DequantizeReference.dequantize(q, DType.F32)) {
      assertThat(Float.floatToRawIntBits(y)).isEqualTo(0x7fc00000);
    }
  }

  @Test
  void decodesEveryScaleByte() {
    byte[] scales = new byte[256];
    for (int s = 0; s < 256; s++) {
      scales[s] = (byte) s;
    }
    byte[] codes = new byte[256 * 8];
    for (int i = 0; i < codes.length; i++) {
      codes[i] = (byte) (i % 8 * 2 | i % 8 * 2 + 1 << 4);
    }
    float gs = 0x1.23456p-7f;
    Nvfp4Matrix q = new Nvfp4Matrix(256, 16, codes, scales, GlobalScale.TENSOR, new float[] {gs});
    float[] f32 = DequantizeReference.dequantize(q, DType.F32);
    float[] bf16 = DequantizeReference.dequantize(q, DType.BF16);
    float[] f16 = DequantizeReference.dequantize(q, DType.F16);
    for (int i = 0; i < f32.length; i++) {
      float expected = E2m1.decode(i % 16) * (E4m3.decode(i / 16) * gs);
      if ((i / 16 & 0x7f) == 0x7f) {
        assertThat(Float.floatToRawIntBits(f32[i])).isEqualTo(0x7fc00000);
        assertThat(Bf16.encode(bf16[i])).isEqualTo((short) 0x7fc0);
        assertThat(F16.encode(f16[i])).isEqualTo((short) 0x7e00);
      } else {
        assertThat(f32[i]).isEqualTo(expected);
        assertThat(bf16[i]).isEqualTo(Bf16.round(expected));
        assertThat(f16[i]).isEqualTo(F16.round(expected));
      }
    }
  }

  @Test
  void emptyMatrices() {
    for (GlobalScale kind : List.of(GlobalScale.TENSOR, GlobalScale.ROW)) {
      Nvfp4Matrix noRows =
          QuantizeReference.dynamic(new float[0], 0, 32, kind, Recipe.EXACT, ZeroScale.MIN);
      assertThat(noRows.codes()).isEmpty();
      assertThat(noRows.globalScales()).hasSize(kind == GlobalScale.ROW ? 0 : 1);
      Nvfp4Matrix noColumns =
          QuantizeReference.dynamic(new float[0], 3, 0, kind, Recipe.EXACT, ZeroScale.MIN);
      assertThat(noColumns.scales()).isEmpty();
      assertThat(DequantizeReference.dequantize(noColumns, DType.F32)).isEmpty();
    }
  }

  @Test
  void wrongArguments() {
    assertThatThrownBy(() -> exact(new float[17], 1, GlobalScale.TENSOR))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("quantize: columns is 17, expected a multiple of 16");
    assertThatThrownBy(() ->
            QuantizeReference.dynamic(
                new float[31], 2, 16, GlobalScale.ROW, Recipe.EXACT, ZeroScale.MIN))
        .hasMessage("quantize: x has 31 elements, expected 32");
    assertThatThrownBy(() ->
            QuantizeReference.given(
                new float[32], 2, 16, GlobalScale.ROW, new float[1], Recipe.EXACT, ZeroScale.MIN))
        .hasMessage("quantize: globalScales has 1 elements, expected 2");
    assertThatThrownBy(() ->
            new Nvfp4Matrix(1, 16, new byte[7], new byte[1], GlobalScale.TENSOR, new float[1]))
        .hasMessage("nvfp4Matrix: codes has 7 elements, expected 8");
    assertThatThrownBy(() ->
            DequantizeReference.dequantize(exact(new float[16], 1, GlobalScale.TENSOR), DType.U8))
        .hasMessageContaining("dtype is U8, expected F32, BF16 or F16");
  }
}
