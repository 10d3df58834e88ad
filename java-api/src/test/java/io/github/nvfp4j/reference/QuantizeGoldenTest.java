// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.Recipe;
import io.github.nvfp4j.ZeroScale;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Quantise and dequantise against the outputs of the libraries that define them.
@Tag("cpu")
class QuantizeGoldenTest {
  @ParameterizedTest
  @ValueSource(
      strings = {
        "bf16_subnormal",
        "const_bf16",
        "gauss_bf16",
        "gauss_f32",
        "gauss_small_bf16",
        "huge_f32",
        "max6_f32",
        "negzero_all_f32",
        "odd_rows_130x272_bf16",
        "one_block_bf16",
        "outlier_underflow_bf16",
        "scale_boundaries_f32",
        "subnormal_f32",
        "ties_f32",
        "tiny_normal_f32",
        "zeros_f32",
        "zeros_negzero_mixed_f32"
      })
  void everyCase(String name) {
    Golden golden = Golden.read("nvfp4/quantize_" + name);
    float[] x = golden.floats("input");
    int rows = golden.shape("input", 0);
    int columns = golden.shape("input", 1);

    Nvfp4Matrix exact =
        QuantizeReference.dynamic(
            x, rows, columns, GlobalScale.TENSOR, Recipe.EXACT, ZeroScale.MIN);
    assertThat(exact.codes()).isEqualTo(golden.bytes("spec_exact.packed"));
    assertThat(exact.scales()).isEqualTo(golden.bytes("spec_exact.scale"));
    Bits.assertEqual(exact.globalScales(), golden.floats("spec_exact.gs"));
    float[] decoded = DequantizeReference.dequantize(exact, DType.F32);
    Bits.assertEqual(decoded, golden.floats("spec_exact.dq"));
    Nvfp4Matrix given =
        QuantizeReference.given(
            x,
            rows,
            columns,
            GlobalScale.TENSOR,
            exact.globalScales(),
            Recipe.EXACT,
            ZeroScale.MIN);
    assertThat(given.codes()).isEqualTo(exact.codes());
    assertThat(given.scales()).isEqualTo(exact.scales());

    compareWithModelOptimizer(golden, x, exact);
    compareWithTransformerEngine(
        golden,
        x,
        QuantizeReference.dynamic(
            x, rows, columns, GlobalScale.TENSOR, Recipe.TE_EXACT, ZeroScale.MIN));
  }

  /// Model Optimizer differs in three ways, and in those always.
  private static void compareWithModelOptimizer(Golden golden, float[] x, Nvfp4Matrix exact) {
    byte[] scales = golden.bytes("modelopt.scale");
    byte[] codes = PackedCodes.unpack(golden.bytes("modelopt.packed"));
    byte[] ours = PackedCodes.unpack(exact.codes());
    if (amax(x, 0, x.length) == 0) {
      for (int b = 0; b < scales.length; b++) {
        assertThat(scales[b] & 0x7f).as("NaN scales for a zero tensor").isEqualTo(0x7f);
        assertThat(exact.scales()[b]).isZero();
      }
      assertThat(golden.floats("modelopt.gs")[0]).isZero();
      return;
    }
    Bits.assertEqual(exact.globalScales(), golden.floats("modelopt.gs"));
    for (int b = 0; b < scales.length; b++) {
      if (amax(x, b * 16, 16) == 0) {
        assertThat(scales[b]).as("zero block %d", b).isEqualTo((byte) 0x38);
        assertThat(exact.scales()[b]).as("zero block %d", b).isZero();
      } else {
        assertThat(exact.scales()[b]).as("block %d", b).isEqualTo(scales[b]);
      }
    }
    float[] decoded = DequantizeReference.dequantize(exact, DType.F32);
    float[] theirs = golden.floats("modelopt.dq");
    for (int i = 0; i < ours.length; i++) {
      if (Float.floatToRawIntBits(x[i]) == 0x80000000) {
        assertThat(ours[i]).as("-0 at %d", i).isEqualTo((byte) 8);
        assertThat(codes[i]).as("-0 at %d", i).isZero();
      } else {
        assertThat(ours[i]).as("code %d", i).isEqualTo(codes[i]);
      }
      assertThat(decoded[i] == theirs[i]).as("value %d, but for the sign of zero", i).isTrue();
    }
  }

