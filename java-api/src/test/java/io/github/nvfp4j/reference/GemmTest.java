// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.Recipe;
import io.github.nvfp4j.SwigluColumns;
import io.github.nvfp4j.ZeroScale;
import java.math.BigDecimal;
import java.util.Arrays;
import java.util.List;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// The matrix products against the goldens, against decimal arithmetic, and their certificate.
@Tag("cpu")
class GemmTest {
  private static final Golden GOLDEN = Golden.read("nvfp4/gemm");

  private final RandomGenerator random = Seeds.generator(GemmTest.class);

  private static Nvfp4Matrix golden(String prefix, String gs) {
    int rows = GOLDEN.shape(prefix + "_packed", 0);
    int columns = 2 * GOLDEN.shape(prefix + "_packed", 1);
    float[] scales = gs == null ? new float[] {1} : GOLDEN.floats(gs);
    return new Nvfp4Matrix(
        rows,
        columns,
        GOLDEN.bytes(prefix + "_packed"),
        GOLDEN.bytes(prefix + "_scale"),
        GlobalScale.TENSOR,
        scales);
  }

  /// Any codes, block scales from `from` to `to`.
  private Nvfp4Matrix any(int rows, int columns, int from, int to, GlobalScale kind) {
    byte[] codes = new byte[rows * columns / 2];
    random.nextBytes(codes);
    byte[] scales = new byte[rows * columns / 16];
    for (int i = 0; i < scales.length; i++) {
      scales[i] = (byte) random.nextInt(from, to + 1);
    }
    float[] gs = new float[(int) kind.count(rows)];
    for (int i = 0; i < gs.length; i++) {
      gs[i] = (1 + random.nextFloat()) * 0x1p-12f;
    }
    return new Nvfp4Matrix(rows, columns, codes, scales, kind, gs);
  }

  @ParameterizedTest
  @ValueSource(strings = {"5x8x64", "16x32x256"})
  void goldens(String shape) {
    Nvfp4Matrix a = golden(shape + ".a", shape + ".a_gs");
    Nvfp4Matrix w = golden(shape + ".b", shape + ".b_ws2");
    assertThat(GemmReference.accumulators(a, w)).isEqualTo(GOLDEN.longs(shape + ".acc_i64_2e-20"));
    assertThat(GemmReference.magnitudes(a, w)).isEqualTo(GOLDEN.longs(shape + ".absacc_i64_2e-20"));
    GemmProduct product = GemmReference.gemm(a, w);
    double[] d = GOLDEN.doubles(shape + ".d_f64");
    float alpha = GOLDEN.floats(shape + ".alpha")[0];
    assertThat(a.globalScales()[0] * w.globalScales()[0]).isEqualTo(alpha);
    short[] bf16 = GOLDEN.shorts(shape + ".d_bf16_bits");
    float[] rounded = product.expect(DType.BF16, 0).values();
    int different = 0;
    for (int i = 0; i < d.length; i++) {
      // The golden's alpha may be the double product of the scales.
      assertThat(product.exact()[i]).isCloseTo(d[i], within(0x1p-23 * Math.abs(d[i])));
      assertThat(product.values()[i])
          .isCloseTo((float) d[i], within((float) (0x1p-22 * Math.abs(d[i]))));
      int steps = Math.abs(Bf16.encode(rounded[i]) - bf16[i]);
      assertThat(steps).as("BF16 steps at %d", i).isLessThanOrEqualTo(1);
      different += steps;
    }
    assertThat(different).as("double roundings").isLessThanOrEqualTo(2);
    float[] transformerEngine = GOLDEN.floats(shape + ".te_qgemm_f32");
    for (int i = 0; i < d.length; i++) {
      // Its alpha is another product of the same scales, its sum in another order.
      double tolerance = 0x1p-21 * Math.abs(d[i]) + a.columns() * 0x1p-24 * product.magnitudes()[i];
      assertThat((double) transformerEngine[i]).isCloseTo(d[i], within(tolerance));
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"5x8x64", "16x32x256"})
  void goldensOfBf16Activations(String shape) {
    short[] bits = GOLDEN.shorts(shape + ".a_bf16_bits");
    Nvfp4Matrix w = golden(shape + ".b", shape + ".b_ws2");
    int rows = GOLDEN.shape(shape + ".a_bf16_bits", 0);
    GemmProduct product = GemmReference.gemm(Bf16.decode(bits), rows, w.columns(), w);
    double[] d = GOLDEN.doubles(shape + ".w4a16_f64");
    for (int i = 0; i < d.length; i++) {
      assertThat(product.exact()[i]).isCloseTo(d[i], within(0x1p-45 * product.magnitudes()[i]));
      assertThat(product.certain()[i]).isFalse();
    }
  }

