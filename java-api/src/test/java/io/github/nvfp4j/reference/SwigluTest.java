// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.Recipe;
import io.github.nvfp4j.SwigluColumns;
import io.github.nvfp4j.ZeroScale;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/// SwiGLU against PyTorch's and a float64 computation, and its edges.
@Tag("cpu")
class SwigluTest {
  private static final Golden GOLDEN = Golden.read("deepseek_v4/swiglu_clamp");

  /// Relative error, in units of 2^-24: 2 * 0.892 of exp, one each of the addition, the division
  /// and the multiplication, and a little for second-order terms.
  private static final double BOUND = 4.9 * 0x1p-24;

  /// Absolute error: below a gate of -88.7 exp overflows and the result is -0.
  private static final double UNDERFLOW = 88.8 * 0x1p-128 * 10;

  @Test
  void golden() {
    float[] gateUp = GOLDEN.floats("gate_up");
    float[] y = SwigluReference.swiglu(gateUp, 6, 2048, null, SwigluColumns.HALVES, 10f, DType.F32);
    double[] exact = GOLDEN.doubles("y_f64");
    float[] torch = GOLDEN.floats("y");
    for (int i = 0; i < y.length; i++) {
      assertThat(Math.abs(y[i] - exact[i]))
          .isLessThanOrEqualTo(BOUND * Math.abs(exact[i]) + UNDERFLOW);
      assertThat(Math.abs(y[i] - torch[i]))
          .isLessThanOrEqualTo((float) (2 * BOUND) * Math.abs(y[i]));
    }
  }

  @Test
  void goldenOfBf16() {
    float[] gateUp = GOLDEN.floats("gate_up_bf16");
    float[] y =
        SwigluReference.swiglu(gateUp, 6, 2048, null, SwigluColumns.HALVES, 10f, DType.BF16);
    float[] expected = GOLDEN.floats("y_bf16_fp32math");
    int different = 0;
    for (int i = 0; i < y.length; i++) {
      int distance = Bf16.encode(y[i]) - Bf16.encode(expected[i]);
      assertThat(Math.abs(distance)).as("BF16 steps at %d", i).isLessThanOrEqualTo(1);
      different += Math.abs(distance);
    }
    // A result must lie within 5 of 2^16 parts of a step from a tie to round the other way.
    assertThat(different).isLessThanOrEqualTo(8);
  }

  @Test
  void goldenEdges() {
    float[] gateUp = GOLDEN.floats("edge_gate_up");
    float[] expected = GOLDEN.floats("edge_y");
    assertThat(expected).hasSize(361);
    int nans = 0;
    int infinities = 0;
    for (int i = 0; i < expected.length; i++) {
      float y = SwigluReference.swiglu(gateUp[2 * i], gateUp[2 * i + 1], 10f);
      String what = "swiglu(" + gateUp[2 * i] + ", " + gateUp[2 * i + 1] + ")";
      if (Float.isNaN(expected[i])) {
        assertThat(Float.floatToRawIntBits(y)).as(what).isEqualTo(0x7fc00000);
        nans++;
      } else if (Float.isInfinite(expected[i]) || expected[i] == 0) {
        assertThat(y).as(what).isEqualTo(expected[i]); // the sign of zero too
        infinities++;
      } else {
        float tolerance = Math.max((float) (2 * BOUND) * Math.abs(expected[i]), Float.MIN_VALUE);
        assertThat(Math.abs(y - expected[i])).as(what).isLessThanOrEqualTo(tolerance);
      }
    }
    assertThat(nans).isPositive();
    assertThat(infinities).isPositive();
  }

  /// Values whose last bit another order of the same operations changes: `g * u / (1 + e)`, a
  /// reciprocal, or a wider intermediate.
  @Test
  void orderOfOperations() {
    assertThat(SwigluReference.swiglu(1.7f, 0.7f, 10f)).isEqualTo(0x1.01956ep0f);
    assertThat(SwigluReference.swiglu(1.7f, -1.9f, 10f)).isEqualTo(-0x1.5d93f2p1f);
    assertThat(SwigluReference.swiglu(1.7f, 5.3f, 10f)).isEqualTo(0x1.e791b8p2f);
    assertThat(SwigluReference.swiglu(0.6f, -1.9f, 10f)).isEqualTo(-0x1.78db5p-1f);
    assertThat(SwigluReference.swiglu(3.1f, 0.7f, 10f)).isEqualTo(0x1.09c95ap1f);
    assertThat(SwigluReference.swiglu(3.1f, 5.3f, 10f)).isEqualTo(0x1.f7189p3f);
  }

  @Test
  void notANumber() {
    float inf = Float.POSITIVE_INFINITY;
    assertNan(SwigluReference.swiglu(Float.NaN, 1f, 10f));
    assertNan(SwigluReference.swiglu(1f, Float.NaN, 10f));
    assertNan(SwigluReference.swiglu(-inf, 1f, 10f));
    assertNan(SwigluReference.swiglu(-inf, 1f, 0f));
    assertNan(SwigluReference.swiglu(0f, inf, 0f));
    assertNan(SwigluReference.swiglu(Float.intBitsToFloat(0xffc12345), 1f, 0f));
    float[] nan =
        SwigluReference.swiglu(
            new float[] {1f, -inf}, 1, 1, null, SwigluColumns.INTERLEAVED, 0f, DType.BF16);
    assertThat(nan[0]).isEqualTo(Float.NEGATIVE_INFINITY);
    float[] weighted =
        SwigluReference.swiglu(
            new float[] {0f, 1f}, 1, 1, new float[] {inf}, SwigluColumns.HALVES, 0f, DType.BF16);
    assertNan(weighted[0]);
  }