  private static void compareWithTransformerEngine(Golden golden, float[] x, Nvfp4Matrix te) {
    assertThat(te.scales()).isEqualTo(golden.bytes("te.scale"));
    float amax = golden.floats("te.amax")[0];
    assertThat(amax).isEqualTo(amax(x, 0, x.length));
    byte[] ours = PackedCodes.unpack(te.codes());
    byte[] codes = PackedCodes.unpack(golden.bytes("te.packed"));
    float[] theirs = golden.floats("te.dq");
    for (int i = 0; i < ours.length; i++) {
      assertThat(ours[i]).as("code %d of %a", i, x[i]).isEqualTo(codes[i]);
      // Transformer Engine decodes by its own order of products, which overflows earlier.
      float y = E2m1.decode(ours[i]) * (E4m3.decode(te.scales()[i / 16]) * amax * (1f / 2688f));
      assertThat(Float.compare(y, theirs[i])).as("value %d: %a, %a", i, y, theirs[i]).isZero();
    }
  }

  private static float amax(float[] x, int start, int count) {
    float a = 0;
    for (int i = start; i < start + count; i++) {
      a = Math.max(a, Math.abs(x[i]));
    }
    return a;
  }

  @Test
  void globalScalePerRow() {
    Golden golden = Golden.read("nvfp4/recipes");
    float[] x = golden.floats("gauss.input_bf16_bits");
    Nvfp4Matrix exact =
        QuantizeReference.dynamic(x, 32, 256, GlobalScale.ROW, Recipe.EXACT, ZeroScale.MIN);
    assertThat(exact.codes()).isEqualTo(golden.bytes("gauss.spec_exact_row_scaled.packed"));
    assertThat(exact.scales()).isEqualTo(golden.bytes("gauss.spec_exact_row_scaled.scale"));
    Bits.assertEqual(exact.globalScales(), golden.floats("gauss.spec_exact_row_scaled.gs"));
    Bits.assertEqual(
        DequantizeReference.dequantize(exact, DType.F32),
        golden.floats("gauss.spec_exact_row_scaled.dq"));

    Nvfp4Matrix te =
        QuantizeReference.dynamic(x, 32, 256, GlobalScale.ROW, Recipe.TE_EXACT, ZeroScale.MIN);
    assertThat(te.codes()).isEqualTo(golden.bytes("gauss.te_row_scaled.packed"));
    assertThat(te.scales()).isEqualTo(golden.bytes("gauss.te_row_scaled.scale"));
  }

  @Test
  void castOfMxfp4IsLossless() {
    Golden golden = Golden.read("nvfp4/recipes");
    byte[] packed = golden.bytes("mxcast.packed");
    byte[] e8m0 = golden.bytes("mxcast.e8m0");
    byte[] inRange = golden.bytes("mxcast.inrange");
    Nvfp4Matrix q =
        new Nvfp4Matrix(
            8,
            128,
            packed,
            golden.bytes("mxcast.weight_scale"),
            GlobalScale.TENSOR,
            golden.floats("mxcast.weight_scale_2"));
    float[] y = DequantizeReference.dequantize(q, DType.F32);
    int compared = 0;
    for (int i = 0; i < y.length; i++) {
      if (inRange[i] != 0) {
        float block = Math.scalb(1f, (e8m0[i / 32] & 0xff) - 127);
        assertThat(y[i]).isEqualTo(E2m1.decode(PackedCodes.get(packed, i)) * block);
        compared++;
      }
    }
    assertThat(compared).isGreaterThan(y.length / 2);
  }
}