  private static org.assertj.core.data.Offset<Double> within(double x) {
    return org.assertj.core.data.Offset.offset(x);
  }

  private static org.assertj.core.data.Offset<Float> within(float x) {
    return org.assertj.core.data.Offset.offset(x);
  }

  @Test
  void theAdversarialGoldenIsNotCertain() {
    Nvfp4Matrix a = golden("adversarial.a", null);
    Nvfp4Matrix w = golden("adversarial.b", null);
    assertThat(GemmReference.accumulators(a, w))
        .isEqualTo(GOLDEN.longs("adversarial.acc_i64_2e-20"));
    GemmProduct product = GemmReference.gemm(a, w);
    assertThat(product.exact()[0]).isEqualTo(GemmReference.accumulators(a, w)[0] * 0x1p-20);
    assertThat(product.certain()[0]).isFalse();
    // F32 in order loses the small ones, and is within the bound all the same.
    float sum = 0;
    for (int k = 0; k < a.columns(); k++) {
      sum += value(a, 0, k) * value(w, 0, k);
    }
    assertThat(sum).isNotEqualTo(product.values()[0]);
    assertThat(product.expect(DType.F32, GemmReference.gammaOfCpu(a.columns())).allows(0, sum))
        .isTrue();
    assertThat(product.expect(DType.F32, 0x1p-48).allows(0, sum)).isFalse();
  }

  private static float value(Nvfp4Matrix q, int row, int k) {
    int i = row * q.columns() + k;
    return E2m1.decode(PackedCodes.get(q.codes(), i)) * E4m3.decode(q.scales()[i / 16]);
  }

  @Test
  void accumulatorsAreExact() {
    Nvfp4Matrix a = any(3, 96, 0, 0x7e, GlobalScale.ROW);
    Nvfp4Matrix w = any(4, 96, 0, 0x7e, GlobalScale.HALVES);
    GemmProduct product = GemmReference.gemm(a, w);
    for (int m = 0; m < 3; m++) {
      for (int n = 0; n < 4; n++) {
        BigDecimal sum = BigDecimal.ZERO;
        BigDecimal magnitude = BigDecimal.ZERO;
        for (int k = 0; k < 96; k++) {
          BigDecimal term = new BigDecimal(value(a, m, k)).multiply(new BigDecimal(value(w, n, k)));
          sum = sum.add(term);
          magnitude = magnitude.add(term.abs());
        }
        int i = m * 4 + n;
        BigDecimal unit = new BigDecimal(0x1p-20);
        assertThat(sum)
            .isEqualByComparingTo(
                new BigDecimal(GemmReference.accumulators(a, w)[i]).multiply(unit));
        assertThat(magnitude)
            .isEqualByComparingTo(new BigDecimal(GemmReference.magnitudes(a, w)[i]).multiply(unit));
        float alpha = a.globalScales()[m] * w.globalScales()[n < 2 ? 0 : 1];
        assertThat(product.values()[i]).isEqualTo(alpha * sum.floatValue());
      }
    }
  }

  /// Where the certificate holds, sums in any order, in F32, are the exact one. One binade and K =
  /// 512: it holds always.
  @Test
  void certainSumsDoNotDependOnTheOrder() {
    int certain = 0;
    for (int round = 0; round < 40; round++) {
      boolean oneBinade = round < 10;
      int columns = oneBinade ? 512 : 16 << random.nextInt(8);
      int binade = 8 * random.nextInt(1, 15);
      int spread = random.nextInt(1, 40);
      Nvfp4Matrix a =
          oneBinade
              ? any(3, columns, binade, binade + 7, GlobalScale.TENSOR)
              : any(3, columns, Math.max(1, 64 - spread), 64 + spread, GlobalScale.TENSOR);
      Nvfp4Matrix w =
          oneBinade
              ? any(8, columns, 8 * 14, 8 * 14 + 7, GlobalScale.TENSOR)
              : any(8, columns, Math.max(1, 64 - spread), 64 + spread, GlobalScale.TENSOR);
      boolean[] holds = GemmReference.certain(a, w);
      long[] exact = GemmReference.accumulators(a, w);
      for (int i = 0; i < holds.length; i++) {
        assertThat(holds[i] || !oneBinade).as("K = 512 in one binade").isTrue();
        if (holds[i]) {
          certain++;
          float[] terms = new float[columns];
          for (int k = 0; k < columns; k++) {
            terms[k] = value(a, i / 8, k) * value(w, i % 8, k);
          }
          float inOrder = 0;
          for (float term : terms) {
            inOrder += term;
          }
          Arrays.sort(terms);
          float sorted = 0;
          for (float term : terms) {
            sorted += term;
          }
          assertThat((double) inOrder).isEqualTo(exact[i] * 0x1p-20);
          assertThat((double) sorted).isEqualTo(exact[i] * 0x1p-20);
        }
      }
    }
    assertThat(certain).isGreaterThan(240);
  }