  private static void assertNan(float y) {
    assertThat(Float.floatToRawIntBits(y)).isEqualTo(0x7fc00000);
  }

  @Test
  void clamps() {
    float inf = Float.POSITIVE_INFINITY;
    float ten = SwigluReference.swiglu(10f, 1f, 10f);
    assertThat(SwigluReference.swiglu(inf, 1f, 10f)).isEqualTo(ten);
    assertThat(SwigluReference.swiglu(11f, 1f, 10f)).isEqualTo(ten);
    assertThat(SwigluReference.swiglu(11f, 1f, 0f)).isGreaterThan(ten);
    assertThat(SwigluReference.swiglu(1f, inf, 10f))
        .isEqualTo(SwigluReference.swiglu(1f, 10f, 10f));
    assertThat(SwigluReference.swiglu(1f, -inf, 10f))
        .isEqualTo(SwigluReference.swiglu(1f, -10f, 10f));
    // The gate has no lower clamp.
    assertThat(SwigluReference.swiglu(-20f, 1f, 10f)).isGreaterThan(-1e-7f).isNegative();
    assertThat(SwigluReference.swiglu(inf, 2f, 0f)).isEqualTo(inf);
    assertThat(SwigluReference.swiglu(-1e30f, 1f, 10f)).isEqualTo(-0f);
    assertThat(SwigluReference.swiglu(-0f, 1f, 10f)).isEqualTo(-0f);
  }

  @Test
  void interleavedHalvesAndWeight() {
    RandomGenerator random = Seeds.generator(SwigluTest.class);
    int rows = 7;
    int columns = 48;
    float[] halves = Seeds.gaussian(random, rows * 2 * columns);
    float[] interleaved = new float[halves.length];
    for (int t = 0; t < rows; t++) {
      for (int i = 0; i < columns; i++) {
        interleaved[(t * columns + i) * 2] = halves[t * 2 * columns + i];
        interleaved[(t * columns + i) * 2 + 1] = halves[t * 2 * columns + columns + i];
      }
    }
    float[] weight = Seeds.gaussian(random, rows);
    float[] a =
        SwigluReference.swiglu(halves, rows, columns, weight, SwigluColumns.HALVES, 1f, DType.F32);
    Bits.assertEqual(
        SwigluReference.swiglu(
            interleaved, rows, columns, weight, SwigluColumns.INTERLEAVED, 1f, DType.F32),
        a);
    float[] unweighted =
        SwigluReference.swiglu(halves, rows, columns, null, SwigluColumns.HALVES, 1f, DType.F32);
    for (int i = 0; i < a.length; i++) {
      assertThat(a[i]).isEqualTo(unweighted[i] * weight[i / columns]);
    }
    Nvfp4Matrix fused =
        SwigluQuantizeReference.dynamic(
            interleaved,
            rows,
            columns,
            weight,
            SwigluColumns.INTERLEAVED,
            1f,
            DType.BF16,
            GlobalScale.ROW,
            Recipe.EXACT,
            ZeroScale.MIN);
    float[] rounded = Bf16.decode(Bf16.encode(a));
    Nvfp4Matrix separate =
        QuantizeReference.dynamic(
            rounded, rows, columns, GlobalScale.ROW, Recipe.EXACT, ZeroScale.MIN);
    assertThat(fused.codes()).isEqualTo(separate.codes());
    assertThat(fused.scales()).isEqualTo(separate.scales());
    Bits.assertEqual(fused.globalScales(), separate.globalScales());
    Nvfp4Matrix given =
        SwigluQuantizeReference.given(
            halves,
            rows,
            columns,
            weight,
            SwigluColumns.HALVES,
            1f,
            DType.BF16,
            GlobalScale.ROW,
            fused.globalScales(),
            Recipe.EXACT,
            ZeroScale.MIN);
    assertThat(given.codes()).isEqualTo(fused.codes());
    assertThat(given.scales()).isEqualTo(fused.scales());
  }

  @Test
  void wrongArguments() {
    float[] x = new float[8];
    assertThatThrownBy(
            () -> SwigluReference.swiglu(x, 2, 3, null, SwigluColumns.HALVES, 10f, DType.F32))
        .hasMessage("swiglu: gateUp has 8 elements, expected 12");
    assertThatThrownBy(() ->
            SwigluReference.swiglu(x, 2, 2, new float[3], SwigluColumns.HALVES, 10f, DType.F32))
        .hasMessage("swiglu: weight has 3 elements, expected 2");
    for (float limit : new float[] {-1f, Float.NaN, Float.POSITIVE_INFINITY}) {
      assertThatThrownBy(
              () -> SwigluReference.swiglu(x, 2, 2, null, SwigluColumns.HALVES, limit, DType.F32))
          .hasMessageContaining("swiglu: limit is ");
    }
    assertThatThrownBy(
            () -> SwigluReference.swiglu(x, 2, 2, null, SwigluColumns.HALVES, 10f, DType.F16))
        .hasMessage("swiglu: dtype is F16, expected F32 or BF16");
  }
}