  /// A sum that F32 cannot hold is never called certain.
  @Test
  void aSumBeyondF32IsNotCertain() {
    // The largest products, and one block of the smallest scale: Q is that one's.
    byte[] codes = new byte[8 * 1024];
    Arrays.fill(codes, (byte) 0x77);
    byte[] scales = new byte[1024];
    Arrays.fill(scales, (byte) 0x7e);
    scales[1023] = 0x01;
    Nvfp4Matrix a = new Nvfp4Matrix(1, 16384, codes, scales, GlobalScale.TENSOR, new float[] {1});
    assertThat(GemmReference.certain(a, a)[0]).isFalse();
    long exact = GemmReference.accumulators(a, a)[0];
    assertThat((long) (float) exact).isNotEqualTo(exact);
  }

  @ParameterizedTest
  @ValueSource(ints = {0x7f, 0xff, 0x80, 0x81, 0xb8})
  void aBadBlockScaleIsNaN(int bad) {
    Nvfp4Matrix a = any(3, 32, 1, 0x7e, GlobalScale.TENSOR);
    Nvfp4Matrix w = any(8, 32, 1, 0x7e, GlobalScale.TENSOR);
    a.scales()[2 * 2 + 1] = (byte) bad;
    w.scales()[5 * 2] = (byte) bad;
    GemmProduct product = GemmReference.gemm(a, w);
    GemmExpectation d = product.expect(DType.BF16, 1);
    for (int i = 0; i < 24; i++) {
      boolean nan = i / 8 == 2 || i % 8 == 5;
      assertThat(Float.isNaN(d.values()[i])).as("element %d", i).isEqualTo(nan);
      assertThat(GemmReference.accumulators(a, w)[i] == GemmReference.NAN).isEqualTo(nan);
      assertThat(product.certain()[i] && nan).isFalse();
      assertThat(d.allows(i, Float.NaN)).isEqualTo(nan);
      assertThat(d.allows(i, 1e30f)).isFalse();
    }
    GemmProduct bf16 = GemmReference.gemm(new float[32], 1, 32, w);
    assertThat(bf16.values()[5]).isNaN();
    assertThat(bf16.values()[4]).isZero();
  }

  @Test
  void groupsAreProductsOfTheirRows() {
    Nvfp4Matrix a = any(9, 64, 40, 47, GlobalScale.ROW);
    List<Nvfp4Matrix> w =
        List.of(
            any(8, 64, 40, 47, GlobalScale.GROUP),
            any(8, 64, 40, 47, GlobalScale.GROUP),
            any(8, 64, 40, 47, GlobalScale.GROUP));
    GemmProduct product = GemmReference.grouped(a, w, new int[] {1, 4, 4, 8});
    for (int m = 0; m < 9; m++) {
      float[] row = Arrays.copyOfRange(product.values(), m * 8, m * 8 + 8);
      if (m == 0 || m == 8) {
        assertThat(row).containsOnly(Float.NaN);
      } else {
        GemmProduct alone = GemmReference.gemm(a.rows(m, m + 1), w.get(m < 4 ? 0 : 2));
        Bits.assertEqual(row, alone.values());
      }
    }
    GemmProduct whole = GemmReference.gemm(a, w.get(1));
    Bits.assertEqual(
        GemmReference.grouped(a, w.subList(1, 2), new int[] {0, 9}).values(), whole.values());
    assertThatThrownBy(() -> GemmReference.grouped(a, w, new int[] {1, 0, 4, 8}))
        .hasMessage(
            "gemm: offsets are [1, 0, 4, 8], expected to ascend from at least 0 to at most 9");
    assertThatThrownBy(() -> GemmReference.grouped(a, w, new int[] {0, 9}))
        .hasMessage("gemm: offsets has 2 elements, expected 4");
  }

  @Test
  void batchesAreProductsOfTheirColumns() {
    Nvfp4Matrix a = any(5, 96, 40, 47, GlobalScale.ROW);
    List<Nvfp4Matrix> w =
        List.of(any(8, 48, 40, 47, GlobalScale.GROUP), any(8, 48, 40, 47, GlobalScale.GROUP));
    GemmProduct product = GemmReference.batched(a, w);
    float[] values = DequantizeReference.dequantize(a, DType.F32);
    GemmProduct approximate = GemmReference.batched(Bf16.decode(Bf16.encode(values)), 5, 96, w);
    for (int g = 0; g < 2; g++) {
      GemmProduct alone = GemmReference.gemm(a.columns(48 * g, 48), w.get(g));
      for (int i = 0; i < 40; i++) {
        int at = i / 8 * 16 + g * 8 + i % 8;
        assertThat(product.values()[at]).isEqualTo(alone.values()[i]);
        assertThat(approximate.exact()[at])
            .isCloseTo(product.exact()[at], within(0x1p-7 * product.magnitudes()[at]));
      }
    }
  }

  @Test
  void swigluIsOfTheRealValues() {
    Nvfp4Matrix a = any(4, 64, 40, 47, GlobalScale.ROW);
    Nvfp4Matrix w = any(16, 64, 40, 47, GlobalScale.HALVES);
    float[] weight = {1, 0.5f, 0, -2};
    GemmProduct product = GemmReference.gemm(a, w);
    assertThat(product.allCertain()).isTrue();
    GemmExpectation d = product.expectSwiglu(weight, 1f, 1);
    Bits.assertEqual(
        d.values(),
        SwigluReference.swiglu(
            product.values(), 4, 8, weight, SwigluColumns.HALVES, 1f, DType.BF16));
    assertThat(d.tolerances()).containsOnly(0);
    for (int i = 0; i < 32; i++) {
      assertThat((double) d.values()[i])
          .isCloseTo(d.exact()[i], within(0x1p-8 * Math.abs(d.exact()[i]) + 1e-30));
    }
  }

  /// What the tolerances of SwiGLU must cover: F32 sums in order of a wide range of scales.
  @Test
  void swigluOfUncertainSumsIsWithinItsTolerance() {
    Nvfp4Matrix a = any(6, 2048, 1, 0x7e, GlobalScale.ROW);
    Nvfp4Matrix w = any(16, 2048, 1, 0x7e, GlobalScale.TENSOR);
    GemmProduct product = GemmReference.gemm(a, w);
    float[] sums = new float[96];
    for (int i = 0; i < 96; i++) {
      float sum = 0;
      for (int k = 0; k < 2048; k++) {
        sum += value(a, i / 16, k) * value(w, i % 16, k);
      }
      sums[i] = a.globalScales()[i / 16] * w.globalScales()[0] * sum;
    }
    double gamma = GemmReference.gammaOfCpu(2048);
    assertThat(product.expect(DType.F32, gamma).difference(sums)).isNull();
    for (float limit : new float[] {0, 10}) {
      float[] y = SwigluReference.swiglu(sums, 6, 8, null, SwigluColumns.HALVES, limit, DType.BF16);
      assertThat(product.expectSwiglu(null, limit, gamma).difference(y)).isNull();
    }
  }

  @Test
  void differencesAreTold() {
    GemmExpectation d =
        new GemmExpectation(
            new float[] {1, 2, 0}, new double[] {1, 2, 0}, new double[] {0, 0.5, 0});
    assertThat(d.difference(new float[] {1, 2.5f, 0})).isNull();
    assertThat(d.difference(new float[] {1, 2.5001f, 0}))
        .isEqualTo(
            "1 of 3 values differ, the first at 1: 2.5001 (402001a3), expected 2.0 (40000000)"
                + " within 0.5");
    assertThat(d.difference(new float[] {1, 2, -0f}))
        .isEqualTo(
            "1 of 3 values differ, the first at 2: -0.0 (80000000), expected 0.0 (00000000)");
    assertThat(d.difference(new float[] {Float.NaN, 2, 0})).startsWith("1 of 3 values differ");
    assertThatThrownBy(() -> d.difference(new float[2]))
        .hasMessage("difference: actual has 2 elements, expected 3");
  }

  @Test
  void wrongArguments() {
    Nvfp4Matrix w = any(8, 32, 1, 2, GlobalScale.TENSOR);
    assertThatThrownBy(() -> GemmReference.gemm(any(1, 16, 1, 2, GlobalScale.TENSOR), w))
        .hasMessage("gemm: w has 32 columns, expected 16, as many as a");
    assertThatThrownBy(() -> GemmReference.gemm(new float[31], 1, 32, w))
        .hasMessage("gemm: a has 31 elements, expected 32");
    assertThatThrownBy(() -> GemmReference.batched(new float[32], 1, 32, List.of(w, w)))
        .hasMessage("gemm: a has 32 columns, expected those of all 2 matrices of w");
    assertThatThrownBy(() -> any(3, 16, 1, 2, GlobalScale.HALVES))
        .hasMessage("nvfp4Matrix: rows is 3, expected an even number (global scale HALVES)");
    assertThatThrownBy(() ->
            QuantizeReference.dynamic(
                new float[32], 2, 16, GlobalScale.HALVES, Recipe.EXACT, ZeroScale.MIN))
        .hasMessage("quantize: globalScale is HALVES, expected TENSOR or ROW");
  }
}
